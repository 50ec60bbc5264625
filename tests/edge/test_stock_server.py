"""`Network.handlers()` on grpclib's own server, as a host would serve them beside its own; the client is grpcio's."""

from __future__ import annotations

import asyncio
import base64
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import samples
from call_lines import Calls, listener
from edge_rig import Around, Stubs, agents, executions, id_of
from edge_sockets import grpcio_client
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.server import Server

from stigmer.app import embedded
from stigmer.rpc import Codec
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    from edge_sockets import Send

    from stigmer.edge.interceptors import Interceptor, UnaryNext
    from stigmer.pipeline.call import Call

AGENTS = "/ai.stigmer.agentic.agent.v1.AgentCommandController/"
FIND_AGENTS = "/ai.stigmer.agentic.agent.v1.AgentQueryController/"
SUBSCRIBE = "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/subscribe"


class Stock:
    """A grpclib server's address."""

    def __init__(self, server: Server) -> None:
        sockets: Any = server._server
        self.address: tuple[str, int] = sockets.sockets[0].getsockname()[:2]


@asynccontextmanager
async def stock(directory: Path, *interceptors: Interceptor) -> AsyncGenerator[tuple[Send, Stubs]]:
    """A grpcio client's way to a stock server, and stubs on the loopback."""
    async with embedded(directory, interceptors) as plane:
        server = Server(plane.services(), codec=Codec(), status_details_codec=ProtoStatusDetailsCodec())
        await server.start("127.0.0.1", 0)
        try:
            async with grpcio_client(Stock(server)) as send:
                yield send, Stubs(plane.channel)
        finally:
            server.close()
            await server.wait_closed()


@pytest.fixture(autouse=True)
def calls() -> Generator[Calls]:
    with listener() as heard:
        yield heard


async def line_of(calls: Calls, method: str) -> dict[str, Any]:
    """The next line of a call to it."""
    while (line := await calls.next())["method"] != method:
        pass
    return line


def no_complaints(caplog: pytest.LogCaptureFixture) -> bool:
    return not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_unary_calls_and_the_details_of_their_errors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, calls: Calls
) -> None:
    async with stock(tmp_path) as (send, stubs):
        answer = await send(AGENTS + "create", codec.encode(samples.agent()))
        made: Any = codec.decode(agents.Agent, base64.b64decode(answer["reply"]))
        assert id_of(await stubs.find_agents.get(agents.AgentId(value=id_of(made)))) == id_of(made)
        answer = await send(FIND_AGENTS + "get", codec.encode(agents.AgentId(value="agt-none")))
        assert (answer["code"], answer["message"]) == ("NOT_FOUND", "Agent not found: agt-none")
        assert answer["trailers"]["grpc-status-details-bin"] > 0
        assert (await send(AGENTS + "create", b"\xff"))["code"] == "INVALID_ARGUMENT"
        assert (await line_of(calls, AGENTS + "create"))["peer"].startswith("127.0.0.1:")
    assert no_complaints(caplog)


async def test_a_deadline_is_known_and_cancels_the_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, calls: Calls
) -> None:
    deadlines = []

    async def hang(call: Call, request: Any, proceed: UnaryNext) -> Any:
        deadlines.append(call.deadline_s)
        await proceed(call, request)
        await asyncio.Event().wait()

    async with stock(tmp_path, Around("AgentCommandController/create", hang)) as (send, _):
        await connected(send)
        answer = await send(AGENTS + "create", codec.encode(samples.agent()), timeout=2)
        assert answer["code"] == "DEADLINE_EXCEEDED"
        line = await line_of(calls, AGENTS + "create")
    assert line["code"] in {"DEADLINE_EXCEEDED", "CANCELLED"}  # by our clock or the client's, whichever is first
    assert deadlines[0] is not None
    assert no_complaints(caplog)


async def test_a_subscription_to_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture, calls: Calls) -> None:
    async with stock(tmp_path) as (send, stubs):
        execution = await made_execution(stubs)
        follow = asyncio.create_task(send(SUBSCRIBE, execution, take=0))
        await stubs.report(execution_id(execution), phase=executions.ExecutionPhase.EXECUTION_COMPLETED)
        answer = await follow
        assert answer["code"] == "OK"
        last: Any = codec.decode(executions.AgentExecution, base64.b64decode(answer["replies"][-1]))
        assert last.status.phase == executions.ExecutionPhase.EXECUTION_COMPLETED
        assert (await line_of(calls, SUBSCRIBE))["code"] == "OK"
    assert no_complaints(caplog)


async def test_a_client_that_cancels_its_subscription(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, calls: Calls
) -> None:
    async with stock(tmp_path) as (send, stubs):
        assert (await send(SUBSCRIBE, await made_execution(stubs), take=1))["code"] == "CANCELLED"
        line = await line_of(calls, SUBSCRIBE)
    assert (line["code"], line["sent"]) == ("CANCELLED", 1)
    assert no_complaints(caplog)


async def test_a_late_subscription_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture, calls: Calls) -> None:
    async with stock(tmp_path) as (send, stubs):
        await connected(send)
        answer = await send(SUBSCRIBE, await made_execution(stubs), take=0, timeout=2)
        assert answer["code"] == "DEADLINE_EXCEEDED"
        code = (await line_of(calls, SUBSCRIBE))["code"]
        assert code in {"DEADLINE_EXCEEDED", "CANCELLED"}  # by our clock or the client's, whichever is first
    assert no_complaints(caplog)


async def test_a_compressed_request_is_refused_in_our_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, calls: Calls
) -> None:
    """grpclib has no compression; its own answer is UNKNOWN with a traceback in the log."""
    async with stock(tmp_path) as (send, _):
        answer = await send(AGENTS + "create", codec.encode(samples.agent("x" * 5000)), compression="gzip")
        assert answer["code"] == "UNIMPLEMENTED"
    assert no_complaints(caplog)


async def connected(send: Send) -> None:
    """Have the client connect, which counts against the deadline of its first call."""
    assert (await send(FIND_AGENTS + "get", codec.encode(agents.AgentId(value="agt-none"))))["code"] == "NOT_FOUND"


async def made_execution(stubs: Stubs) -> bytes:
    """The id of a new execution, as a request."""
    agent = await stubs.agents.create(samples.agent())
    execution = await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent)))
    return codec.encode(executions.AgentExecutionId(value=id_of(execution)))


def execution_id(request: bytes) -> str:
    return str(codec.decode(executions.AgentExecutionId, request).value)
