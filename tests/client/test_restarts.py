"""A server that stops, is killed, and comes back: who follows an execution, or waits for one, notices nothing of it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from cutting_proxy import CuttingProxy
from served_process import served

import stigmer
import stigmer.app

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.types import AgentExecution


async def phases(client: stigmer.Client, run: AgentExecution, seen: asyncio.Queue[str]) -> None:
    async for state in client.executions.watch(run):
        assert state.status
        seen.put_nowait(str(state.status.phase.name).removeprefix("EXECUTION_"))


async def report(client: stigmer.Client, run: AgentExecution, phase: str) -> None:
    status: Any = {"phase": f"EXECUTION_{phase}"}
    await client.executions.update_status(execution=run, status=status)


async def a_run(client: stigmer.Client) -> AgentExecution:
    agent = await client.agents.apply(name="Reviewer", instructions="Review the change.")
    return await client.executions.create(agent=agent, message="Hello")


@pytest.mark.parametrize(
    "end", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)], ids=lambda one: one.name
)
async def test_a_watcher_goes_on_with_the_server_that_comes_back(tmp_path: Path, end: signal.Signals) -> None:
    """Two starts of a server take some two seconds."""
    seen: asyncio.Queue[str] = asyncio.Queue()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        proxy = await stack.enter_async_context(CuttingProxy(None))
        client = await stack.enter_async_context(stigmer.Client(proxy.address, org="acme", timeout_s=60))
        patient = client.with_options(max_retries=1_000, retry_s=120, timeout_s=120)
        first = await stack.enter_async_context(served(tmp_path))
        proxy.target = first.address
        run = await a_run(client)
        tasks.create_task(phases(patient, run, seen))
        waiting = tasks.create_task(patient.executions.wait(run))
        assert await seen.get() == "PENDING"
        await report(client, run, "IN_PROGRESS")
        assert await seen.get() == "IN_PROGRESS"
        first.process.send_signal(end)
        await first.ended()
        proxy.target = None
        reading = tasks.create_task(patient.executions.get(run))
        second = await stack.enter_async_context(served(tmp_path))
        proxy.target = second.address
        found = await reading
        assert found.status
        assert found.status.phase.name == "EXECUTION_IN_PROGRESS"
        await report(client, run, "COMPLETED")
        assert await seen.get() == "COMPLETED"
        ended = await waiting
        assert ended.status
        assert ended.status.phase.name == "EXECUTION_COMPLETED"
    assert seen.empty()


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "unix:/tmp/{name}"])
async def test_calls_go_on_where_the_port_is_closed_and_opened_again(
    tmp_path: Path, address: str, unused_tcp_port: int
) -> None:
    """The server says GOAWAY, which grpclib takes for the end of the connection."""
    where, seen = address.format(port=unused_tcp_port, name=f"{tmp_path.name}.s"), asyncio.Queue[str]()
    async with (
        stigmer.embedded(":memory:") as plane,
        stigmer.Client(where, org="acme", timeout_s=60).with_options(retry_s=60) as client,
        asyncio.TaskGroup() as tasks,
    ):
        async with plane.listen(where):
            run = await a_run(client)
            tasks.create_task(phases(client, run, seen))
            assert await seen.get() == "PENDING"
        async with plane.listen(where):
            await client.executions.get(run)
            await report(client, run, "CANCELLED")
            assert await seen.get() == "CANCELLED"
    assert seen.empty()


async def test_a_watcher_whose_server_stays_away_is_told_in_the_end(tmp_path: Path) -> None:
    where = f"unix:/tmp/{tmp_path.name}.s"
    async with stigmer.embedded(":memory:") as plane, stigmer.Client(where, org="acme") as client:
        async with plane.listen(where):
            run = await a_run(client)
            states = client.with_options(max_retries=2).executions.watch(run)
            await anext(states)
        with pytest.raises(stigmer.Unavailable):
            await anext(states)


async def test_a_plane_that_is_closed_ends_what_is_followed_in_its_process() -> None:
    async with stigmer.embedded(":memory:") as plane:
        run = await a_run(plane.client.with_options(org="acme"))
        states = plane.client.executions.watch(run)
        await anext(states)
        await plane.close(grace_s=1)
        with pytest.raises(stigmer.Unavailable):
            await anext(states)
        with pytest.raises(stigmer.Unavailable):
            await plane.client.executions.get(run)
