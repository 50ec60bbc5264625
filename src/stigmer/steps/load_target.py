"""LoadTarget: the resource that get asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stigmer.errors import NotFound

if TYPE_CHECKING:
    from stigmer.pipeline.context import AnyContext, Context
    from stigmer.pipeline.kind import Resource
    from stigmer.store.rows import Row


class ById(Protocol):
    """A request that names a resource by its id alone."""

    value: str


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """Load the resource by the id in the request's `value`.

    Writes `row`, `reply` and the call's `resource_id`. Refuses an id that names nothing.
    """

    async def __call__(self, ctx: Context[ById, Resource]) -> None:
        ctx.row = await by_id(ctx, ctx.request.value)
        ctx.reply = await ctx.read(ctx.row)


async def by_id(ctx: AnyContext, id_: str) -> Row:
    """The row of the pipeline's kind with that id, which becomes the call's; the one that is loaded, if it is.

    Raises:
        NotFound: there is none.
    """
    ctx.call.resource_id = id_
    row = ctx.row if ctx.row is not None and ctx.row.id == id_ else await ctx.find(ctx.kind.name, id_)
    if row is None:
        raise NotFound(ctx.kind.name, id_)
    return row
