"""LoadExisting: what a write is based on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import InvalidArgument, NotFound, clip
from stigmer.kinds import present

if TYPE_CHECKING:
    from stigmer.pipeline import Context
    from stigmer.store.base import Row


@dataclass(frozen=True, slots=True)
class LoadExisting:
    """Load the resource to change: by `metadata.id`, else by slug; with `id_field`, by that field of the request.

    Reads the request and `slug`; writes `row`, `existing` and `resource_id`. Refuses what names nothing.
    """

    id_field: str = ""

    async def __call__(self, ctx: Context) -> None:
        id_ = getattr(ctx.request, self.id_field) if self.id_field else present(ctx.request.metadata).id
        row = await (_by_id(ctx, id_) if id_ else _by_slug(ctx))
        ctx.row = row
        ctx.existing = ctx.kind.resource_of(row)
        ctx.resource_id = ctx.call.resource_id = row.id


async def _by_id(ctx: Context, id_: str) -> Row:
    row = await ctx.tx.get(ctx.kind.name, id_)
    if row is None:
        raise NotFound(ctx.kind.name, id_)
    return row


async def _by_slug(ctx: Context) -> Row:
    if not ctx.kind.slug_unique:
        raise InvalidArgument.of("metadata.id", f"is required: the slugs of {ctx.kind.name} are not unique")
    namespace = ctx.kind.namespace_of(present(ctx.request.metadata).org)
    row = await ctx.tx.by_slug(ctx.kind.name, ctx.slug, namespace)
    if row is None:
        raise NotFound(ctx.kind.name, ctx.slug, message=f"{ctx.kind.name} with slug '{clip(ctx.slug)}' not found")
    return row
