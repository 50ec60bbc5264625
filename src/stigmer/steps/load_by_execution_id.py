"""LoadByExecutionId: the context of an execution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import NotFound, clip

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import ExecutionContext, ExecutionContextExecutionIdInput
    from stigmer.pipeline.context import Context


@dataclass(frozen=True, slots=True)
class LoadByExecutionId:
    """Load the newest context with the request's `execution_id`.

    Writes `row`, `reply` and the call's `resource_id`. Refuses an execution that has none.
    """

    async def __call__(self, ctx: Context[ExecutionContextExecutionIdInput, ExecutionContext]) -> None:
        execution_id = ctx.request.execution_id
        ctx.row = await ctx.newest(ctx.kind.name, "spec.execution_id", execution_id)
        if ctx.row is None:
            message = f"{ctx.kind.name} not found for execution: {clip(execution_id)}"
            raise NotFound(ctx.kind.name, execution_id, message=message)
        ctx.call.resource_id = ctx.row.id
        ctx.reply = await ctx.read(ctx.row)
