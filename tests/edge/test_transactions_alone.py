"""What never joins: streaming calls, calls after the end; and what becomes of tasks that outlive the call."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Around, Rig, id_of, separately, turns
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecutionId, ExecutionPhase

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

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
async def test_what_a_task_was_told_that_outlives_the_call_stands_or_falls_with_it(rig: Rig, fail: bool) -> None:
    told, go = asyncio.Event(), asyncio.Event()
    background: list[asyncio.Task[Any]] = []

    async def outlive() -> Any:
        session = await rig.sessions.create(samples.session())
        told.set()
        await go.wait()
        return session

    async def inside() -> None:
        background.append(asyncio.create_task(outlive()))
        await told.wait()
        if fail:
            raise FailedError

    await (fails(rig.outer(inside)) if fail else rig.outer(inside))
    go.set()
    session = await background[0]
    assert await rig.ids("Session") == (set() if fail else {id_of(session)})
    assert len(await rig.ids("Environment")) == (0 if fail else 1)


@pytest.mark.parametrize("fail", [False, True], ids=["outer call succeeds", "outer call fails"])
async def test_a_call_whose_outer_call_ends_before_it_is_aborted_and_leaves_nothing(
    wire: Callable[..., Rig], fail: bool
) -> None:
    staged, go = asyncio.Event(), asyncio.Event()
    background: list[asyncio.Task[Any]] = []

    async def hold(call: Call, request: Any, proceed: UnaryNext) -> Any:
        reply = await proceed(call, request)
        staged.set()
        await go.wait()
        return reply

    rig = wire(Around("AgentCommandController/create", hold))

    async def inside() -> None:
        background.append(asyncio.create_task(rig.agents.create(samples.agent())))
        await staged.wait()
        if fail:
            raise FailedError

    await (fails(rig.outer(inside)) if fail else rig.outer(inside))
    go.set()
    with pytest.raises(GRPCError, match="has ended before it") as caught:
        await background[0]
    assert caught.value.status is Status.ABORTED
    assert await rig.ids("Agent") == await rig.ids("AgentInstance") == set()


async def test_a_call_that_still_waits_for_its_sibling_when_the_outer_call_ends_stands_alone(
    wire: Callable[..., Rig],
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    background: list[asyncio.Task[Any]] = []

    async def hold(call: Call, request: Any, proceed: UnaryNext) -> Any:
        begun.set()
        await go.wait()
        return await proceed(call, request)

    rig = wire(Around("AgentCommandController/create", hold))

    async def inside() -> None:
        background.append(asyncio.create_task(rig.agents.create(samples.agent())))
        await begun.wait()
        background.append(asyncio.create_task(rig.sessions.create(samples.session())))
        await turns()
        raise FailedError

    await fails(rig.outer(inside))
    go.set()
    with pytest.raises(GRPCError, match="has ended before it"):
        await background[0]
    session = await background[1]
    assert await rig.ids("Session") == {id_of(session)}


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


async def test_another_client_s_call_made_meanwhile_stands_alone(rig: Rig) -> None:
    async def inside() -> None:
        await separately(rig.sessions.create(samples.session()))
        raise FailedError

    await fails(rig.outer(inside))
    assert len(await rig.ids("Session")) == 1
