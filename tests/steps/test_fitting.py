"""A resource that is too long for a reply goes without the longest fields of its status."""

from __future__ import annotations

from typing import Any

import samples

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecution,
    AgentExecutionStatus,
    AgentMessage,
    ExecutionPhase,
    ToolCall,
)
from stigmer.steps.fitting import without_longest
from stigmer.wire import codec
from stigmer.wire.slices import at_once

STATUS = 5


def execution(messages: int, tools: int, spec: int = 10) -> Any:
    made = samples.agent_execution("ses-1", name="long")
    made.spec.message = "x" * spec
    made.status = AgentExecutionStatus(
        phase=ExecutionPhase.EXECUTION_COMPLETED,
        messages=[AgentMessage(content="m" * 100) for _ in range(messages)],
        tool_calls=[ToolCall(id="t" * 100) for _ in range(tools)],
        error="it broke",
    )
    return made


def fitted(made: Any, limit: int) -> Any:
    (data,) = at_once(without_longest(codec.encode(made), STATUS, limit))
    return codec.decode(AgentExecution, data)


def test_the_longest_go_first_and_no_more_than_must() -> None:
    made = execution(messages=50, tools=20)
    without_messages = execution(messages=0, tools=20)
    bare = execution(messages=0, tools=0)
    assert fitted(made, len(codec.encode(made)) + 5) == made
    assert fitted(made, len(codec.encode(made)) - 1) == without_messages
    assert fitted(made, len(codec.encode(without_messages)) - 1) == bare


def test_what_does_not_fit_without_all_of_them_stays_as_it_is() -> None:
    made = execution(messages=50, tools=20, spec=5_000)
    assert fitted(made, 4_000) == made


def test_it_can_be_left_between_many_fields() -> None:
    steps = list(without_longest(codec.encode(execution(messages=3_000, tools=0)), STATUS, 1_000))
    assert steps[:-1] == [None] * 6
