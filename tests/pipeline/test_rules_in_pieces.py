"""A transcript is checked in pieces, and what is broken in it is named as if it were checked whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecutionStatus,
    AgentExecutionUpdateStatusInput,
    AgentMessage,
    ExecutionPhase,
    MessageType,
    SubAgentExecution,
    SubAgentStatus,
    TodoItem,
    TodoStatus,
    ToolCall,
    ToolCallStatus,
)
from stigmer._gen.google.protobuf import Struct, Value
from stigmer.pipeline import rules
from stigmer.wire import codec
from stigmer.wire.slices import at_once

if TYPE_CHECKING:
    from collections.abc import Callable

NONE: Any = {
    name: kind(99) for name, kind in (("type", MessageType), ("tool", ToolCallStatus), ("sub", SubAgentStatus))
}
TEXT = "x" * 200


def report(id_: str = "aex-1", **status: Any) -> Any:
    return codec.to_wire(AgentExecutionUpdateStatusInput(execution_id=id_, status=AgentExecutionStatus(**status)))


def messages(count: int, broken: set[int]) -> list[AgentMessage]:
    return [
        AgentMessage(type=NONE["type"] if number in broken else MessageType(0), content=TEXT) for number in range(count)
    ]


def told(wire: Any) -> list[str]:
    return [violation.field for violation in at_once(rules.violations(wire))]


@pytest.mark.parametrize("at", [0, 499, 500, 501, 1_234, 1_999])
def test_a_broken_element_is_named_by_its_place_in_the_whole_list(at: int) -> None:
    assert told(report(messages=messages(2_000, {at}))) == [f"status.messages[{at}].type"]


def test_what_is_known_to_be_right_is_not_looked_at() -> None:
    wire = report(messages=messages(1_000, {3, 700}), tool_calls=[ToolCall(status=NONE["tool"])])
    found = at_once(rules.violations(wire, unchanged={"messages": 600}))
    assert [one.field for one in found] == ["status.messages[700].type", "status.tool_calls[0].status"]


def test_all_that_is_broken_is_named_whatever_the_piece_it_is_in() -> None:
    wire = report(
        id_="",
        phase=ExecutionPhase(99),
        messages=messages(1_200, {3, 700}),
        tool_calls=[ToolCall(result=TEXT), ToolCall(status=NONE["tool"])] * 300,
        sub_agent_executions=[SubAgentExecution(output=TEXT)] * 600 + [SubAgentExecution(status=NONE["sub"])],
    )
    found = told(wire)
    calls = [f"status.tool_calls[{index}].status" for index in range(1, 600, 2)]
    others = ["status.messages[3].type", "status.messages[700].type", "status.sub_agent_executions[600].status"]
    assert found[:2] == ["execution_id", "status.phase"]
    assert sorted(found[2:]) == sorted([*others, *calls])


def test_a_long_and_a_short_message_are_told_the_same() -> None:
    """Piece by piece or whole, in the same words."""
    short, long = report(messages=messages(2, {1})), report(messages=messages(1_000, {1}))
    assert at_once(rules.violations(short)) == at_once(rules.violations(long))


def test_within_a_large_element_what_has_no_rules_is_left_out() -> None:
    args = Struct(fields={str(number): Value(string_value=TEXT) for number in range(1_000)})
    calls = [ToolCall(args=args, status=NONE["tool"] if number == 7 else ToolCallStatus(0)) for number in range(10)]
    assert told(report(messages=[AgentMessage(metadata=args, tool_calls=calls)])) == [
        "status.messages[0].tool_calls[7].status"
    ]


def test_the_message_itself_is_not_touched() -> None:
    args = Struct(fields={"a": Value(string_value="x" * 100_000)})
    wire = report(messages=[AgentMessage(metadata=args)], todos={"a": TodoItem(status=TodoStatus(99))})
    before = wire.SerializeToString(deterministic=True)
    assert told(wire) == []
    assert wire.SerializeToString(deterministic=True) == before


def test_a_thousand_broken_elements_are_enough() -> None:
    found = told(report(messages=messages(5_000, set(range(5_000)))))
    assert rules.MAX_VIOLATIONS < len(found) <= rules.MAX_VIOLATIONS + rules.PIECE_ENTRIES


SHAPES: dict[str, Callable[[], Any]] = {
    "many messages": lambda: report(messages=messages(10_000, set())),
    "many empty ones": lambda: report(tool_calls=[ToolCall()] * 50_000),
    "large ones": lambda: report(messages=[AgentMessage(content="x" * 1_000_000)] * 5),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_can_be_left_often(shape: str) -> None:
    wire = SHAPES[shape]()
    pauses = sum(one is None for one in rules.violations(wire))
    assert pauses >= min(len(wire.status.messages or wire.status.tool_calls), wire.ByteSize() // 70_000) / 2
