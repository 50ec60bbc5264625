"""BuildNewStateWithStatus: what a runner reports, merged into what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from stigmer import codec
from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import ExecutionPhase
from stigmer.errors import FailedPrecondition, ResourceExhausted
from stigmer.kinds import present
from stigmer.message_types import full_name_of
from stigmer.steps import audit
from stigmer.wire_scan import scan

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

    Reads `wire`, `existing` and `row`; writes `new_state`. Refuses to leave a terminal phase, and a report that makes
    the row larger than the limits allow.
    """

    async def __call__(self, ctx: Context) -> None:
        state: Any = codec.to_wire(cast("betterproto2.Message", present(ctx.existing)))
        reported: Any = cast("Any", ctx.wire).status
        _check_phase(ctx.resource_id, state.status.phase, reported.phase)
        for field, value in reported.ListFields():
            if field.name in MERGED:
                _replace(state.status, field, value)
        audit.stamp_update(state.status.audit.status_audit, ctx.call.caller)
        data = codec.serialized(state)
        await _check_growth(ctx, data)
        ctx.new_state = cast("Resource", codec.lazily(ctx.kind.message, data))


async def _check_growth(ctx: Context, data: bytes) -> None:
    """Reports add up: what each of them may bring, all of them together may not be."""
    sizes, before = ctx.runtime.sizes, len(present(ctx.row).data)
    if before < len(data) > sizes.max_row_bytes:
        raise ResourceExhausted(f"AgentExecution {ctx.resource_id} would have more than {sizes.max_row_bytes} bytes")
    lists = any(field.is_repeated for field, _ in cast("Any", ctx.wire).status.ListFields())
    if lists and len(data) > 2 * sizes.max_message_parts:
        await ctx.runtime.slices.run(scan(full_name_of(ctx.kind.message), data, sizes.max_message_parts))


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
