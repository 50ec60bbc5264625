"""LoadTarget: the resource that get asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import NotFound
from stigmer.wire.codec import Encoded

if TYPE_CHECKING:
    from stigmer.pipeline.context import Context


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """Load the resource by the id in the request's `value`.

    Writes `row`, `resource_id` and `reply`. Refuses an id that names nothing.
    """

    async def __call__(self, ctx: Context) -> None:
        ctx.resource_id = ctx.call.resource_id = ctx.request.value
        ctx.row = await ctx.tx.get(ctx.kind.name, ctx.resource_id)
        if ctx.row is None:
            raise NotFound(ctx.kind.name, ctx.resource_id)
        ctx.reply = Encoded(ctx.kind.message, ctx.row.data)
