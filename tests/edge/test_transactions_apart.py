"""What never joins: streaming calls, tasks that outlive the call, calls after its end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Around, Rig, apart, id_of, said, turns
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecutionId, ExecutionPhase
from stigmer._gen.ai.stigmer.agentic.session.v1 import SessionId
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from stigmer.edge.interceptors import StreamNext, UnaryNext
    from stigmer.pipeline.call import Call


class FailedError(Exception):
    """What a test makes a call fail with."""


async def fails(call: Any) -> None:
    with pytest.raises(GRPCError) as caught:
        await call
    assert caught.value.status is Status.INTERNAL


async def test_a_streaming_call_does_not_see_what_is_staged(rig: Rig) -> None:
    execution = await rig.execution()

    async def inside() -> None:
        await rig.report(id_of(execution), phase=ExecutionPhase.EXECUTION_IN_PROGRESS)
        states = rig.find_executions.subscribe(AgentExecutionId(value=id_of(execution)))
        async with aclosing(states) as following:
            first = await anext(following)
        assert first.status.phase == ExecutionPhase.EXECUTION_PENDING

    await rig.outer(inside)


async def test_a_unary_call_inside_a_streaming_one_stands_alone(wire: Callable[..., Rig]) -> None:
    """Even where the streaming call itself was made inside a transaction."""

    class Creates(Around):
        async def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Any, None]:
            await rigs[0].contexts.create(samples.execution_context())
            assert len(await rigs[0].ids("ExecutionContext")) == 1
            async with aclosing(proceed(call, request)) as replies:
                async for reply in replies:
                    yield reply

    async def unused(call: Call, request: Any, proceed: UnaryNext) -> Any:
        raise AssertionError(call)

    rigs = [wire(Creates("never", unused))]
    rig = rigs[0]
    execution = await rig.execution()

    async def inside() -> None:
        states = rig.find_executions.subscribe(AgentExecutionId(value=id_of(execution)))
        async with aclosing(states) as following:
            await anext(following)
        raise FailedError

    await fails(rig.outer(inside))
    assert len(await rig.ids("ExecutionContext")) == 1


@pytest.mark.parametrize("fail", [False, True], ids=["outer call succeeds", "outer call fails"])
async def test_what_an_outliving_task_was_told_is_done_survives(rig: Rig, fail: bool) -> None:
    told, go = asyncio.Event(), asyncio.Event()
    background: list[asyncio.Task[Any]] = []

    async def outlive() -> Any:
        session = await rig.sessions.create(samples.session())
        told.set()
        await go.wait()
        return await rig.find_sessions.get(SessionId(value=id_of(session)))

    async def inside() -> None:
        background.append(asyncio.create_task(outlive()))
        await told.wait()
        if fail:
            raise FailedError

    await (fails(rig.outer(inside)) if fail else rig.outer(inside))
    go.set()
    session = await background[0]

    assert await rig.ids("Session") == {id_of(session)}
    assert len(await rig.ids("Environment")) == (0 if fail else 1)


async def test_an_outliving_task_sees_at_once_what_it_was_told_is_done(rig: Rig) -> None:
    """The very moment the call around it is over, with no turn of the loop in between."""
    told = asyncio.Event()
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    background: list[asyncio.Task[Any]] = []

    async def outlive() -> Any:
        session = await rig.sessions.create(samples.session())
        told.set()
        await over
        return await rig.find_sessions.get(SessionId(value=id_of(session)))

    async def inside() -> None:
        background.append(asyncio.create_task(outlive()))
        await told.wait()
        over.set_result(None)
        raise FailedError

    await fails(rig.outer(inside))
    assert id_of(await background[0]) in await rig.ids("Session")


async def test_a_task_that_outlives_a_failing_joined_call_is_kept_with_the_rest(wire: Callable[..., Rig]) -> None:
    told, go = asyncio.Event(), asyncio.Event()
    background: list[asyncio.Task[Any]] = []

    async def spawn_and_fail(call: Call, request: Any, proceed: UnaryNext) -> Any:
        async def outlive() -> str:
            made = id_of(await rigs[0].sessions.create(samples.session()))
            told.set()
            await go.wait()
            return made

        background.append(asyncio.create_task(outlive()))
        await told.wait()
        raise FailedError

    rigs = [wire(Around("AgentCommandController/create", spawn_and_fail))]
    rig = rigs[0]

    async def inside(*, fail: bool) -> None:
        await fails(rig.agents.create(samples.agent()))
        if fail:
            raise FailedError

    for fail in (True, False):
        told.clear()
        await (fails(rig.outer(lambda: inside(fail=True))) if fail else rig.outer(lambda: inside(fail=False)))
    go.set()
    await rig.unit_of_work.settled()

    assert await rig.ids("Session") == {await task for task in background}
    assert await rig.ids("Agent") == set()


async def test_a_call_that_ends_after_the_one_around_it_is_done_again_alone(rig: Rig) -> None:
    background: list[asyncio.Task[Any]] = []

    async def outlive() -> Any:
        return await rig.agents.create(samples.agent())

    async def inside() -> None:
        background.append(asyncio.create_task(outlive()))
        await asyncio.sleep(0)  # it has begun
        raise FailedError

    await fails(rig.outer(inside))
    agent = await background[0]

    assert await rig.ids("Agent") == {id_of(agent)}
    assert await rig.ids("AgentInstance") == {agent.status.default_instance_id}


async def test_a_call_after_the_end_stands_alone(rig: Rig) -> None:
    over = asyncio.Event()
    background: list[asyncio.Task[Any]] = []

    async def later() -> Any:
        await over.wait()
        return await rig.sessions.create(samples.session())

    async def inside() -> None:
        background.append(asyncio.create_task(later()))
        raise FailedError

    await fails(rig.outer(inside))
    over.set()
    session = await background[0]
    assert await rig.ids("Session") == {id_of(session)}


async def test_a_task_inside_that_is_done_before_the_end_is_no_outliving_one(rig: Rig) -> None:
    async def inside() -> None:
        task = asyncio.create_task(rig.sessions.create(samples.session()))
        await asyncio.wait([task])
        raise FailedError

    await fails(rig.outer(inside))
    assert await rig.ids("Session") == set()


async def test_another_client_s_call_made_meanwhile_stands_alone(rig: Rig) -> None:
    async def inside() -> None:
        await apart(rig.sessions.create(samples.session()))
        raise FailedError

    await fails(rig.outer(inside))
    assert len(await rig.ids("Session")) == 1


async def test_what_an_outliving_task_built_on_a_dropped_row_is_reported_lost(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """The one promise that cannot be kept: the row below never came to be."""
    told, go = asyncio.Event(), asyncio.Event()
    background: list[asyncio.Task[Any]] = []

    async def outlive(agent_id: str) -> None:
        await rig.executions.create(samples.agent_execution(agent_id=agent_id))
        told.set()
        await go.wait()

    async def inside() -> None:
        agent = await rig.agent()
        background.append(asyncio.create_task(outlive(id_of(agent))))
        await told.wait()
        raise FailedError

    await fails(rig.outer(inside))
    await rig.unit_of_work.settled()
    go.set()
    await background[0]

    assert await rig.ids("AgentExecution") == await rig.ids("Session") == await rig.ids("Agent") == set()
    assert said(caplog, "A call in a task that outlived its caller's call was lost")


async def test_settled_waits_for_what_outliving_tasks_were_told(tmp_path: Path) -> None:
    told, go = asyncio.Event(), asyncio.Event()
    async with SqliteStore(tmp_path / "other") as store:
        rig = Rig(store)

        async def outlive() -> None:
            await rig.sessions.create(samples.session())
            told.set()
            await go.wait()

        async def inside() -> None:
            background.append(asyncio.create_task(outlive()))
            await told.wait()
            raise FailedError

        background: list[asyncio.Task[Any]] = []
        await fails(rig.outer(inside))
        await rig.unit_of_work.settled()
        go.set()
        await background[0]
    async with SqliteStore(tmp_path / "other") as store:
        assert len(await Rig(store).ids("Session")) == 1
    await turns()
