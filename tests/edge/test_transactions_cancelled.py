"""Cancelled or late: nothing is written before the hand-over to the writer, all or nothing after it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Rig, id_of, instances, separately, turns
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from store_stepper import when_woken, while_waiting

from stigmer._gen.ai.stigmer.agentic.agent.v1 import AgentId
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
    from pathlib import Path

    from stigmer.store.changes import Change, Changes


class Watched(SqliteStore):
    """Counts what was handed to the writer."""

    handed = 0

    async def commit(self, changes: Changes, *, dry_run: bool = False) -> Sequence[Change]:
        self.handed += 1
        return await super().commit(changes, dry_run=dry_run)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    async with Watched(tmp_path / "data", cache_bytes=0) as store:  # every read is a wait
        yield store


async def settle(rig: Rig) -> None:
    """Let what was handed to the writer land."""
    await rig.unit_of_work.settled()
    await rig.store.probe()
    await turns()


async def counts(rig: Rig, *kinds: str) -> list[int]:
    return [len(await rig.ids(kind)) for kind in kinds]


@pytest.mark.parametrize("cancelling", [while_waiting, when_woken], ids=["while it waits", "when it is woken"])
async def test_cancelling_at_every_await_leaves_all_or_nothing(
    rig: Rig, cancelling: Callable[[int, Coroutine[Any, Any, Any]], Awaitable[bool]]
) -> None:
    """An execution's create with all that it makes: default instance, session, the agent's status, itself."""
    watched: Any = rig.store
    point, whole = 0, 0
    while True:
        agent = await rig.agent()
        await rig.instances.delete(instances.AgentInstanceId(value=agent.status.default_instance_id))
        handed, before = watched.handed, await counts(rig, "AgentInstance", "Session", "AgentExecution")
        came_so_far = await cancelling(point, rig.executions.create(samples.agent_execution(agent_id=id_of(agent))))
        await settle(rig)
        after = await counts(rig, "AgentInstance", "Session", "AgentExecution")
        stored = await rig.find_agents.get(AgentId(value=id_of(agent)))
        given = stored.status.default_instance_id != agent.status.default_instance_id
        made = [new - old for new, old in zip(after, before, strict=True)]
        assert made in ([0, 0, 0], [1, 1, 1])
        assert given == (made != [0, 0, 0])
        if watched.handed == handed:
            assert made == [0, 0, 0]
        whole += made != [0, 0, 0]
        if not came_so_far:
            break
        point += 1
    assert point >= 6
    assert whole >= 1


@pytest.mark.parametrize("iterations", range(0, 40, 3))
async def test_cancelling_in_the_queue_for_a_row_leaves_no_lock(rig: Rig, iterations: int) -> None:
    execution = await rig.execution()
    tasks = [separately(rig.report(id_of(execution), error=str(number))) for number in range(8)]
    await turns(iterations)
    for task in tasks[1::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert not [one for one in outcomes[::2] if isinstance(one, BaseException)]
    await settle(rig)
    assert rig.unit_of_work._row_queues._locks == {}


async def test_cancelling_the_holder_of_a_turn_lets_the_next_one_run(rig: Rig) -> None:
    rival = await rig.agent()
    holding, never = asyncio.Event(), asyncio.Event()

    async def hold(ctx: Any) -> None:
        row = await ctx.tx.get("Agent", id_of(rival))
        ctx.tx.update(row)
        if rig.inside.runs == 1:
            rival.metadata.version = None
            await separately(rig.agents.update(rival))
        else:
            holding.set()
            await never.wait()

    rig.inside.action = hold
    holder = separately(rig.environments.create(samples.environment()))
    await holding.wait()
    (lock,) = rig.unit_of_work._row_queues._locks.values()
    assert lock.locked()
    holder.cancel()
    await asyncio.wait([holder])
    assert rig.unit_of_work._row_queues._locks == {}


async def test_a_deadline_that_has_passed_writes_nothing(rig: Rig) -> None:
    with pytest.raises(GRPCError) as caught:
        await rig.agents.create(samples.agent(), timeout=0)
    assert caught.value.status is Status.DEADLINE_EXCEEDED
    await settle(rig)
    assert await counts(rig, "Agent", "AgentInstance") == [0, 0]


async def test_a_deadline_at_any_time_leaves_all_or_nothing(rig: Rig) -> None:
    late = 0
    for number in range(30):
        before = await counts(rig, "Agent", "AgentInstance")
        try:
            await rig.agents.create(samples.agent(), timeout=number * 0.0002)
        except GRPCError as error:
            assert error.status is Status.DEADLINE_EXCEEDED  # noqa: PT017 - it may just as well be in time
            late += 1
        await settle(rig)
        after = await counts(rig, "Agent", "AgentInstance")
        assert [new - old for new, old in zip(after, before, strict=True)] in ([0, 0], [1, 1])
    assert late >= 1


async def test_a_joined_call_s_own_deadline_drops_it_alone(rig: Rig) -> None:
    never = asyncio.Event()

    async def stuck(_ctx: Any) -> None:
        await never.wait()

    async def inside() -> None:
        await rig.sessions.create(samples.session())
        rig.inside.action = stuck
        with pytest.raises(GRPCError) as caught:
            await rig.environments.create(samples.environment(), timeout=0.01)
        assert caught.value.status is Status.DEADLINE_EXCEEDED

    await rig.outer(inside, timeout=30)
    assert await counts(rig, "Session", "Environment") == [1, 1]


async def test_the_outer_deadline_ends_what_is_joined(rig: Rig) -> None:
    never = asyncio.Event()

    async def stuck(_ctx: Any) -> None:
        await never.wait()

    async def inside() -> None:
        rig.inside.action = stuck
        await rig.environments.create(samples.environment(), timeout=30)

    with pytest.raises(GRPCError) as caught:
        await rig.outer(inside, timeout=0.02)
    assert caught.value.status is Status.DEADLINE_EXCEEDED
    assert await counts(rig, "Environment") == [0]


async def test_a_cancelled_child_drops_what_it_staged_and_the_call_goes_on(rig: Rig) -> None:
    never, begun = asyncio.Event(), asyncio.Event()

    async def stuck(_ctx: Any) -> None:
        begun.set()
        await never.wait()

    async def inside() -> None:
        rig.inside.action = stuck
        child = asyncio.create_task(rig.environments.create(samples.environment()))
        await begun.wait()
        child.cancel()
        await asyncio.wait([child])
        assert child.cancelled()
        await rig.sessions.create(samples.session())

    await rig.outer(inside)
    assert await counts(rig, "Session", "Environment") == [1, 1]
