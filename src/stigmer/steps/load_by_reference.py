"""LoadByReference: the resource that a reference names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import InvalidArgument, NotFound, Violation, clip
from stigmer.steps.validate_proto import refuse

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
    from stigmer.pipeline.context import AnyContext, Context
    from stigmer.pipeline.kind import Resource
    from stigmer.store.rows import Row


@dataclass(frozen=True, slots=True)
class LoadByReference:
    """Load the resource by slug: in the namespace of the org that is named; without one the only match, else org-less.

    Reads the request; writes `row`, `reply` and the call's `resource_id`. Refuses another kind's reference, an empty
    slug, a slug that names nothing or, without an org, more than one resource.
    """

    def violations(self, ctx: Context[ApiResourceReference, Resource]) -> list[Violation]:
        """Another kind's reference; an empty slug."""
        reference = ctx.request
        violations: list[Violation] = []
        if reference.kind and reference.kind != ctx.kind.meta.number:
            violations.append(Violation("kind", f"must be {ctx.kind.meta.enum_name} or unset"))
        if not reference.slug:
            violations.append(Violation("slug", "is required"))
        return violations

    async def __call__(self, ctx: Context[ApiResourceReference, Resource]) -> None:
        refuse(self.violations(ctx))
        reference = ctx.request
        row = await _find(ctx, reference)
        if row is None:
            message = f"{ctx.kind.name} with slug '{clip(reference.slug)}' not found{_where(reference.org)}"
            raise NotFound(ctx.kind.name, reference.slug, message=message)
        ctx.row = row
        ctx.call.resource_id = row.id
        ctx.reply = await ctx.answer(row)


async def _find(ctx: AnyContext, reference: ApiResourceReference) -> Row | None:
    if reference.org or not ctx.kind.namespaced:
        return await ctx.tx.by_slug(ctx.kind.name, reference.slug, ctx.kind.namespace_of(reference.org))
    rows = await ctx.tx.by_slug_anywhere(ctx.kind.name, reference.slug)
    if len(rows) > 1 and rows[0].namespace:
        raise InvalidArgument.of("org", f"is needed: several orgs have the slug '{reference.slug}'")
    return rows[0] if rows else None


def _where(org: str) -> str:
    return f" in org '{clip(org)}'" if org else ""
