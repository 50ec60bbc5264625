"""Executions are run, followed and waited for."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

import stigmer

if TYPE_CHECKING:
    from stigmer.types import AgentExecution


async def a_run(client: stigmer.Client) -> AgentExecution:
    agent = await client.agents.apply(name="Reviewer", instructions="Review the change.")
    return await client.executions.create(agent=agent, message="Hello")


async def report(client: stigmer.Client, run: AgentExecution, *phases: str) -> None:
    for phase in phases:
        status: Any = {"phase": f"EXECUTION_{phase}"}
        await client.executions.update_status(execution=run, status=status)


def phase(run: AgentExecution) -> str:
    assert run.status
    return str(run.status.phase.name).removeprefix("EXECUTION_")


async def test_a_watcher_sees_every_state_to_the_end(client: stigmer.Client) -> None:
    run = await a_run(client)
    seen: list[str] = []
    follow = {"PENDING": "IN_PROGRESS", "IN_PROGRESS": "COMPLETED"}
    async for state in client.executions.watch(run):
        seen.append(phase(state))
        if seen[-1] in follow:
            await report(client, run, follow[seen[-1]])
    assert seen == ["PENDING", "IN_PROGRESS", "COMPLETED"]
    assert [phase(state) async for state in client.executions.watch(run)] == ["COMPLETED"]


async def test_a_watcher_may_leave(client: stigmer.Client) -> None:
    run = await a_run(client)
    async with aclosing(client.executions.watch(run)) as states:
        assert phase(await anext(states)) == "PENDING"
    await report(client, run, "CANCELLED")
    assert phase(await client.executions.wait(run)) == "CANCELLED"


async def test_a_watcher_is_told_of_the_deletion(client: stigmer.Client) -> None:
    run = await a_run(client)
    async with aclosing(client.executions.watch(run)) as states:
        await anext(states)
        await client.executions.delete(run)
        with pytest.raises(stigmer.NotFound):
            await anext(states)
    with pytest.raises(stigmer.NotFound):
        await client.executions.wait(run)


async def test_a_run_is_waited_for(client: stigmer.Client) -> None:
    await client.agents.apply(name="Reviewer", instructions="Review the change.")

    async def runner() -> None:
        """Works on what is PENDING."""
        while not (pending := [one async for one in client.executions.list(phase="EXECUTION_PENDING")]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # as runners do: no call tells of work yet
        await report(client, pending[0], "IN_PROGRESS", "FAILED")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner())
        ended = await client.executions.run("acme/reviewer", "Hello", tags=["x"], runtime_env={"A": "b"}, timeout_s=60)
    assert ended.metadata
    assert ended.spec
    assert (phase(ended), ended.metadata.tags, ended.spec.message) == ("FAILED", ["x"], "Hello")


async def test_a_wait_ends_in_time_and_the_execution_goes_on(client: stigmer.Client) -> None:
    run = await a_run(client)
    assert run.metadata
    with pytest.raises(stigmer.DeadlineExceeded, match=f"{run.metadata.id} has not ended within 0.05 s"):
        await client.executions.wait(run.metadata.id, timeout_s=0.05)
    with pytest.raises(stigmer.DeadlineExceeded):
        await client.executions.run("acme/reviewer", "Hello", timeout_s=0.05)
    assert [phase(one) async for one in client.executions.list()] == ["PENDING", "PENDING"]
