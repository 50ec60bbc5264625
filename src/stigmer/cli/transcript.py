"""What is new in each state of an execution, as lines for people: phases, messages, tool calls, todos."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from stigmer.cli.phases import FINAL, phase_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stigmer.types import AgentExecution, AgentExecutionStatus, AgentMessage

MARKS = {"PENDING": "[ ]", "IN_PROGRESS": "[>]", "COMPLETED": "[x]", "CANCELLED": "[-]"}
"""How a todo's status is shown."""


class Line(NamedTuple):
    """One piece of news.

    Attributes:
        label: what it is about, such as `phase`, `ai` or `tool search`.
        text: what there is to say, as it came; it may have many lines.
    """

    label: str
    text: str


class Transcript:
    """Compares each state with what was told before. It begins with nothing told."""

    def __init__(self) -> None:
        self._messages = 0
        self._last = ""
        self._told: dict[str, str] = {}

    def news(self, state: AgentExecution, *, is_last: bool = False) -> Iterator[Line]:
        """What has not been told yet.

        The last message is told when it is whole: nothing was added to it since the state before, another follows it,
        or the execution has ended.

        Args:
            state: the execution as it is now.
            is_last: no other state will be asked about.
        """
        status, phase = state.status, phase_of(state)
        if status is None:
            return
        if phase not in FINAL:
            yield from self._changed("phase", "phase", phase)
        yield from self._new_messages(status.messages, is_last=is_last or phase in FINAL)
        for key, label, text in _facts(status):
            yield from self._changed(key, label, text)
        if phase in FINAL:
            yield from self._changed("error", "error", status.error)
            yield from self._changed("phase", "phase", phase)

    def _new_messages(self, messages: list[AgentMessage], *, is_last: bool) -> Iterator[Line]:
        last = messages[-1].content if messages else ""
        is_whole = is_last or last == self._last
        until = len(messages) if is_whole else len(messages) - 1
        for message in messages[self._messages : until]:
            yield Line(word(message.type, "MESSAGE_").lower(), message.content)
        self._messages, self._last = max(self._messages, until), last

    def _changed(self, key: str, label: str, text: str) -> Iterator[Line]:
        if text and self._told.get(key) != text:
            self._told[key] = text
            yield Line(label, text)


def word(value: Any, stem: str) -> str:  # noqa: ANN401 - a member of any enum
    """A value of an enum as people read it, such as RUNNING."""
    return str(value.name or value.value).removeprefix(stem)


def todos(status: AgentExecutionStatus) -> Iterator[tuple[str, str]]:
    """The agent's plan: the id of each entry, and the entry with its mark."""
    for key, todo in sorted(status.todos.items(), key=lambda one: (one[1].created_at, one[0])):
        yield key, f"{MARKS.get(word(todo.status, 'TODO_'), '[?]')} {todo.content}"


def _facts(status: AgentExecutionStatus) -> Iterable[tuple[str, str, str]]:
    """A key, a label and a text for each tool call, sub-agent and todo."""
    of_messages = (call for message in status.messages for call in message.tool_calls)
    calls = {one.id or one.name: one for one in chain(of_messages, status.tool_calls)}
    for key, call in calls.items():
        yield f"tool {key}", f"tool {call.name}", _ended(word(call.status, "TOOL_CALL_"), call.error)
    for agent in status.sub_agent_executions:
        said = _ended(word(agent.status, "SUB_AGENT_"), agent.error)
        yield f"agent {agent.id or agent.name}", f"sub-agent {agent.name}", said
    for key, text in todos(status):
        yield f"todo {key}", "todo", text


def _ended(status: str, error: str) -> str:
    return f"{status}: {error}" if error else status
