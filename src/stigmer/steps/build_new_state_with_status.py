"""BuildNewStateWithStatus: what a runner reports, merged into what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from stigmer import codec
from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import ExecutionPhase
from stigmer.errors import FailedPrecondition
from stigmer.kinds import present
from stigmer.steps import audit

if TYPE_CHECKING:
    import betterproto2
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from stigmer.kinds import Resource
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
    """Merge the reported status into the stored one; in the C runtime, since a transcript may be large.

    Reads `wire` and `existing`; writes `new_state`. Refuses to leave a terminal phase.
    """

    async def __call__(self, ctx: Context) -> None:
        state: Any = codec.to_wire(cast("betterproto2.Message", present(ctx.existing)))
        reported: Any = cast("Any", ctx.wire).status
        _check_phase(ctx.resource_id, state.status.phase, reported.phase)
        for field, value in reported.ListFields():
            if field.name in MERGED:
                _replace(state.status, field, value)
        audit.stamp_update(state.status.audit.status_audit, ctx.call.caller)
        ctx.new_state = cast("Resource", codec.lazily(ctx.kind.message, state))


def _replace(status: Message, field: FieldDescriptor, value: Any) -> None:  # noqa: ANN401 - any field's value
    status.ClearField(field.name)
    if field.is_repeated:
        getattr(status, field.name).MergeFrom(value)
    else:
        setattr(status, field.name, value)


def _check_phase(id_: str, before: int, reported: int) -> None:
    if before in TERMINAL and reported and reported != before:
        raise FailedPrecondition(
            f"AgentExecution {id_} has ended with {ExecutionPhase(before).name}: "
            f"its phase cannot become {ExecutionPhase(reported).name}",
            type_="TERMINAL_PHASE",
            subject=id_,
        )
