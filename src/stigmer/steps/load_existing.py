"""LoadExisting: what a write is based on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stigmer.errors import NotFound, Violation, clip
from stigmer.pipeline.kind import required
from stigmer.steps.load_target import by_id
from stigmer.steps.resolve_slug import row_of_slug
from stigmer.steps.validate_proto import refuse

if TYPE_CHECKING:
    from stigmer.pipeline.context import Context
    from stigmer.pipeline.kind import Resource
    from stigmer.store.rows import Row


@dataclass(frozen=True, slots=True)
class LoadExisting:
    """Load the resource to change: by `metadata.id`, else by slug.

    Reads the request and `slug`; writes `row` and the call's `resource_id`. Refuses what names nothing.

    Attributes:
        id_field: the field of a request that is no resource, by which it is loaded instead.
    """

    id_field: str = ""

    def violations(self, ctx: Context[Any, Resource]) -> list[Violation]:
        """No id, where the kind's slugs do not name one resource."""
        if self.id_field or ctx.kind.slug_unique or ctx.request.metadata is None or ctx.request.metadata.id:
            return []
        return [Violation("metadata.id", f"is required: the slugs of {ctx.kind.name} are not unique")]

    async def __call__(self, ctx: Context[Any, Resource]) -> None:
        refuse(self.violations(ctx))
        id_ = getattr(ctx.request, self.id_field) if self.id_field else required(ctx.request.metadata).id
        ctx.row = await (by_id(ctx, id_) if id_ else _by_slug(ctx))


async def _by_slug(ctx: Context[Resource, Resource]) -> Row:
    row = await row_of_slug(ctx)
    if row is None:
        raise NotFound(ctx.kind.name, ctx.slug, message=f"{ctx.kind.name} with slug '{clip(ctx.slug)}' not found")
    ctx.call.resource_id = row.id
    return row
