"""One log line a call over a network, also where its message is bad, late or never comes, and when the server stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import samples
from call_lines import CHECK, Calls, listener
from edge_rig import Stubs, executions, id_of, sessions
from edge_sockets import listening, raw
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from grpclib.client import Channel

CREATE = "/ai.stigmer.agentic.session.v1.SessionCommandController/create"
GET = "/ai.stigmer.agentic.session.v1.SessionQueryController/get"
SUBSCRIBE = "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/subscribe"
WATCH = "/grpc.health.v1.Health/Watch"


@pytest.fixture
def calls() -> Generator[Calls]:
    with listener() as heard:
        yield heard


async def check(channel: Channel) -> None:
    """Once it is answered, the server has seen all that was sent before on this connection."""
    async with channel.request(CHECK, Cardinality.UNARY_UNARY, bytes, bytes) as call:
        await call.send_message(b"", end=True)
        assert await call.recv_message() == b"\x08\x01"


async def test_ok_and_refused(tmp_path: Path, calls: Calls) -> None:
    async with listening(tmp_path) as (_, channel):
        stubs = Stubs(channel)
        made = await stubs.sessions.create(samples.session(), metadata={"x-request-id": "mine"})
        with pytest.raises(GRPCError):
            await stubs.find_sessions.get(sessions.SessionId(value="ses-none"))
    first, second = await calls.next(), await calls.next()
    assert (first["method"], first["code"], first["id"], first["request_id"]) == (CREATE, "OK", id_of(made), "mine")
    assert (second["method"], second["code"], second["id"]) == (GET, "NOT_FOUND", "ses-none")
    assert first["peer"].startswith("127.0.0.1:")
    assert first["duration_ms"] > 0
    assert calls.queue.empty()


@pytest.mark.parametrize("body", [b"\xff\xff\xff", None], ids=["undecodable", "missing"])
@pytest.mark.parametrize("path", [CREATE, SUBSCRIBE])
async def test_a_bad_message(tmp_path: Path, calls: Calls, path: str, body: bytes | None) -> None:
    async with listening(tmp_path) as (server, _):
        with raw(server) as channel:
            call = channel.request(path, Cardinality.STREAM_STREAM, bytes, bytes)
            async with call:
                if body is None:
                    await call.send_request(end=True)
                else:
                    await call.send_message(body, end=True)
                with pytest.raises(GRPCError) as caught:
                    await call.recv_message()
            assert caught.value.status.name == "INVALID_ARGUMENT"
    line = await calls.next()
    assert (line["method"], line["code"]) == (path, "INVALID_ARGUMENT")
    assert line["kind"] in {"Session", "AgentExecution"}
    assert line["request_id"].startswith("req-")


@pytest.mark.parametrize("path", [CREATE, SUBSCRIBE])
async def test_a_caller_that_goes_away_before_its_message_came(tmp_path: Path, calls: Calls, path: str) -> None:
    async with listening(tmp_path) as (server, _):
        with raw(server) as channel:
            async with channel.request(path, Cardinality.UNARY_STREAM, bytes, bytes) as call:
                await call.send_request()
                await check(channel)
                await call.cancel()
            line = await calls.next()
    assert (line["method"], line["code"]) == (path, "CANCELLED")


@pytest.mark.parametrize("path", [CREATE, SUBSCRIBE])
async def test_a_caller_that_never_sends_its_message_is_late(tmp_path: Path, calls: Calls, path: str) -> None:
    async with listening(tmp_path) as (server, _):
        with raw(server) as channel:
            call = channel.request(path, Cardinality.STREAM_STREAM, bytes, bytes)
            call._deadline = Told(_timestamp=0)
            with pytest.raises((GRPCError, TimeoutError)):  # the server's word, or the client's own clock
                await send_headers_alone(call, calls)


async def send_headers_alone(call: Any, calls: Calls) -> None:
    async with call:
        await call.send_request()
        assert (await calls.next())["code"] == "DEADLINE_EXCEEDED"


class Told(Deadline):
    """A deadline that the server is told, and that the client does not watch."""

    def time_remaining(self) -> float:
        return 0.05


async def test_drained_streams_say_unavailable(tmp_path: Path, calls: Calls) -> None:
    """Also one whose request is still on its way, and a health check's Watch."""
    async with listening(tmp_path) as (server, channel):
        stubs = Stubs(channel)
        agent = await stubs.agents.create(samples.agent())
        execution = await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent)))
        states = stubs.find_executions.subscribe(executions.AgentExecutionId(value=id_of(execution)))
        await anext(states)
        while not calls.queue.empty():
            calls.queue.get_nowait()
        with raw(server) as other:
            half_sent = other.request(SUBSCRIBE, Cardinality.STREAM_STREAM, bytes, bytes)
            watch = other.request(WATCH, Cardinality.UNARY_STREAM, bytes, bytes)
            async with half_sent, watch:
                await half_sent.send_request()
                await watch.send_message(b"", end=True)
                assert await watch.recv_message() == b"\x08\x01"
                await server.drain(5)
            await states.aclose()
    lines = [await calls.next() for _ in range(3)]
    assert sorted(line["method"] for line in lines) == [SUBSCRIBE, SUBSCRIBE, WATCH]
    assert {line["code"] for line in lines} == {"UNAVAILABLE"}
