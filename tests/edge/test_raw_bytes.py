"""What a client of another make may send: broken bytes, huge texts, values that Python has not."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Stubs, agents, environments, executions, id_of
from edge_sockets import grpcio_client, listening
from google.rpc import error_details_pb2 as rpc
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.exceptions import GRPCError
from grpclib.metadata import encode_bin_value, encode_grpc_message

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
from stigmer.wire import codec
from stigmer.wire.descriptors import message_class

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

AGENTS = "/ai.stigmer.agentic.agent.v1.AgentCommandController/"
FIND_AGENTS = "/ai.stigmer.agentic.agent.v1.AgentQueryController/"
ENVIRONMENTS = "/ai.stigmer.agentic.environment.v1.EnvironmentCommandController/"
EXECUTIONS = "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionCommandController/"
MEGA = 1_000_000


@asynccontextmanager
async def outside(directory: Path) -> AsyncGenerator[tuple[Any, Stubs]]:
    """A grpcio client's way to send bytes to a server, and stubs of our own to it."""
    async with listening(directory) as (server, channel), grpcio_client(server) as send:
        yield send, Stubs(channel)


def wire(kind: str) -> Any:
    return message_class(kind)()


def deep(levels: int) -> bytes:
    """Unknown groups within groups: what a parser without a limit would die of."""
    return b"\x1b" * levels + b"\x1c" * levels


BROKEN: dict[str, bytes] = {
    "no tag": b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    "cut short": b"\x0a\x05ab",
    "a wire type that is none": b"\x0f",
    "invalid UTF-8": b"\x0a\x02\xc3\x28",
    "another wire type for metadata": b"\x1d\x00",
    "nested beyond all bounds": deep(100_000),
    "a length beyond the end": b"\x1a\xff\xff\xff\xff\x0f",
}


async def test_broken_bytes_are_invalid_and_harm_nobody(tmp_path: Path) -> None:
    async with outside(tmp_path) as (send, stubs):
        for name, body in BROKEN.items():
            for method in ("create", "update", "delete"):
                answer = await send(AGENTS + method, body)
                assert answer["code"] == "INVALID_ARGUMENT", (name, method, answer)
                assert answer["trailers"], name
        answer = await send(AGENTS + "create", b"")
        assert answer["code"] == "INVALID_ARGUMENT"
        assert "metadata" in answer["message"]
        assert (await stubs.agents.create(samples.agent())).metadata.id


async def test_values_that_python_has_not(tmp_path: Path) -> None:
    """A Timestamp of the year 36 billion in what only the server sets is dropped; the call succeeds."""
    async with outside(tmp_path) as (send, stubs):
        late: Any = codec.to_wire(samples.agent())
        late.status.audit.spec_audit.created_at.seconds = 2**60
        answer = await send(AGENTS + "create", late.SerializeToString())
        assert answer["code"] == "OK"
        stored = codec.decode(agents.Agent, base64.b64decode(answer["reply"]))
        assert stored.status.audit.spec_audit.created_at.year < 3000  # type: ignore[union-attr]  # it has one

        execution = await stubs.executions.create(samples.agent_execution(agent_id=id_of(stored)))
        report = wire("ai.stigmer.agentic.agentexecution.v1.AgentExecutionUpdateStatusInput")
        report.execution_id = id_of(execution)
        report.status.error = "late"
        report.status.audit.status_audit.updated_at.seconds = 2**60
        answer = await send(EXECUTIONS + "updateStatus", report.SerializeToString())
        assert answer["code"] == "OK"
        reported = codec.decode(executions.AgentExecution, base64.b64decode(answer["reply"]))
        assert reported.status.error == "late"  # type: ignore[union-attr]  # as above


async def test_of_two_members_of_a_oneof_the_last_counts(tmp_path: Path) -> None:
    """As everywhere in protobuf; and it is what is stored."""
    definition = wire("ai.stigmer.agentic.agent.v1.McpServerDefinition")
    definition.name = "tools"
    definition.stdio.command = "run"
    second = wire("ai.stigmer.agentic.agent.v1.McpServerDefinition")
    second.http.url = "https://example.com"
    both = definition.SerializeToString() + second.SerializeToString()
    kind = wire("ai.stigmer.agentic.agent.v1.Agent").DESCRIPTOR
    spec = kind.fields_by_name["spec"]
    servers = spec.message_type.fields_by_name["mcp_servers"]
    body = codec.encode(samples.agent()) + embedded(spec, embedded(servers, both))

    async with outside(tmp_path) as (send, stubs):
        answer = await send(AGENTS + "create", body)
        assert answer["code"] == "OK", answer
        made: Any = codec.decode(agents.Agent, base64.b64decode(answer["reply"]))
        stored = await stubs.find_agents.get(agents.AgentId(value=id_of(made)))
    (server,) = stored.spec.mcp_servers
    assert (server.stdio, server.http.url) == (None, "https://example.com")


def embedded(field: Any, data: bytes) -> bytes:
    """A message field on the wire; shorter than 128 bytes."""
    return bytes([field.number << 3 | 2, len(data)]) + data


def trailer_bytes(error: GRPCError) -> int:
    """What the status takes in the trailers."""
    details = ProtoStatusDetailsCodec().encode(error.status, error.message, list(error.details or ()))
    return len(encode_grpc_message(error.message or "")) + len(encode_bin_value(details))


def flood(key: str) -> Any:
    """A resource that breaks a rule in each of three hundred fields."""
    made: Any = samples.agent("")
    for number in range(150):
        made.spec.sub_agents.append(agents.SubAgent(name=""))
        made.metadata.labels[f"{key}{number}"] = ""
        made.metadata.tags.append("")
    return made


def many_values(key: str) -> Any:
    made: Any = samples.environment()
    made.metadata.name = ""
    made.spec.data = {f"{key * 200}{number}": environments.EnvironmentValue() for number in range(100)}
    return made


HUGE: dict[str, Callable[[Stubs], Awaitable[Any]]] = {
    "an id": lambda stubs: stubs.find_agents.get(agents.AgentId(value="x" * MEGA)),
    "an id of four-byte characters": lambda stubs: stubs.find_agents.get(agents.AgentId(value="🦜" * 250_000)),
    "a slug": lambda stubs: stubs.find_agents.get_by_reference(ApiResourceReference(slug="x" * MEGA)),
    "a slug and an org": lambda stubs: stubs.find_agents.get_by_reference(
        ApiResourceReference(slug="ü" * MEGA, org="ö" * MEGA)
    ),
    "a given slug": lambda stubs: stubs.agents.create(samples.agent(slug="X" * MEGA)),
    "a given id": lambda stubs: stubs.agents.create(samples.agent(id="agt-" + "x" * MEGA)),
    "a name to update by": lambda stubs: stubs.agents.update(samples.agent(name="x" * MEGA)),
    "a kind": lambda stubs: stubs.agents.create(agents.Agent(kind="K" * MEGA)),
    "a page token": lambda stubs: stubs.find_sessions.list(list_with("x" * MEGA)),
    "an execution's id": lambda stubs: stubs.report("x" * MEGA),
    "an agent's id": lambda stubs: stubs.executions.create(samples.agent_execution(agent_id="x" * MEGA)),
    "a session's id": lambda stubs: stubs.executions.create(samples.agent_execution(session_id="x" * MEGA)),
    "hundreds of broken fields": lambda stubs: stubs.agents.create(flood("k")),
    "hundreds with keys of four bytes": lambda stubs: stubs.agents.create(flood("🦜")),
    "keys in the paths": lambda stubs: stubs.environments.create(many_values("k")),
    "keys of four bytes in the paths": lambda stubs: stubs.environments.create(many_values("🦜")),
}


def list_with(token: str) -> Any:
    from stigmer._gen.ai.stigmer.agentic.session.v1 import ListSessionsRequest

    return ListSessionsRequest(page_token=token)


@pytest.mark.parametrize("case", HUGE)
async def test_an_error_fits_into_the_trailers_whatever_it_repeats(tmp_path: Path, case: str) -> None:
    async with listening(tmp_path) as (_, channel):
        with pytest.raises(GRPCError) as caught:
            await HUGE[case](Stubs(channel))
    error = caught.value
    assert error.status.name in {"NOT_FOUND", "INVALID_ARGUMENT"}
    assert error.message
    assert error.details
    assert trailer_bytes(error) < 8000


async def test_a_taken_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    async with listening(tmp_path) as (_, channel):
        stubs = Stubs(channel)
        await stubs.agents.create(samples.agent(name="x" * 1_000))
        with pytest.raises(GRPCError) as caught:
            await stubs.agents.create(samples.agent(name="x" * 1_000))
    assert caught.value.status.name == "ALREADY_EXISTS"
    assert trailer_bytes(caught.value) < 8000


async def test_a_stale_version_of_a_megabyte(tmp_path: Path) -> None:
    async with listening(tmp_path) as (_, channel):
        stubs = Stubs(channel)
        stored = await stubs.agents.create(samples.agent())
        stored.metadata.version.id = "ü" * MEGA
        with pytest.raises(GRPCError) as caught:
            await stubs.agents.update(stored)
    assert caught.value.status.name == "ABORTED"
    assert trailer_bytes(caught.value) < 8000


async def test_grpcio_reads_the_largest_errors(tmp_path: Path) -> None:
    """Its clients refuse trailers over 8 KiB: the code would come out as another one, the details not at all."""
    async with outside(tmp_path) as (send, _):
        for body in (flood("k"), flood("🦜")):
            answer = await send(AGENTS + "create", codec.encode(body))
            assert answer["code"] == "INVALID_ARGUMENT"
            assert "more" in answer["message"]
            assert answer["trailers"]["grpc-status-details-bin"] > 0
        reference = ApiResourceReference(slug="🦜" * 200_000, org="ö" * MEGA)
        answer = await send(FIND_AGENTS + "getByReference", codec.encode(reference))
        assert answer["code"] == "NOT_FOUND"


async def test_the_rest_is_counted(tmp_path: Path) -> None:
    async with listening(tmp_path) as (_, channel):
        with pytest.raises(GRPCError) as caught:
            await Stubs(channel).agents.create(flood("k"))
    (detail,) = list(caught.value.details or ())
    assert isinstance(detail, rpc.BadRequest)
    assert len(detail.field_violations) > 5
    assert detail.field_violations[-1].description.startswith("and ")
    assert (caught.value.message or "").endswith("more")
