"""A control plane on a store whose feed tells of commits after they were acknowledged, as that of a replica would."""

from __future__ import annotations

import asyncio
from typing import Any

import samples
from edge_rig import Rig, executions, id_of
from late_store import LateStore

from stigmer.types import ExecutionPhase

PHASES = (ExecutionPhase.EXECUTION_IN_PROGRESS, ExecutionPhase.EXECUTION_COMPLETED)


async def follow(rig: Rig, id_: str, begun: asyncio.Event) -> list[ExecutionPhase]:
    told: list[Any] = []
    async for state in rig.find_executions.subscribe(executions.AgentExecutionId(value=id_)):
        told.append(state.status.phase)
        begun.set()
    return told


async def test_a_follower_sees_each_state_once_in_order_to_the_end() -> None:
    async with LateStore() as store:
        rig = Rig(store)
        id_ = id_of(await rig.execution())
        begun = asyncio.Event()
        following = asyncio.create_task(follow(rig, id_, begun))
        await begun.wait()
        for phase in PHASES:
            await rig.report(id_, phase=phase)
        late = await follow(rig, id_, asyncio.Event())
        assert await following == [ExecutionPhase.EXECUTION_PENDING, *PHASES]
        assert late == [ExecutionPhase.EXECUTION_COMPLETED]


async def test_callers_see_what_they_wrote_and_racers_all_succeed() -> None:
    async with LateStore() as store:
        rig = Rig(store)
        id_ = id_of(await rig.execution())
        await asyncio.gather(*(rig.report(id_, error=str(number)) for number in range(16)))
        found = await rig.find_executions.get(executions.AgentExecutionId(value=id_))
        assert found.status.error in set(map(str, range(16)))
        session = await rig.sessions.create(samples.session())
        assert await rig.ids("Session") >= {id_of(session)}
