"""Unary calls made inside a unary call are part of its transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import samples
from edge_rig import Around, Rig, agents, failure_of, id_of, instances
from grpclib.const import Status

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.errors import Aborted

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call


class FailedError(Exception):
    """What a test makes a call fail with."""


async def test_what_joined_is_committed_with_the_outer_call_and_not_before(rig: Rig) -> None:
    seen: list[set[str]] = []

    async def inside() -> None:
        await rig.sessions.create(samples.session())
        seen.append(await rig.ids("Session"))

    await rig.outer(inside)

    assert seen == [set()]
    assert len(await rig.ids("Session")) == 1
    assert len(await rig.ids("Environment")) == 1


async def test_what_joined_goes_when_the_outer_call_fails(rig: Rig) -> None:
    async def inside() -> None:
        await rig.agents.create(samples.agent())
        await rig.sessions.create(samples.session())
        raise FailedError

    assert (await failure_of(rig.outer(inside))).status is Status.INTERNAL
    assert [await rig.ids(kind) for kind in ("Agent", "AgentInstance", "Session", "Environment")] == [set()] * 4


async def test_an_execution_leaves_session_default_instance_and_itself_or_nothing(wire: Callable[..., Rig]) -> None:
    async def fail_after(call: Call, request: Any, proceed: UnaryNext) -> Any:
        await proceed(call, request)
        raise FailedError

    rig = wire(Around("SessionCommandController/create", fail_after))
    agent = await rig.agent()
    await rig.instances.delete(instances.AgentInstanceId(value=agent.status.default_instance_id))

    refusal = await failure_of(rig.executions.create(samples.agent_execution(agent_id=id_of(agent))))

    assert refusal.status is Status.INTERNAL
    assert await rig.ids("Session") == await rig.ids("AgentExecution") == await rig.ids("AgentInstance") == set()
    stored = await rig.find_agents.get(agents.AgentId(value=id_of(agent)))
    assert stored == agent


async def test_a_joined_call_that_fails_drops_its_own_writes_only_and_may_be_caught(wire: Callable[..., Rig]) -> None:
    async def fail_after(call: Call, request: Any, proceed: UnaryNext) -> Any:
        await proceed(call, request)
        raise FailedError

    rig = wire(Around("AgentCommandController/create", fail_after))

    async def inside() -> None:
        await rig.sessions.create(samples.session())
        assert (await failure_of(rig.agents.create(samples.agent()))).status is Status.INTERNAL
        assert (
            await failure_of(rig.sessions.create(samples.session(slug="Bad Slug")))
        ).status is Status.INVALID_ARGUMENT
        await rig.sessions.create(samples.session())

    await rig.outer(inside)

    assert len(await rig.ids("Session")) == 2
    assert await rig.ids("Agent") == await rig.ids("AgentInstance") == set()


async def test_a_call_inside_a_failing_joined_call_goes_with_it(wire: Callable[..., Rig]) -> None:
    """The default instance is made inside Agent.create; where that fails later, only it is dropped."""

    async def fail_after(call: Call, request: Any, proceed: UnaryNext) -> Any:
        await proceed(call, request)
        raise FailedError

    rig = wire(Around("AgentInstanceCommandController/create", fail_after))

    async def inside() -> None:
        await rig.sessions.create(samples.session())
        assert (await failure_of(rig.agents.create(samples.agent()))).status is Status.INTERNAL

    await rig.outer(inside)

    assert len(await rig.ids("Session")) == 1
    assert await rig.ids("Agent") == await rig.ids("AgentInstance") == set()


async def test_a_call_made_by_an_interceptor_of_a_joined_call_joins_too(wire: Callable[..., Rig]) -> None:
    """Before and after that call's own work; an audit record is not written for what was never done."""
    rigs: list[Rig] = []

    async def audit(call: Call, request: Any, proceed: UnaryNext) -> Any:
        await rigs[0].contexts.create(samples.execution_context())
        reply = await proceed(call, request)
        await rigs[0].contexts.create(samples.execution_context())
        return reply

    rigs.append(wire(Around("SessionCommandController/create", audit)))
    rig = rigs[0]

    async def inside(*, fail: bool) -> None:
        await rig.sessions.create(samples.session())
        assert await rig.ids("ExecutionContext") == set()
        if fail:
            raise FailedError

    await failure_of(rig.outer(lambda: inside(fail=True)))
    assert await rig.ids("ExecutionContext") == set()
    await rig.outer(lambda: inside(fail=False))
    assert len(await rig.ids("ExecutionContext")) == 2


async def test_children_of_gather_task_group_and_wait_for_join(rig: Rig) -> None:
    async def create() -> None:
        await rig.sessions.create(samples.session())

    async def inside(*, fail: bool) -> None:
        await asyncio.gather(create(), create())
        async with asyncio.TaskGroup() as group:
            group.create_task(create())
            group.create_task(create())
        await asyncio.wait_for(create(), 60)
        await asyncio.create_task(create())
        assert await rig.ids("Session") == set()
        if fail:
            raise FailedError

    await failure_of(rig.outer(lambda: inside(fail=True)))
    assert await rig.ids("Session") == set()
    await rig.outer(lambda: inside(fail=False))
    assert len(await rig.ids("Session")) == 6


async def test_a_failed_handler_stages_nothing_even_where_an_interceptor_answers_in_its_place(
    wire: Callable[..., Rig],
) -> None:
    async def refuse(call: Call, request: Any, proceed: UnaryNext) -> Any:
        raise FailedError

    async def answer(call: Call, request: Any, proceed: UnaryNext) -> Any:
        try:
            return await proceed(call, request)
        except Aborted:
            return samples.agent(name="in its place")

    class Late(Around):
        around = "run"

        async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
            reply = await proceed(call, request)
            if call.method.path.endswith("AgentCommandController/create"):
                raise Aborted("late", "CONTENTION")
            return reply

    rig = wire(Around("AgentCommandController/create", answer), Late("", refuse))

    async def inside() -> None:
        assert (await rig.agents.create(samples.agent())).metadata.name == "in its place"

    await rig.outer(inside)
    assert await rig.ids("Agent") == await rig.ids("AgentInstance") == set()
    assert len(await rig.ids("Environment")) == 1


DEEP = 10
"""A call in a call is some forty frames on Python's stack, and a thousand are allowed."""


async def test_a_deeply_nested_call_sees_all_above_it(rig: Rig) -> None:
    names: list[str] = []

    async def inside(ctx: Any) -> None:
        names.append(ctx.new_state.metadata.name)
        if len(names) < DEEP:
            await rig.environments.create(samples.environment())
        else:
            for name in names[:-1]:
                found = await rig.find_environments.get_by_reference(samples_reference(name))
                assert found.metadata.name == name

    rig.inside.action = inside
    await rig.environments.create(samples.environment())
    assert len(await rig.ids("Environment")) == DEEP


async def test_a_deleted_row_is_gone_for_the_rest_of_the_call(rig: Rig) -> None:
    environment = await rig.environments.create(samples.environment())

    async def inside() -> None:
        deletion = samples_delete(id_of(environment))
        await rig.environments.delete(deletion)
        assert (await failure_of(rig.environments.delete(deletion))).status is Status.NOT_FOUND
        gone = rig.find_environments.get(ApiResourceId(value=id_of(environment)))
        assert (await failure_of(gone)).status is Status.NOT_FOUND
        raise FailedError

    await failure_of(rig.outer(inside))
    assert await rig.ids("Environment") == {id_of(environment)}


def samples_reference(slug: str) -> Any:
    from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference

    return ApiResourceReference(slug=slug)


def samples_delete(id_: str) -> Any:
    from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceDeleteInput

    return ApiResourceDeleteInput(resource_id=id_)
