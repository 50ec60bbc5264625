"""Metrics: what a scraper of the served process sees right after known calls, and what scrapers can do to it."""

from __future__ import annotations

import asyncio
import http.client
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import samples
from edge_rig import Stubs, agents, executions, id_of, sessions, turns
from edge_sockets import dial
from grpclib.client import UnaryUnaryMethod
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from matrix import tokens_file
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from served_process import served
from server_wire import connect, message

import stigmer
from stigmer.access.principal import Principal
from stigmer.server.protocol import PIECE_FRAMES
from stigmer.telemetry import exposition
from stigmer.telemetry.exposition import exposed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from served_process import Served

LOOPS = pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
EXECUTIONS = "ai.stigmer.agentic.agentexecution.v1.AgentExecution"
AGENTS = "ai.stigmer.agentic.agent.v1.Agent"
Address = tuple[str, int]


def fetched(address: Address, path: str = "/metrics", method: str = "GET") -> str:
    with urlopen(Request(f"http://{address[0]}:{address[1]}{path}", method=method), timeout=30) as reply:
        text: str = reply.read().decode()
    return text


async def scraped(address: Address) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The value of each sample, by its name and labels."""
    families = text_string_to_metric_families(await asyncio.to_thread(fetched, address))
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def named(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def calls(method: str, code: str = "OK") -> tuple[str, frozenset[tuple[str, str]]]:
    return named("rpc_server_call_duration_seconds_count", method=method, code=code)


@asynccontextmanager
async def measured(directory: Path, *flags: str) -> AsyncGenerator[tuple[Served, Stubs, Address]]:
    """A served process, stubs for it, and where it is scraped."""
    async with served(directory, "--metrics", "127.0.0.1:0", *flags) as server:
        (line,) = [line for line in server.lines if line["event"] == "stigmer serves metrics"]
        host, _, port = line["listen"].rpartition(":")
        channel = dial(server)
        try:
            yield server, Stubs(channel), (host, int(port))
        finally:
            channel.close()


@LOOPS
async def test_a_scrape_tells_what_was_called(tmp_path: Path, loop: str) -> None:
    async with measured(tmp_path, loop) as (server, stubs, address):
        agent = await stubs.agents.create(samples.agent())
        made = [await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent))) for _ in range(3)]
        await stubs.report(id_of(made[0]), phase=executions.ExecutionPhase.EXECUTION_FAILED)
        for _ in range(2):
            with pytest.raises(GRPCError):
                await stubs.find_agents.get(agents.AgentId(value="agt-none"))
        follow = stubs.find_executions.subscribe(executions.AgentExecutionId(value=id_of(made[1])))
        await anext(follow)
        channel = dial(server)
        nothing: Any = UnaryUnaryMethod(channel, "/t.T/Nothing", agents.AgentId, agents.AgentId)
        with pytest.raises(GRPCError):
            await nothing(agents.AgentId())

        seen = await scraped(address)
        assert seen[calls(f"{AGENTS}CommandController/create")] == 1
        assert seen[calls(f"{EXECUTIONS}CommandController/create")] == 3
        assert seen[calls(f"{AGENTS}QueryController/get", "NOT_FOUND")] == 2
        assert calls(f"{AGENTS}QueryController/get") not in seen  # only calls within calls have succeeded
        assert seen[named("stigmer_refused_calls_total", code="UNIMPLEMENTED")] == 1
        assert seen[named("stigmer_executions", phase="EXECUTION_PENDING")] == 2
        assert seen[named("stigmer_executions", phase="EXECUTION_FAILED")] == 1
        assert seen[named("stigmer_resources", kind="Session")] == 3
        assert seen[named("stigmer_subscriptions")] == 1
        assert seen[named("stigmer_connections")] == 2
        commits = seen[named("stigmer_commit_duration_seconds_count")]
        assert 5 <= commits <= seen[named("stigmer_commit_transactions_sum")]
        assert seen[named("stigmer_store_bytes")] > 4096
        assert seen[named("process_resident_memory_bytes")] > 2**20

        await follow.aclose()
        channel.close()
        ended = calls(f"{EXECUTIONS}QueryController/subscribe", "CANCELLED")
        while seen[named("stigmer_connections")] > 1 or seen[named("stigmer_subscriptions")] or ended not in seen:
            seen = await scraped(address)
        assert seen[ended] == 1


async def test_calls_that_are_refused_for_who_makes_them_are_counted(tmp_path: Path) -> None:
    tokens = tokens_file(tmp_path / "tokens", [Principal("bob", "reader", frozenset({"acme"}))])
    flags = ("--tokens-file", str(tmp_path / "tokens"))
    async with measured(tmp_path / "data", *flags) as (server, nobody, address):
        bob = Stubs(channel := dial(server, bearer=tokens["bob"]))
        for refused in (nobody.callers.whoami(), bob.agents.create(samples.agent())):
            with pytest.raises(GRPCError):
                await refused
        channel.close()
        seen = await scraped(address)
    assert seen[named("stigmer_refused_calls_total", code="UNAUTHENTICATED")] == 1
    assert seen[calls(f"{AGENTS}CommandController/create", "PERMISSION_DENIED")] == 1
    assert not any("CallerQueryController" in label for _, labels in seen for _, label in labels)


async def test_every_call_that_is_given_up_is_counted_once_whether_its_handler_began_or_not(tmp_path: Path) -> None:
    async with measured(tmp_path) as (server, _, address), connect(server) as wire:
        given_up = 5 * PIECE_FRAMES // 2
        for _ in range(5):
            for _ in range(PIECE_FRAMES // 2):
                number = wire.request(message(b"\x0a\x01x"), path=f"/{AGENTS}QueryController/get", flush=False)
                wire.h2.reset_stream(number, ErrorCodes.CANCEL)
            wire.flush()
            assert await wire.status(wire.request(message(b"\x0a\x01y"), path=f"/{AGENTS}QueryController/get"))
        while sum(code == "CANCELLED" for _, code in server.calls()) < given_up:
            await server.logged("call")
        seen = await scraped(address)
        before = seen[named("stigmer_refused_calls_total", code="CANCELLED")]
        assert before > 0
        assert before + seen.get(calls(f"{AGENTS}QueryController/get", "CANCELLED"), 0) == given_up


async def test_an_unfinished_request_is_memory_in_use(tmp_path: Path) -> None:
    async with measured(tmp_path) as (server, _, address):
        channel = dial(server)
        unfinished: Any = UnaryUnaryMethod(channel, f"/{AGENTS}CommandController/create", agents.Agent, agents.Agent)
        async with unfinished.open() as stream:
            await stream.send_request()
            await stream._stream.send_data(b"\0\0\1\0\0" + bytes(1000))
            while (await scraped(address))[named("stigmer_request_memory_bytes")] < 1000:
                pass
            await stream.cancel()
        while (await scraped(address))[named("stigmer_request_memory_bytes")]:
            pass
        channel.close()


@LOOPS
async def test_scrapes_and_calls_do_not_disturb_each_other(tmp_path: Path, loop: str) -> None:
    async def called() -> None:
        for _ in range(25):
            await stubs.find_sessions.list(sessions.ListSessionsRequest())

    async with measured(tmp_path, loop) as (_, stubs, address):
        working = [asyncio.create_task(called()) for _ in range(8)]
        before = 0.0
        while not all(task.done() for task in working):
            seen = await scraped(address)
            now = seen.get(calls("ai.stigmer.agentic.session.v1.SessionQueryController/list"), 0.0)
            assert before <= now <= 200
            before = now
        await asyncio.gather(*working)
        assert (await scraped(address))[calls("ai.stigmer.agentic.session.v1.SessionQueryController/list")] == 200


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/x", "GET", 404), ("/metrics", "POST", 405), ("/", "PUT", 405)]
)
async def test_what_is_no_scrape_is_refused(path: str, method: str, status: int) -> None:
    with exposed(CollectorRegistry(), "127.0.0.1", 0) as address, pytest.raises(HTTPError) as caught:
        await asyncio.to_thread(fetched, address, path, method)
    assert caught.value.code == status
    caught.value.close()


@pytest.mark.parametrize("sent", [b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70_000])
async def test_what_is_no_http_is_refused(sent: bytes) -> None:
    with exposed(CollectorRegistry(), "127.0.0.1", 0) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        with suppress(ConnectionResetError):
            assert b" 200 " not in await reader.read()
        writer.close()
        assert await asyncio.to_thread(fetched, address) == ""


async def test_an_ipv6_address_is_served() -> None:
    with exposed(CollectorRegistry(), "::1", 0) as (host, port):
        assert await asyncio.to_thread(fetched, (f"[{host}]", port)) == ""


async def test_scrapers_that_send_and_read_nothing_are_bounded_and_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are served at once take no thread beyond theirs; further ones are closed, until these are over."""
    monkeypatch.setattr(exposition, "SCRAPE_S", 1.0)
    registry = CollectorRegistry()
    Counter("something", "Said.", registry=registry)
    with exposed(registry, "127.0.0.1", 0) as address:
        idle = [await asyncio.open_connection(*address) for _ in range(exposition.SCRAPES)]
        further, writer = await asyncio.open_connection(*address)
        assert await further.read() == b""  # closed at once
        writer.close()
        for reader, writer in idle:
            assert await reader.read() == b""  # closed when its time was over
            writer.close()
        while True:  # the last thread may be about to end
            with suppress(http.client.HTTPException, OSError):
                assert "something_total 0.0" in await asyncio.to_thread(fetched, address)
                break


async def test_slow_scrapers_hold_up_no_call(tmp_path: Path) -> None:
    async with measured(tmp_path) as (_, stubs, address):
        slow = [socket.create_connection(address) for _ in range(50)]
        for one in slow:
            one.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
        for _ in range(20):
            await asyncio.wait_for(stubs.find_sessions.list(sessions.ListSessionsRequest()), 30)
        for one in slow:
            one.close()


async def test_a_plane_s_metrics_are_a_registry_of_its_own(tmp_path: Path) -> None:
    async with stigmer.embedded(tmp_path) as one, stigmer.embedded(":memory:") as two:
        await Stubs(one.channel).sessions.create(samples.session())
        mounted = CollectorRegistry()
        mounted.register(one.metrics)
        wanted = {"method": "ai.stigmer.agentic.session.v1.SessionCommandController/create", "code": "OK"}
        for plane, count in ((one, 1), (two, None)):
            assert plane.metrics.get_sample_value("rpc_server_call_duration_seconds_count", wanted) == count
        assert b'stigmer_resources{kind="Session"} 1.0' in await asyncio.to_thread(generate_latest, mounted)
        assert b'stigmer_resources{kind="Session"} 0.0' in await asyncio.to_thread(generate_latest, two.metrics)
    assert b'stigmer_resources{kind="Session"} 1.0' in generate_latest(mounted)  # closed: the last numbers stand


async def test_on_the_event_loop_s_thread_a_scrape_has_the_store_s_numbers_of_the_one_before() -> None:
    async with stigmer.embedded(":memory:") as plane:
        before = plane.metrics.get_sample_value("stigmer_commit_transactions_count")  # what a plane notes at its start
        await Stubs(plane.channel).sessions.create(samples.session())
        session = {"kind": "Session"}
        assert before is not None
        assert plane.metrics.get_sample_value("stigmer_commit_transactions_count") == before + 1
        assert plane.metrics.get_sample_value("stigmer_resources", session) is None
        await turns()
        assert plane.metrics.get_sample_value("stigmer_resources", session) == 1


async def test_a_port_s_numbers_are_there_while_it_listens(tmp_path: Path) -> None:
    async with stigmer.embedded(tmp_path) as plane:
        async with plane.listen("127.0.0.1:0") as server:
            channel = dial(server)
            await Stubs(channel).find_sessions.list(sessions.ListSessionsRequest())
            assert plane.metrics.get_sample_value("stigmer_connections") == 1
            channel.close()
        assert plane.metrics.get_sample_value("stigmer_connections") == 0
