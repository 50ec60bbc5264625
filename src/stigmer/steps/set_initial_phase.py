"""SetInitialPhase: an execution begins by waiting for a runner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import ExecutionPhase
from stigmer.pipeline.kind import required

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecution
    from stigmer.pipeline.context import Context


@dataclass(frozen=True, slots=True)
class SetInitialPhase:
    """Set the phase to PENDING. Reads and writes `new_state`."""

    async def __call__(self, ctx: Context[object, AgentExecution]) -> None:
        required(required(ctx.new_state).status).phase = ExecutionPhase.EXECUTION_PENDING
