"""BuildNewStateWithStatus: what a runner reports, merged into what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecutionStatus, ExecutionPhase
from stigmer.errors import FailedPrecondition
from stigmer.kinds import present
from stigmer.lazy import shallow
from stigmer.steps import audit

if TYPE_CHECKING:
    from stigmer.pipeline import Context

TERMINAL = frozenset(
    {ExecutionPhase.EXECUTION_COMPLETED, ExecutionPhase.EXECUTION_FAILED, ExecutionPhase.EXECUTION_CANCELLED}
)
"""Phases that an execution does not leave."""

MERGED = (
    "messages",
    "phase",
    "tool_calls",
    "sub_agent_executions",
    "error",
    "started_at",
    "completed_at",
    "todos",
    "callback_token",
)
"""Fields that replace what is stored where the report sets them; all else stays."""


@dataclass(frozen=True, slots=True)
class BuildNewStateWithStatus:
    """Merge the reported status into the stored one.

    Reads the request and `existing`; writes `new_state`. Refuses to leave a terminal phase.
    """

    async def __call__(self, ctx: Context) -> None:
        existing = present(ctx.existing)
        reported: AgentExecutionStatus = present(ctx.request.status)
        status = shallow(existing.status)
        _check_phase(ctx.resource_id, status.phase, reported.phase)
        for name in MERGED:
            value = getattr(reported, name)
            if value:
                setattr(status, name, value)
        status.audit = shallow(present(status.audit))
        status.audit.status_audit = audit.updated(status.audit.status_audit, ctx.call.caller)
        state = shallow(existing)
        state.status = status
        ctx.new_state = state


def _check_phase(id_: str, before: ExecutionPhase, reported: ExecutionPhase) -> None:
    if before in TERMINAL and reported and reported != before:
        raise FailedPrecondition(
            f"AgentExecution {id_} has ended with {before.name}: its phase cannot become {reported.name}",
            type_="TERMINAL_PHASE",
            subject=id_,
        )
