"""Reads of all kinds beside writes, from many connections to a process: nobody is ever told of the past.

A list that showed a commit before the row cache did made 892 of 25,000 later gets go back in time.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from history import Seen, contradictions
from samples import NOBODY, agent_instance, session
from served_process import served

from stigmer import rpc
from stigmer._gen.ai.stigmer.agentic.agentinstance import v1 as instances
from stigmer._gen.ai.stigmer.agentic.session import v1 as sessions
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
from stigmer.app import embedded
from stigmer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from grpclib.client import Channel
    from served_process import Served

CALLERS = 16
WRITERS = 8
ROWS = 4
AGENT_ID = f"agt-{NOBODY}"


class Caller:
    """One connection, and what its calls saw."""

    def __init__(self, channel: Channel, history: list[Seen]) -> None:
        self._history = history
        self.instances = instances.AgentInstanceCommandControllerStub(channel)
        self.instance_queries = instances.AgentInstanceQueryControllerStub(channel)
        self.sessions = sessions.SessionCommandControllerStub(channel)
        self.session_queries = sessions.SessionQueryControllerStub(channel)

    async def wrote(self, what: str, call: Awaitable[Any]) -> Any:
        start = time.perf_counter()
        reply = await call
        version = reply.metadata.version
        seen = Seen(start, time.perf_counter(), what, reply.metadata.id, version.id, version.previous_version_id)
        self._history.append(seen)
        return reply

    async def read(self, what: str, call: Awaitable[Any]) -> None:
        start = time.perf_counter()
        reply = await call
        end = time.perf_counter()
        for one in getattr(reply, "entries", None) or getattr(reply, "items", None) or [reply]:
            self._history.append(Seen(start, end, what, one.metadata.id, one.metadata.version.id))


class Rows:
    """The rows that all callers meet."""

    def __init__(self, made: list[Any]) -> None:
        self.instances = [one for one in made if one.kind == "AgentInstance"]
        self.sessions = [one for one in made if one.kind == "Session"]

    def writes(self, one: Caller) -> list[Callable[[], Awaitable[Any]]]:
        """What a caller may write next."""
        instance, conversation = random.choice(self.instances), random.choice(self.sessions)
        again = agent_instance(AGENT_ID, name=instance.metadata.name)
        other = session(name=conversation.metadata.name, id=conversation.metadata.id)
        return [
            lambda: one.wrote("apply", one.instances.apply(again)),
            lambda: one.wrote("update", one.sessions.update(other)),
        ]

    def reads(self, one: Caller) -> list[Callable[[], Awaitable[Any]]]:
        """What a caller may read next."""
        instance, conversation = random.choice(self.instances).metadata, random.choice(self.sessions).metadata
        of_agent = instances.GetAgentInstancesByAgentRequest(agent_id=AGENT_ID)
        reference = ApiResourceReference(slug=instance.slug)
        return [
            lambda: one.read("get", one.instance_queries.get(instances.AgentInstanceId(value=instance.id))),
            lambda: one.read("getByReference", one.instance_queries.get_by_reference(reference)),
            lambda: one.read("getByAgent", one.instance_queries.get_by_agent(of_agent)),
            lambda: one.read("get", one.session_queries.get(sessions.SessionId(value=conversation.id))),
            lambda: one.read("list", one.session_queries.list(sessions.ListSessionsRequest(page_size=50))),
        ]


@contextmanager
def reading_the_log_of(server: Served) -> Iterator[None]:
    """Nobody waits for a log that is not read."""
    assert server.process.stderr is not None
    reading = asyncio.create_task(server.process.stderr.read())
    try:
        yield
    finally:
        reading.cancel()


async def go_on(next_calls: Callable[[], list[Callable[[], Awaitable[Any]]]], times: int) -> None:
    """Call after call; now and then a pause, because callers that go in step hide races."""
    for _ in range(times):
        await random.choice(next_calls())()
        if random.random() < 0.3:
            await asyncio.sleep(random.random() * 0.003)


async def history_of(channels: list[Any], times: int) -> list[Seen]:
    history: list[Seen] = []
    callers = [Caller(channel, history) for channel in channels]
    made = [await callers[0].wrote("create", callers[0].instances.create(agent_instance())) for _ in range(ROWS)]
    made += [await callers[0].wrote("create", callers[0].sessions.create(session())) for _ in range(ROWS)]
    rows = Rows(made)
    writers = [go_on(partial(rows.writes, one), times) for one in callers[:WRITERS]]
    readers = [go_on(partial(rows.reads, one), times) for one in callers[WRITERS:]]
    await asyncio.gather(*writers, *readers)
    return history


def check(history: list[Seen]) -> None:
    assert {seen.what for seen in history} >= {"apply", "update", "get", "getByReference", "getByAgent", "list"}
    assert contradictions(history) == []


LENGTHS = pytest.mark.parametrize("times", [30, pytest.param(2_000, marks=pytest.mark.long)])
"""So many calls of each caller, one after another."""


@LENGTHS
@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
async def test_no_read_from_a_socket_goes_back_in_time(tmp_path: Path, loop: str, times: int) -> None:
    async with served(tmp_path, loop) as server, AsyncExitStack() as stack:
        stack.enter_context(reading_the_log_of(server))
        address = f"127.0.0.1:{server.address[1]}"
        channels = [await stack.enter_async_context(rpc.channel(address)) for _ in range(CALLERS)]
        check(await history_of(channels, times))


@LENGTHS
@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_no_read_in_process_goes_back_in_time(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], times: int
) -> None:
    settings = Settings(data_dir=tmp_path)

    async def within() -> list[Seen]:
        async with embedded(settings) as plane:
            return await history_of([plane.channel] * CALLERS, times)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        check(runner.run(within()))


def test_a_history_that_goes_back_is_found() -> None:
    line = [Seen(0, 1, "create", "a", "v1", ""), Seen(2, 3, "update", "a", "v2", "v1")]

    assert contradictions([*line, Seen(2.5, 3.5, "get", "a", "v1")]) == []
    assert contradictions([*line, Seen(2.5, 2.9, "list", "a", "v2"), Seen(2.95, 3.1, "get", "a", "v1")]) == [
        "get of a saw an older version than list 50.00 ms before it"
    ]
    assert contradictions([*line, Seen(0.1, 0.2, "get", "a", "v2")]) == [
        "get of a saw what update had not begun to write"
    ]
    assert contradictions([*line, Seen(4, 5, "get", "a", "v9")]) == ["get of a saw v9, which nobody wrote"]
