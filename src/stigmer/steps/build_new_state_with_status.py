"""BuildNewStateWithStatus: what a runner reports, merged into what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecution, ExecutionPhase
from stigmer.errors import FailedPrecondition, ResourceExhausted
from stigmer.pipeline.kind import required
from stigmer.steps import audit
from stigmer.wire import codec
from stigmer.wire.message_types import full_name_of
from stigmer.wire.pieces import written
from stigmer.wire.scan import scan, surely_fits
from stigmer.wire.shapes import is_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecutionUpdateStatusInput
    from stigmer.pipeline.context import AnyContext, Context

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
ENTRIES_A_STEP = 100
LONG_BYTES = 1024 * 1024
"""What is longer is written a piece at a time: it costs half as much again, but holds up nobody."""


@dataclass(frozen=True, slots=True)
class BuildNewStateWithStatus:
    """Merge the reported status into the stored one; in the C runtime, since a transcript may be large.

    Reads `wire`, `row`, `stored` and `unchanged`; writes `new_state`. Refuses to leave a terminal phase, and a report
    that makes the row larger than the limits allow.
    """

    async def __call__(self, ctx: Context[AgentExecutionUpdateStatusInput, AgentExecution]) -> None:
        (data,) = await ctx.runtime.slices.run(_merged(ctx))
        await _check_growth(ctx, data)
        ctx.new_state = codec.lazily(AgentExecution, data)


def _merged(ctx: AnyContext) -> Iterator[bytes | None]:
    """The new state as bytes; None where the work could be left."""
    row = required(ctx.row)
    state = ctx.stored if ctx.stored is not None else ctx.kind.wire_of(row)
    reported: Any = cast("Any", ctx.wire).status
    _check_phase(ctx.call.resource_id, state.status.phase, reported.phase)
    for field, value in reported.ListFields():
        if field.name in MERGED:
            yield from _set(state.status, field, value, ctx.unchanged.get(field.name, 0))
    audit.stamp_update(state.status.audit.status_audit, ctx.call.actor)
    yield None
    if len(row.data) + ctx.call.request_bytes > LONG_BYTES:
        yield from written(state)
    else:
        yield codec.serialized(state)


def _set(status: Message, field: FieldDescriptor, value: Any, unchanged: int) -> Iterator[None]:  # noqa: ANN401 - any field's value
    """Replace a field; of a list only what comes after the first entries that stay as they are."""
    if not field.is_repeated:
        setattr(status, field.name, value)
    elif is_map(field):
        status.ClearField(field.name)
        for number, key in enumerate(value):
            getattr(status, field.name)[key].CopyFrom(value[key])
            if not number % ENTRIES_A_STEP:
                yield
    else:
        del getattr(status, field.name)[unchanged:]
        for start in range(unchanged, len(value), ENTRIES_A_STEP):
            getattr(status, field.name).extend(value[start : start + ENTRIES_A_STEP])
            yield


async def _check_growth(ctx: AnyContext, data: bytes) -> None:
    """Reports add up: what each of them may bring, all of them together may not be."""
    sizes, before = ctx.runtime.sizes, len(required(ctx.row).data)
    if before < len(data) > sizes.max_row_bytes:
        raise ResourceExhausted(
            f"AgentExecution {ctx.call.resource_id} would have more than {sizes.max_row_bytes} bytes"
        )
    kind, most = full_name_of(AgentExecution), sizes.max_message_parts
    lists = any(field.is_repeated for field, _ in cast("Any", ctx.wire).status.ListFields())
    if lists and not surely_fits(kind, data, most):
        await ctx.runtime.slices.run(scan(kind, data, most))


def _check_phase(id_: str, before: int, reported: int) -> None:
    if before in TERMINAL and reported and reported != before:
        raise FailedPrecondition(
            f"AgentExecution {id_} has ended with {ExecutionPhase(before).name}: "
            f"its phase cannot become {ExecutionPhase(reported).name}",
            type_="TERMINAL_PHASE",
            subject=id_,
        )
