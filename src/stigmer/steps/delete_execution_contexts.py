"""DeleteExecutionContexts: what an execution ran with ends with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from stigmer.steps.build_new_state_with_status import TERMINAL

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecution, AgentExecutionUpdateStatusInput
    from stigmer.pipeline.context import Context


@dataclass(frozen=True, slots=True)
class DeleteExecutionContexts:
    """Stage the deletion of every context of an execution whose report has it end; looked up again at commit.

    Reads `wire` and the call's `resource_id`; does nothing after other reports.
    """

    async def __call__(self, ctx: Context[AgentExecutionUpdateStatusInput, AgentExecution]) -> None:
        if cast("Any", ctx.wire).status.phase in TERMINAL:
            await ctx.delete_dependents(ctx.kind.name, ctx.call.resource_id)
