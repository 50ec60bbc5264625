"""Requests that were made to hold up a server: the costliest of each shape, beyond the limits and just within them.

The abuse suite sends them again and again, tests/edge/test_nothing_holds_the_loop.py once.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks import messages
from stigmer.wire.scalars import varint

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 2**20
ALMOST = 10 * MIB - 200
UNKNOWN_FIELD = b"\xf8\x3f\x01"
STATUS = "ai.stigmer.agentic.agentexecution.v1.AgentExecutionStatus"


@dataclass(frozen=True)
class Heavy:
    """One of them.

    Attributes:
        path: the method.
        body: makes the request; about an execution where the method reports on one, given its id.
        code: the status that it gets the first time.
    """

    path: str
    body: Callable[[str], bytes]
    code: str


def _field(number: int, value: bytes) -> bytes:
    """A field of bytes, or a message, on the wire."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def _name() -> str:
    return f"heavy-{secrets.token_hex(4)}"


def _agent(more: bytes) -> Callable[[str], bytes]:
    """A create with more fields behind it."""
    return lambda _: messages.agent(_name()) + more


def _session(metadata: Callable[[], dict[str, Any]]) -> Callable[[str], bytes]:
    """A create with this metadata."""

    def body(_: str) -> bytes:
        session = messages.session(_name())
        session.metadata.MergeFrom(type(session.metadata)(**metadata()))
        data: bytes = session.SerializeToString()
        return data

    return body


def _entries(count: int) -> Callable[[str], bytes]:
    """A create of an environment with so many values."""

    def body(_: str) -> bytes:
        entries = (_field(2, _field(1, b"%d" % number) + _field(2, _field(1, b"x"))) for number in range(count))
        return messages.environment(_name()) + _field(4, b"".join(entries))

    return body


def _report(status: Callable[[], bytes]) -> Callable[[str], bytes]:
    return lambda execution_id: _field(1, execution_id.encode()) + _field(2, status())


def _status(**fields: Any) -> bytes:
    data: bytes = messages.new(STATUS, **fields).SerializeToString()
    return data


def _transcript(number: int, content_bytes: int) -> bytes:
    return _status(messages=[{"content": "x" * content_bytes}]) * number


def _struct(count: int) -> bytes:
    """A status of one message with a Struct of so many."""
    return _status(messages=[{"metadata": {str(number): "x" for number in range(count)}}])


def _todos(count: int) -> bytes:
    todos = (_field(9, _field(1, b"%d" % number) + _field(2, b"")) for number in range(count))
    return _field(1, b"") + b"".join(todos)


def _deep(levels: int) -> bytes:
    """A Struct with a list in a list, so many times."""
    value = b"\x20\x01"
    for _ in range(levels):
        value = _field(6, _field(1, value))
    return _field(1, _field(1, b"a") + _field(2, value))


def _transcript_sent_back(execution_id: str) -> bytes:
    update = messages.parsed(messages.EXECUTION, messages.execution(_name(), ""))
    update.metadata.id = execution_id
    data: bytes = update.SerializeToString()
    return data + _field(5, _transcript(9_900, 1000))


_SERVERS = _field(4, _field(1, b"n") + _field(2, _field(1, b"c") + _field(2, b"a") * 6)) * 999

_RESOURCES: dict[str, tuple[str, Callable[[str], bytes], str]] = {
    "99,000 entries of a map": (messages.CREATE_ENVIRONMENT, _entries(99_000), "RESOURCE_EXHAUSTED"),
    "as many entries as may be": (messages.CREATE_ENVIRONMENT, _entries(999), "OK"),
    "512 kB of MCP servers": (
        messages.CREATE_AGENT,
        _agent(_field(4, _field(4, b"\x0a\x00") * 80_000)),
        "RESOURCE_EXHAUSTED",
    ),
    "as many MCP servers as may be": (messages.CREATE_AGENT, _agent(_field(4, _SERVERS)), "OK"),
    "9,000 broken parts": (
        messages.CREATE_AGENT,
        _agent(_field(4, _field(6, _field(4, b"a") * 8) * 999)),
        "INVALID_ARGUMENT",
    ),
    "200,000 empty metadata": (messages.CREATE_AGENT, _agent(b"\x1a\x00" * 200_000), "RESOURCE_EXHAUSTED"),
    "unknown fields of 1 MiB": (messages.CREATE_AGENT, _agent(UNKNOWN_FIELD * (MIB // 3)), "RESOURCE_EXHAUSTED"),
    "as many unknown fields as may be": (messages.CREATE_AGENT, _agent(UNKNOWN_FIELD * 9_990), "OK"),
    "a name of 5 million a!": (
        messages.CREATE_SESSION,
        _session(lambda: {"name": "a!" * 5_000_000}),
        "INVALID_ARGUMENT",
    ),
    "90,000 tags": (messages.CREATE_SESSION, _session(lambda: {"tags": map(str, range(90_000))}), "RESOURCE_EXHAUSTED"),
    "as many tags as may be": (
        messages.CREATE_SESSION,
        _session(lambda: {"tags": [f"{n:0256}" for n in range(256)]}),
        "OK",
    ),
    "as many labels as may be": (
        messages.CREATE_SESSION,
        _session(lambda: {"labels": {f"{n:0320}": "v" * 1024 for n in range(256)}}),
        "OK",
    ),
    "as many annotations as may be": (
        messages.CREATE_SESSION,
        _session(lambda: {"annotations": {str(n): "x" * 2_500 for n in range(1024)}}),
        "OK",
    ),
    "a list by 9,000 tags": (messages.LIST, lambda _: _field(3, b"x") * 9_000, "INVALID_ARGUMENT"),
    "an update that sends the transcript back": (messages.UPDATE_EXECUTION, _transcript_sent_back, "OK"),
}
_REPORTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "198 kB of empty messages": (lambda: b"\x0a\x00" * 99_000, "OK"),
    "99,000 broken tool calls": (lambda: b"\x1a\x02\x28\x63" * 99_000, "INVALID_ARGUMENT"),
    "10,000 messages of 1 kB": (lambda: _transcript(10_000, 1_000), "OK"),
    "90,000 messages of 90 bytes": (lambda: _transcript(90_000, 90), "OK"),
    "10 MiB of empty messages": (lambda: b"\x0a\x00" * (ALMOST // 2), "RESOURCE_EXHAUSTED"),
    "10 MiB of one number": (lambda: b"\x10\x01" * (ALMOST // 2), "RESOURCE_EXHAUSTED"),
    "10 MiB of unknown fields": (lambda: UNKNOWN_FIELD * (ALMOST // 3), "RESOURCE_EXHAUSTED"),
    "one text of 10 MiB": (lambda: _field(6, b"x" * (ALMOST - 100)), "RESOURCE_EXHAUSTED"),
    "a Struct of 30,000": (lambda: _struct(30_000), "OK"),
    "100 Structs of 300": (lambda: _struct(300) * 100, "OK"),
    "Structs as deep as may be": (lambda: _field(1, _field(5, _deep(28))) * 1_000, "OK"),
    "Structs deeper than that": (lambda: _field(1, _field(5, _deep(40))) * 1_000, "INVALID_ARGUMENT"),
    "one message with 90,000 tool calls": (lambda: _field(1, _field(4, b"") * 90_000), "INVALID_ARGUMENT"),
    "40,000 todos": (lambda: _todos(40_000), "OK"),
}
HEAVY = {name: Heavy(*parts) for name, parts in _RESOURCES.items()} | {
    name: Heavy(messages.UPDATE_STATUS, _report(status), code) for name, (status, code) in _REPORTS.items()
}
