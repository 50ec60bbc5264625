"""Contexts that expire in a served process: what its callers see, and what a kill -9 in the middle leaves."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import samples
from ageing import Ageing, is_missing, opened
from edge_rig import Stubs, contexts, executions, id_of
from served_process import served

from stigmer import rpc
from stigmer.types import ExecutionPhase, ListAgentExecutionsRequest

if TYPE_CHECKING:
    from pathlib import Path

    from grpclib.client import Channel
    from served_process import Served

CANARY = f"canary-{os.urandom(8).hex()}"
SHORT = {"STIGMER_CONTEXT_TTL": "1"}
COUNT = 50
DIE = """
import logging, os, signal
from stigmer.cli import main

class Kill(logging.Handler):
    seen = 0

    def emit(self, record):
        self.seen += record.msg.get("event") == "A context has ended"
        if self.seen == 20:
            os.kill(os.getpid(), signal.SIGKILL)

logging.getLogger("stigmer").addHandler(Kill())
main()
"""


def channel_to(server: Served) -> Channel:
    return rpc.channel(f"localhost:{server.address[1]}")


async def filled(directory: Path, count: int = COUNT) -> list[Any]:
    """Executions that go on, each with a context."""
    async with opened(directory) as plane:
        ageing = Ageing(plane)
        session = await ageing.session()
        return [await ageing.execution(session, CANARY) for _ in range(count)]


async def failed(stubs: Stubs) -> int:
    """How many executions have."""
    asked = ListAgentExecutionsRequest(phase=ExecutionPhase.EXECUTION_FAILED, page_size=1000)
    return len((await stubs.find_executions.list(asked)).entries)


def leaks(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if CANARY.encode() in path.read_bytes()]


async def test_a_subscriber_sees_the_end_of_an_execution_whose_context_expires(tmp_path: Path) -> None:
    async with served(tmp_path / "data", env=SHORT) as server, channel_to(server) as channel:
        stubs = Stubs(channel)
        agent = await stubs.agents.create(samples.agent(org="acme"))
        sent = samples.agent_execution(agent_id=id_of(agent))
        sent.spec.runtime_env = {"TOKEN": contexts.ExecutionValue(value=CANARY, is_secret=True)}
        made = await stubs.executions.create(sent)
        stream = stubs.find_executions.subscribe(executions.AgentExecutionId(value=id_of(made)))
        async with asyncio.timeout(60):
            *_, last = [state async for state in stream]
        assert (last.status.phase, last.status.error) == (ExecutionPhase.EXECUTION_FAILED, "its context expired")
        line = await server.logged("A context has ended")
        assert (line["reason"], line["execution_id"]) == ("expired", id_of(made))
        asked = contexts.ExecutionContextExecutionIdInput(execution_id=id_of(made))
        assert await is_missing(stubs.find_contexts.get_by_execution_id(asked))
    assert not await asyncio.to_thread(leaks, tmp_path / "data")


async def test_a_kill_in_the_middle_leaves_no_execution_that_goes_on_without_its_context(tmp_path: Path) -> None:
    made = await filled(tmp_path)
    async with served(tmp_path, env=SHORT, program=DIE, until="stigmer starts") as server:
        assert await server.ended() != 0
    async with opened(tmp_path) as plane:
        ageing = Ageing(plane)
        phases = [await ageing.phase(one) for one in made]
        assert 0 < phases.count("PENDING") < COUNT
        for phase, one in zip(phases, made, strict=True):
            assert (phase == "FAILED") == await is_missing(ageing.context(one))
    async with served(tmp_path, env=SHORT) as server, channel_to(server) as channel, asyncio.timeout(60):
        stubs = Stubs(channel)
        while await failed(stubs) < COUNT:
            pass
    async with opened(tmp_path) as plane:
        assert await Ageing(plane).ids() == []


async def test_a_start_on_many_that_have_expired_serves_at_once_and_ends_them_all(tmp_path: Path) -> None:
    await filled(tmp_path, 2 * COUNT)
    async with served(tmp_path, env=SHORT) as server, channel_to(server) as channel, asyncio.timeout(120):
        stubs = Stubs(channel)
        seen = [await failed(stubs)]
        while seen[-1] < 2 * COUNT:
            seen.append(await failed(stubs))
        assert seen == sorted(seen)
