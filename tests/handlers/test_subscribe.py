"""AgentExecution.subscribe: the current state, every later one in order, and an end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance import Resources, invalid, missing
from conformance_facts import AGENT_EXECUTION
from conformance_plane import CANCELLED, COMPLETED, FAILED, IN_PROGRESS, PENDING, Plane
from grpclib.const import Cardinality

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecution,
    AgentExecutionId,
    AgentExecutionStatus,
    AgentExecutionUpdateStatusInput,
    AgentMessage,
    ExecutionPhase,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stigmer.app.assembly import App


@pytest.fixture
def plane(app: App) -> Plane:
    return Plane(app)


async def rest(states: AsyncIterator[Any]) -> list[Any]:
    return [state async for state in states]


@pytest.mark.parametrize("phase", [COMPLETED, FAILED, CANCELLED])
async def test_current_and_later_states_come_in_order_until_the_terminal_one(
    plane: Plane, phase: ExecutionPhase
) -> None:
    made = await plane.execution()
    id_ = made.metadata.id
    states = plane.follow(id_)
    assert await anext(states) == made
    sent = [await plane.report(id_, phase=IN_PROGRESS)]
    sent += [await plane.report(id_, messages=[AgentMessage(content=str(n))]) for n in range(5)]
    sent.append(await plane.report(id_, phase=phase))
    assert await rest(states) == sent


@pytest.mark.parametrize("phase", [COMPLETED, FAILED, CANCELLED])
async def test_an_execution_that_has_ended_is_told_once(plane: Plane, phase: ExecutionPhase) -> None:
    id_ = (await plane.execution()).metadata.id
    ended = await plane.report(id_, phase=phase)
    assert await rest(plane.follow(id_)) == [ended]


async def test_changes_of_spec_and_metadata_are_told_too(plane: Plane) -> None:
    made = await plane.execution()
    states = plane.follow(made.metadata.id)
    await anext(states)
    made.metadata.labels = {"a": "1"}
    assert await plane.executions.update(made) == await anext(states)


async def test_what_is_not_there_is_not_found(plane: Plane) -> None:
    for id_ in (f"aex-{samples.NOBODY}", "banana"):
        await missing(anext(plane.follow(id_)), "AgentExecution", id_)
    await invalid(anext(plane.follow("")), "value")


async def test_deleting_the_execution_ends_the_stream(plane: Plane) -> None:
    id_ = (await plane.execution()).metadata.id
    states = plane.follow(id_)
    await anext(states)
    await plane.executions.delete(id_)
    await missing(anext(states), "AgentExecution", id_)


async def test_deleting_the_session_ends_the_stream(plane: Plane) -> None:
    made = await plane.execution()
    states = plane.follow(made.metadata.id)
    await anext(states)
    await plane.sessions.delete(made.spec.session_id)
    await missing(anext(states), "AgentExecution", made.metadata.id)


async def test_nothing_is_lost_between_the_first_read_and_the_first_update(plane: Plane) -> None:
    """A report commits after the state was read and before it is handed on."""
    made = await plane.execution()
    id_, get = made.metadata.id, plane.app.store.get
    late: list[Any] = []

    async def then_report(*asked: Any) -> Any:
        row = await get(*asked)
        if not late:
            late.append(None)
            late[0] = await plane.report(id_, phase=COMPLETED)
        return row

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plane.app.store, "get", then_report)
        states = await rest(plane.follow(id_))
    assert states[-1] == late[0]
    assert len(states) <= 2


async def test_a_report_before_the_read_is_not_told_twice(plane: Plane) -> None:
    """A report commits after the subscription is open and before the state is read."""
    id_ = (await plane.execution()).metadata.id
    get, calls = plane.app.store.get, 0

    async def report_first(*asked: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first read is LoadTarget's, the second the stream's; the report reads too
            await plane.report(id_, phase=IN_PROGRESS)
        return await get(*asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plane.app.store, "get", report_first)
        states = plane.follow(id_)
        first = await anext(states)
    assert first.status.phase == IN_PROGRESS
    ended = await plane.report(id_, phase=COMPLETED)
    assert await rest(states) == [ended]


async def test_many_followers_see_the_same(plane: Plane) -> None:
    id_ = (await plane.execution()).metadata.id
    followers = [plane.follow(id_) for _ in range(20)]
    firsts = await asyncio.gather(*map(anext, followers))
    sent = [await plane.report(id_, error="x"), await plane.report(id_, phase=COMPLETED)]
    assert await asyncio.gather(*map(rest, followers)) == [sent] * 20
    assert len({one.metadata.id for one in firsts}) == 1


async def test_a_slow_reader_gets_the_states_in_order_and_always_the_last(plane: Plane) -> None:
    id_ = (await plane.execution()).metadata.id
    states = plane.follow(id_)
    await anext(states)
    for n in range(100):
        await plane.report(id_, error=str(n))
    ended = await plane.report(id_, phase=COMPLETED)
    seen = await rest(states)
    numbers = [int(state.status.error) for state in seen]
    assert numbers == sorted(numbers)
    assert seen[-1] == ended


async def test_leaving_early_closes_the_subscription(plane: Plane) -> None:
    id_ = (await plane.execution()).metadata.id
    feed: Any = plane.app.store.feed
    path = "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/subscribe"
    call = plane.app.loopback.request(path, Cardinality.UNARY_STREAM, AgentExecutionId, AgentExecution)
    async with call as stream:
        await stream.send_message(AgentExecutionId(value=id_), end=True)
        await anext(stream)
        assert feed._open == 1
    assert feed._open == 0


async def test_an_execution_is_followed_over_the_wire(channel: Any) -> None:
    executions = Resources(AGENT_EXECUTION, channel)
    made = await executions.created()
    id_ = made.metadata.id
    states = executions.queries.subscribe(AgentExecutionId(value=id_))
    seen = [await anext(states)]
    sent = []
    for phase in (IN_PROGRESS, COMPLETED):
        report = AgentExecutionUpdateStatusInput(execution_id=id_, status=AgentExecutionStatus(phase=phase))
        sent.append(await executions.commands.update_status(report))
        seen.append(await anext(states))
    assert seen == [made, *sent]
    assert [state.status.phase for state in seen] == [PENDING, IN_PROGRESS, COMPLETED]
    assert await rest(states) == []


async def test_deletion_ends_the_stream_over_the_wire(channel: Any) -> None:
    executions = Resources(AGENT_EXECUTION, channel)
    id_ = (await executions.created()).metadata.id
    states = executions.queries.subscribe(AgentExecutionId(value=id_))
    await anext(states)
    await executions.delete(id_)
    await missing(anext(states), "AgentExecution", id_)
