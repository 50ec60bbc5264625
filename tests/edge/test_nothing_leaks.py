"""After a thousand calls of every kind and end, nothing is left of them."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import samples
from edge_rig import Rig, Stubs, executions, id_of, separately, sessions, turns
from edge_sockets import serving
from edge_workload import every_rpc
from grpclib.exceptions import GRPCError

from stigmer.pipeline.call import Call
from stigmer.pipeline.context import Context
from stigmer.store import feed
from stigmer.store.changes import Change
from stigmer.store.feed import Subscription
from stigmer.store.rows import Query, Window
from stigmer.store.staging import Staging
from stigmer.store.transaction import Transaction

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from stigmer.app.assembly import App

OURS = (Call, Context, Transaction, Staging, Subscription, Change)
ROUNDS = 8  # of about 70 calls over each of two channels
FEW = 150
"""Of some 1,100 calls: asyncio keeps up to 100 timers that were cancelled, each with its call's context."""


def alive() -> Counter[str]:
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects() if type(one) in OURS)


async def failing(stubs: Stubs) -> None:
    for call in (
        stubs.find_sessions.get(sessions.SessionId(value=samples.unique("none"))),
        stubs.agents.create(samples.agent("")),
        stubs.sessions.create(samples.session(slug="Not A Slug")),
        stubs.executions.create(samples.agent_execution(agent_id=samples.unique("none"))),
        stubs.agents.create(samples.agent(), timeout=0),
    ):
        try:
            await call
        except (GRPCError, TimeoutError):
            continue
        raise AssertionError("it went well")


async def contended(stubs: Stubs, execution_id: str) -> None:
    """On one row; some are cancelled in the queue for it."""
    tasks = [separately(stubs.report(execution_id, error=str(number))) for number in range(12)]
    await turns(5)
    for task in tasks[::3]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def streaming(stubs: Stubs, execution_id: str) -> None:
    """Streams that are left, cancelled and late."""
    id_ = executions.AgentExecutionId(value=execution_id)

    async def read() -> None:
        async for _ in stubs.find_executions.subscribe(id_):
            pass

    async with aclosing(stubs.find_executions.subscribe(id_)) as states:
        await anext(states)
    readers = [separately(read()) for _ in range(5)]
    await turns(20)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)


async def a_round(stubs: Stubs, execution_id: str) -> None:
    await every_rpc(stubs)
    await failing(stubs)
    await contended(stubs, execution_id)
    await streaming(stubs, execution_id)


async def made(stubs: Stubs) -> str:
    agent = await stubs.agents.create(samples.agent())
    return id_of(await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent))))


def growing(app: App) -> dict[str, int]:
    """What could grow with the number of calls."""
    edge, work = app.edge, app.unit_of_work
    fans: Any = app.store.feed
    cache = app.store._cache  # type: ignore[attr-defined]  # white box
    return {
        "calls": len(edge.running._running),
        "row queues": len(work._row_queues._locks) + len(work._row_queues.interested),
        "tasks kept": len(work._tasks),
        "followers": len(fans._followers),
        "subscriptions": fans._open,
        "cached rows": len(cache._rows),
        "cached slugs": len(cache._slugs),
    }


async def settle(app: App) -> None:
    await app.unit_of_work.settled()
    await app.store._settled()  # type: ignore[attr-defined]  # white box
    await turns(50)


async def test_over_the_loopback_and_over_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "HISTORY", FEW // 2)  # else these are the changes that are alive
    async with serving(tmp_path) as (channel, app):
        both = [Stubs(app.loopback), Stubs(channel)]
        ids = [await made(stubs) for stubs in both]
        for stubs, id_ in zip(both, ids, strict=True):
            await a_round(stubs, id_)
        await settle(app)
        grown, tasks = growing(app), asyncio.all_tasks()
        for _ in range(ROUNDS):
            for stubs, id_ in zip(both, ids, strict=True):
                await a_round(stubs, id_)
        await settle(app)
        assert growing(app) == grown
        assert grown | {"cached rows": 0, "cached slugs": 0} == dict.fromkeys(grown, 0)
        assert asyncio.all_tasks() == tasks
        assert max(alive().values(), default=0) < FEW


async def test_rows_that_go_leave_nothing_in_the_store(rig: Rig) -> None:
    async def total(kind: str) -> int:
        return (await rig.store.page(Query(kind), Window(limit=0))).total

    for _ in range(3):
        await every_rpc(rig)
    kinds = ("Agent", "AgentInstance", "Session", "AgentExecution", "Environment", "ExecutionContext")
    assert [await total(kind) for kind in kinds] == [0] * 6
