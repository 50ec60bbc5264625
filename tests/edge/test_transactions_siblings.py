"""Calls that join the same transaction run one after another: none conflicts, and none loses what another did."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import samples
from edge_rig import Around, Rig, executions, failure_of, id_of, turns
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.agentic.session.v1 import SessionId

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call


async def test_siblings_run_one_after_another(wire: Callable[..., Rig]) -> None:
    """Also where each makes calls of its own, which wait for no sibling of the one that makes them."""
    running, most = 0, 0

    async def count(call: Call, request: Any, proceed: UnaryNext) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await turns()
        reply = await proceed(call, request)
        running -= 1
        return reply

    rig = wire(Around("AgentCommandController/create", count))

    async def inside() -> None:
        await asyncio.gather(*(rig.agents.create(samples.agent()) for _ in range(4)))

    await rig.outer(inside)
    assert most == 1
    assert len(await rig.ids("Agent")) == len(await rig.ids("AgentInstance")) == 4


async def test_a_call_that_waits_for_its_sibling_ends_at_the_deadline(wire: Callable[..., Rig]) -> None:
    begun = asyncio.Event()
    sibling: asyncio.Future[asyncio.Task[Any]] = asyncio.get_running_loop().create_future()

    async def wait(call: Call, request: Any, proceed: UnaryNext) -> Any:
        begun.set()
        await asyncio.wait([await sibling])
        return await proceed(call, request)

    rig = wire(Around("AgentCommandController/create", wait))

    async def inside() -> None:
        agent = asyncio.create_task(rig.agents.create(samples.agent()))
        await begun.wait()
        sibling.set_result(asyncio.create_task(rig.sessions.create(samples.session())))
        await agent

    assert (await failure_of(rig.outer(inside, timeout=0.1))).status is Status.DEADLINE_EXCEEDED
    await asyncio.wait([sibling.result()])
    assert await rig.ids("Agent") == await rig.ids("Environment") == set()


async def test_siblings_that_write_one_row_lose_no_field(rig: Rig) -> None:
    id_ = id_of(await rig.execution())

    async def inside() -> None:
        todo = executions.TodoItem(id="t", content="Look out of the window")
        await asyncio.gather(
            rig.report(id_, phase=executions.ExecutionPhase.EXECUTION_IN_PROGRESS),
            rig.report(id_, error="it rains"),
            rig.report(id_, todos={"t": todo}),
        )

    await rig.outer(inside)

    status = (await rig.find_executions.get(executions.AgentExecutionId(value=id_))).status
    assert status.phase == executions.ExecutionPhase.EXECUTION_IN_PROGRESS
    assert (status.error, list(status.todos)) == ("it rains", ["t"])


async def test_of_siblings_that_create_one_slug_one_wins(rig: Rig) -> None:
    outcomes: list[Any] = []

    async def inside() -> None:
        calls = [rig.sessions.create(samples.session(name="Same")) for _ in range(4)]
        outcomes.extend(await asyncio.gather(*calls, return_exceptions=True))

    await rig.outer(inside)

    assert rig.inside.runs == 1
    refusals = [one for one in outcomes if isinstance(one, GRPCError)]
    assert [one.status for one in refusals] == [Status.ALREADY_EXISTS] * 3
    assert len(await rig.ids("Session")) == 1


async def test_a_sibling_s_deletion_takes_what_another_put_below_it(rig: Rig) -> None:
    agent = await rig.agent()
    session = await rig.sessions.create(samples.session(agent.status.default_instance_id))

    async def inside() -> None:
        await asyncio.gather(
            rig.executions.create(samples.agent_execution(session_id=id_of(session))),
            rig.sessions.delete(SessionId(value=id_of(session))),
            return_exceptions=True,
        )

    await rig.outer(inside)

    assert rig.inside.runs == 1
    assert await rig.ids("Session") == await rig.ids("AgentExecution") == set()
