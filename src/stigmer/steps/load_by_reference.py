"""LoadByReference: the resource that a reference names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stigmer.access.principal import identity, organization
from stigmer.errors import InvalidArgument, NotFound, Violation, clip
from stigmer.steps.validate_proto import refuse

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
    from stigmer.pipeline.context import AnyContext, Context
    from stigmer.pipeline.kind import Kind, Resource
    from stigmer.store.rows import Row


@dataclass(frozen=True, slots=True)
class LoadByReference:
    """Load the resource by slug: of the org that is named; without one, the only match, else what `_anywhere` prefers.

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
        ctx.row = await find(ctx, ctx.kind.name, ctx.request)
        ctx.call.resource_id = ctx.row.id
        ctx.reply = await ctx.read(ctx.row)


async def find(ctx: AnyContext, kind: str, reference: ApiResourceReference, path: str = "") -> Row:
    """The row of any kind that a reference names, which stands in the request at `path`.

    Raises:
        NotFound: there is none.
        InvalidArgument: there are several, and the reference names no org.
    """
    of_kind, slug, org = ctx.runtime.kinds[kind], reference.slug, reference.org
    if org and of_kind.belongs_to is None:
        row = await _in_org(ctx, of_kind, slug, org)
    else:
        row = await _anywhere(ctx, of_kind, slug, org, f"{path}.org".removeprefix("."))
    if row is None:
        where = f" in org '{clip(org)}'" if org else ""
        raise NotFound(kind, slug, message=f"{kind} with slug '{clip(slug)}' not found{where}")
    return row


async def _in_org(ctx: AnyContext, kind: Kind[Any], slug: str, org: str) -> Row | None:
    """The organization's, else the caller's own one that names the organization."""
    for owner in (organization(org), identity(ctx.call.actor)):
        row = await ctx.by_slug(kind.name, slug, kind.namespace_of(org, owner))
        if row is not None:
            return row
    return None


async def _anywhere(ctx: AnyContext, kind: Kind[Any], slug: str, org: str, field: str) -> Row | None:
    """The only one; else the caller's own one, else that of `org`, of the caller's only organization, or of none."""
    rows = await ctx.by_slug_anywhere(kind.name, slug)
    if len(rows) <= 1:
        return rows[0] if rows else None
    own = await ctx.by_slug_anywhere(kind.name, slug, own=True)
    if own and (len(own) == 1 or own[0].namespace == kind.namespace_of("", own[0].owner)):
        return own[0]
    for one in dict.fromkeys((org, ctx.call.principal.only_organization, "")):
        row = await ctx.by_slug(kind.name, slug, kind.namespace_of(one, organization(one)))
        if row is not None:
            return row
    raise InvalidArgument.of(field, f"is needed: several orgs have the slug '{slug}'")
