"""Requests that were made to hold up a server: the costliest of each shape, beyond the limits and just within them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import samples

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecutionStatus, AgentMessage, TodoItem
from stigmer._gen.google.protobuf import Struct, Value
from stigmer.wire import codec
from stigmer.wire.scalars import varint

if TYPE_CHECKING:
    from collections.abc import Iterator

_AGENTIC = "/ai.stigmer.agentic"
AGENT = f"{_AGENTIC}.agent.v1.AgentCommandController/create"
ENVIRONMENT = f"{_AGENTIC}.environment.v1.EnvironmentCommandController/create"
SESSION = f"{_AGENTIC}.session.v1.SessionCommandController/create"
SESSIONS = f"{_AGENTIC}.session.v1.SessionQueryController/list"
REPORT = f"{_AGENTIC}.agentexecution.v1.AgentExecutionCommandController/updateStatus"
UPDATE = f"{_AGENTIC}.agentexecution.v1.AgentExecutionCommandController/update"
MIB = 2**20
ALMOST = 10 * MIB - 200


@dataclass(frozen=True)
class Heavy:
    """One of them; `code` is the status that it gets the first time."""

    name: str
    path: str
    body: bytes
    code: str


def heavy_requests(execution_id: str) -> Iterator[Heavy]:
    """All of them; those about an execution are about this one."""
    yield from _of_resources()
    yield from _of_reports(execution_id)
    body = codec.encode(samples.agent_execution("", "", id=execution_id))
    body += field(5, _status(messages=[AgentMessage(content="x" * 1000)] * 9_900))
    yield Heavy("an update that sends the transcript back", UPDATE, body, "OK")


def field(number: int, value: bytes) -> bytes:
    """A field of bytes, or a message, on the wire."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def _entries(count: int) -> bytes:
    return b"".join(field(2, field(1, b"%d" % number) + field(2, field(1, b"x"))) for number in range(count))


def _of_resources() -> Iterator[Heavy]:
    agent, environment = codec.encode(samples.agent()), codec.encode(samples.environment())
    servers = field(4, field(1, b"n") + field(2, field(1, b"c") + field(2, b"a") * 6)) * 999
    broken = field(6, field(4, b"a") * 8) * 999
    unknown = b"\xf8\x3f\x01"
    yield Heavy("99,000 entries of a map", ENVIRONMENT, environment + field(4, _entries(99_000)), "RESOURCE_EXHAUSTED")
    yield Heavy("as many entries as may be", ENVIRONMENT, environment + field(4, _entries(999)), "OK")
    yield Heavy("512 kB of MCP servers", AGENT, agent + field(4, field(4, b"\x0a\x00") * 80_000), "RESOURCE_EXHAUSTED")
    yield Heavy("as many MCP servers as may be", AGENT, agent + field(4, servers), "OK")
    yield Heavy("9,000 broken parts", AGENT, agent + field(4, broken), "INVALID_ARGUMENT")
    yield Heavy("200,000 empty metadata", AGENT, agent + b"\x1a\x00" * 200_000, "RESOURCE_EXHAUSTED")
    yield Heavy("unknown fields of 1 MiB", AGENT, agent + unknown * (MIB // 3), "RESOURCE_EXHAUSTED")
    yield Heavy("as many unknown fields as may be", AGENT, codec.encode(samples.agent()) + unknown * 9_990, "OK")
    yield Heavy("a name of 5 million a!", SESSION, _session(name="a!" * 5_000_000), "INVALID_ARGUMENT")
    yield Heavy("90,000 tags", SESSION, _session(tags=list(map(str, range(90_000)))), "RESOURCE_EXHAUSTED")
    yield Heavy("as many tags as may be", SESSION, _session(tags=[f"{n:0256}" for n in range(256)]), "OK")
    labels = {f"{number:0320}": "v" * 1024 for number in range(256)}
    yield Heavy("as many labels as may be", SESSION, _session(labels=labels), "OK")
    annotations = {str(number): "x" * 2_500 for number in range(1024)}
    yield Heavy("as many annotations as may be", SESSION, _session(annotations=annotations), "OK")
    yield Heavy("a list by 9,000 tags", SESSIONS, field(3, b"x") * 9_000, "INVALID_ARGUMENT")


def _session(**metadata: Any) -> bytes:
    return codec.encode(samples.session(**metadata))


def _of_reports(execution_id: str) -> Iterator[Heavy]:
    reports = {
        "198 kB of empty messages": (b"\x0a\x00" * 99_000, "OK"),
        "99,000 broken tool calls": (b"\x1a\x02\x28\x63" * 99_000, "INVALID_ARGUMENT"),
        "10,000 messages of 1 kB": (_status(messages=[AgentMessage(content="x" * 1_000)] * 10_000), "OK"),
        "90,000 messages of 90 bytes": (_status(messages=[AgentMessage(content="x" * 90)] * 90_000), "OK"),
        "10 MiB of empty messages": (b"\x0a\x00" * (ALMOST // 2), "RESOURCE_EXHAUSTED"),
        "10 MiB of one number": (b"\x10\x01" * (ALMOST // 2), "RESOURCE_EXHAUSTED"),
        "10 MiB of unknown fields": (b"\xf8\x3f\x01" * (ALMOST // 3), "RESOURCE_EXHAUSTED"),
        "one text of 10 MiB": (field(6, b"x" * (ALMOST - 100)), "RESOURCE_EXHAUSTED"),
        "a Struct of 30,000": (_status(messages=[AgentMessage(metadata=_struct(30_000))]), "OK"),
        "100 Structs of 300": (_status(messages=[AgentMessage(metadata=_struct(300))] * 100), "OK"),
        "Structs as deep as may be": (field(1, field(5, deep(28))) * 1_000, "OK"),
        "Structs deeper than that": (field(1, field(5, deep(40))) * 1_000, "INVALID_ARGUMENT"),
        "one message with 90,000 tool calls": (field(1, field(4, b"") * 90_000), "INVALID_ARGUMENT"),
        "40,000 todos": (_status(messages=[], todos={str(n): TodoItem() for n in range(40_000)}) + field(1, b""), "OK"),
    }
    for name, (status, code) in reports.items():
        yield Heavy(name, REPORT, field(1, execution_id.encode()) + field(2, status), code)


def _status(**fields: Any) -> bytes:
    return codec.encode(AgentExecutionStatus(**fields))


def _struct(count: int) -> Struct:
    return Struct(fields={str(number): Value(string_value="x") for number in range(count)})


def deep(levels: int) -> bytes:
    """A Struct with a list in a list, so many times."""
    value = b"\x20\x01"
    for _ in range(levels):
        value = field(6, field(1, value))
    return field(1, field(1, b"a") + field(2, value))
