"""LoadByExecutionId: the context of an execution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import NotFound, clip
from stigmer.wire.codec import Encoded

if TYPE_CHECKING:
    from stigmer.pipeline.context import Context


@dataclass(frozen=True, slots=True)
class LoadByExecutionId:
    """Load the newest context with the request's `execution_id`.

    Writes `row`, `resource_id` and `reply`. Refuses an execution that has none.
    """

    async def __call__(self, ctx: Context) -> None:
        execution_id = ctx.request.execution_id
        ctx.row = await ctx.tx.newest(ctx.kind.name, "spec.execution_id", execution_id)
        if ctx.row is None:
            message = f"{ctx.kind.name} not found for execution: {clip(execution_id)}"
            raise NotFound(ctx.kind.name, execution_id, message=message)
        ctx.resource_id = ctx.call.resource_id = ctx.row.id
        ctx.reply = Encoded(ctx.kind.message, ctx.row.data)
