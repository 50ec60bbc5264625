"""Sessions kept by another server: each side commits alone, and a failed caller undoes what it made there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Around, Rig, Stubs, id_of, instances, said, separately, turns
from edge_sockets import serving
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from store_stepper import after_iterations

from stigmer.downstream import ResourceClient, SessionClient
from stigmer.steps import other_kinds
from stigmer.store.rows import Query, Window

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from grpclib.client import Channel

    from stigmer.app.assembly import App
    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call


class FailedError(Exception):
    """What a test makes a call fail with."""


class Two:
    """This side's control plane, whose Session client is connected to the far one."""

    def __init__(self, near: Rig, far: App, channel: Channel) -> None:
        self.near = near
        self.far = far
        self.sessions = Stubs(channel)

    async def far_ids(self) -> set[str]:
        page = await self.far.store.page(Query("Session"), Window(limit=None))
        return {row.id for row in page.rows}


@pytest.fixture
async def two(tmp_path: Path, wire: Callable[..., Rig]) -> AsyncGenerator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def make(*near: Around, far: tuple[Around, ...] = ()) -> Two:
            channel, app = await stack.enter_async_context(serving(tmp_path / "far", *far))
            return Two(wire(*near, Session=SessionClient(channel)), app, channel)

        yield make


def landed_instead_of_sleep(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an undo would wait for what the other server may still be making, wait until that is over."""

    async def landed(_pause_s: float) -> None:
        await two.far.store.probe()
        await turns()

    monkeypatch.setattr(other_kinds, "asyncio", SimpleNamespace(sleep=landed))


async def run(two: Two, **call: Any) -> Any:
    agent = await two.near.agent()
    return await two.near.executions.create(samples.agent_execution(agent_id=id_of(agent)), **call)


async def test_each_side_commits_alone(two: Callable[..., Any]) -> None:
    both: Two = await two()
    execution = await run(both)

    assert await both.far_ids() == {execution.spec.session_id}
    assert await both.near.ids("Session") == set()
    assert await both.near.ids("AgentExecution") == {id_of(execution)}
    follow_up = await both.near.executions.create(samples.agent_execution(session_id=execution.spec.session_id))
    assert follow_up.spec.session_id == execution.spec.session_id


async def failing(call: Call, request: Any, proceed: UnaryNext) -> Any:
    await proceed(call, request)
    raise FailedError


async def test_a_failed_caller_takes_back_what_it_made(two: Callable[..., Any]) -> None:
    both: Two = await two()

    async def inside() -> None:
        await run(both)
        assert len(await both.far_ids()) == 1
        raise FailedError

    with pytest.raises(GRPCError):
        await both.near.outer(inside)
    assert await both.far_ids() == set()
    assert await both.near.ids("AgentExecution") == set()


async def test_a_caught_failure_of_a_joined_call_takes_back_what_it_made_only(two: Callable[..., Any]) -> None:
    both: Two = await two(Around("AgentExecutionCommandController/create", fail_second))

    async def inside() -> None:
        await run(both)
        with pytest.raises(GRPCError):
            await run(both, metadata={"x-fail": "yes"})

    await both.near.outer(inside)
    assert len(await both.far_ids()) == 1


async def fail_second(call: Call, request: Any, proceed: UnaryNext) -> Any:
    reply = await proceed(call, request)
    if "x-fail" in call.metadata:
        raise FailedError
    return reply


async def test_a_lost_race_takes_back_what_its_run_made(two: Callable[..., Any]) -> None:
    both: Two = await two()
    rival = await both.near.agent()
    made: list[str] = []

    async def inside() -> None:
        made.append((await run(both)).spec.session_id)

    async def lose(ctx: Any) -> None:
        await inside()
        row = await ctx.tx.get("Agent", id_of(rival))
        ctx.tx.update(row)
        if len(made) == 1:
            rival.metadata.version = None
            await separately(both.near.agents.update(rival))

    both.near.inside.action = lose
    await both.near.environments.create(samples.environment())
    assert len(made) == 2
    assert await both.far_ids() == {made[1]}
    assert len(await both.near.ids("AgentExecution")) == 1


async def test_a_session_whose_answer_is_lost_is_taken_back(
    two: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The far side has committed, its answer never comes, the deadline passes."""
    hang = asyncio.Event()

    async def commit_and_hang(call: Call, request: Any, proceed: UnaryNext) -> Any:
        await proceed(call, request)
        assert len(await both.far_ids()) == 1
        await hang.wait()

    both: Two = await two(far=(Around("SessionCommandController/create", commit_and_hang),))
    landed_instead_of_sleep(both, monkeypatch)
    with pytest.raises(GRPCError) as caught:
        await run(both, timeout=0.3)
    assert caught.value.status is Status.DEADLINE_EXCEEDED
    assert await both.far_ids() == set()
    assert await both.near.ids("AgentExecution") == set()


async def test_cancelling_at_any_time_leaves_no_session_without_its_execution(
    two: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    both: Two = await two()
    landed_instead_of_sleep(both, monkeypatch)
    agent = await both.near.agent()
    number, done = 0, None
    while done is None:
        create = both.near.executions.create(samples.agent_execution(agent_id=id_of(agent)))
        done = await after_iterations(number, create)
        number += 3 + number // 5
        await both.near.unit_of_work.settled()
        await both.near.store.probe()
        page = await both.near.store.page(Query("AgentExecution"), Window(limit=None))
        kind = both.near.runtime.kinds["AgentExecution"]
        wanted = {kind.resource_of(row).spec.session_id for row in page.rows}
        assert await both.far_ids() == wanted


async def test_an_undo_that_fails_is_logged_and_hides_nothing(
    two: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(call: Call, request: Any, proceed: UnaryNext) -> Any:
        raise FailedError

    both: Two = await two(far=(Around("SessionCommandController/delete", refuse),))

    async def inside() -> None:
        await run(both)
        raise GRPCError(Status.PERMISSION_DENIED, "not you")

    with pytest.raises(GRPCError) as caught:
        await both.near.outer(inside)
    assert (caught.value.status, caught.value.message) == (Status.PERMISSION_DENIED, "not you")
    assert said(caplog, "Cannot undo what a failed call made elsewhere")
    assert len(await both.far_ids()) == 1


async def test_a_far_instance_client_is_undone_too(tmp_path: Path, wire: Callable[..., Rig]) -> None:
    async with serving(tmp_path / "far") as (channel, far):
        near = wire(AgentInstance=ResourceClient[Any]("AgentInstance", channel))

        async def inside() -> None:
            agent = await near.agent()
            there = await Stubs(channel).find_instances.get(
                instances.AgentInstanceId(value=agent.status.default_instance_id)
            )
            assert there.spec.agent_id == id_of(agent)
            raise FailedError

        with pytest.raises(GRPCError):
            await near.outer(inside)
        assert (await far.store.page(Query("AgentInstance"), Window(limit=None))).total == 0
