from __future__ import annotations

from typing import Any

from stigmer.cli.transcript import Transcript
from stigmer.types import (
    AgentExecution,
    AgentExecutionStatus,
    AgentMessage,
    ExecutionPhase,
    MessageType,
    TodoItem,
    TodoStatus,
    ToolCall,
    ToolCallStatus,
)


def state(phase: str, *said: str, **more: Any) -> AgentExecution:
    messages = [AgentMessage(type=MessageType.MESSAGE_AI, content=text) for text in said]
    return AgentExecution(
        status=AgentExecutionStatus(phase=ExecutionPhase[f"EXECUTION_{phase}"], messages=messages, **more)
    )


def told(transcript: Transcript, one: AgentExecution, **more: Any) -> list[tuple[str, str]]:
    return [(line.label, line.text) for line in transcript.news(one, **more)]


def test_a_message_that_grows_is_told_once_and_whole() -> None:
    transcript = Transcript()
    assert told(transcript, state("IN_PROGRESS", "All")) == [("phase", "IN_PROGRESS")]
    assert told(transcript, state("IN_PROGRESS", "All is")) == []
    assert told(transcript, state("IN_PROGRESS", "All is well.", "More")) == [("ai", "All is well.")]
    assert told(transcript, state("COMPLETED", "All is well.", "More.")) == [("ai", "More."), ("phase", "COMPLETED")]


def test_a_message_to_which_nothing_was_added_is_told_before_the_tools_that_it_asks_for() -> None:
    transcript = Transcript()
    told(transcript, state("IN_PROGRESS", "I search."))
    call = ToolCall(id="1", name="search", status=ToolCallStatus.TOOL_CALL_RUNNING)
    assert told(transcript, state("IN_PROGRESS", "I search.", tool_calls=[call])) == [
        ("ai", "I search."),
        ("tool search", "RUNNING"),
    ]
    failed = ToolCall(id="1", name="search", status=ToolCallStatus.TOOL_CALL_FAILED, error="no such page")
    assert told(transcript, state("IN_PROGRESS", "I search.", tool_calls=[failed])) == [
        ("tool search", "FAILED: no such page")
    ]


def test_a_todo_is_told_when_it_changes() -> None:
    transcript = Transcript()
    todo = TodoItem(id="1", content="Read it", status=TodoStatus.TODO_PENDING)
    assert ("todo", "[ ] Read it") in told(transcript, state("IN_PROGRESS", todos={"1": todo}))
    assert told(transcript, state("IN_PROGRESS", todos={"1": todo})) == []
    done = TodoItem(id="1", content="Read it", status=TodoStatus.TODO_COMPLETED)
    assert told(transcript, state("IN_PROGRESS", todos={"1": done})) == [("todo", "[x] Read it")]


def test_the_last_state_asked_about_is_told_whole_and_an_error_before_the_end() -> None:
    assert told(Transcript(), state("IN_PROGRESS", "Half"), is_last=True)[-1] == ("ai", "Half")
    assert told(Transcript(), state("FAILED", error="no model")) == [("error", "no model"), ("phase", "FAILED")]


def test_an_execution_without_a_status_has_no_news() -> None:
    assert told(Transcript(), AgentExecution()) == []
