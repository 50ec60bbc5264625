"""Many callers at once, across kinds: what a call relies on is there when it commits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance_plane import Plane
from grpclib.const import Status
from grpclib.exceptions import GRPCError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from stigmer.app.assembly import App


@pytest.fixture
def plane(app: App) -> Plane:
    return Plane(app)


async def all_of(*calls: Awaitable[Any]) -> list[Any]:
    """What was answered; whatever is refused must be refused with NOT_FOUND."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    for one in done:
        if isinstance(one, GRPCError):
            assert one.status is Status.NOT_FOUND, one
        else:
            assert not isinstance(one, BaseException), one
    return [one for one in done if not isinstance(one, BaseException)]


async def test_many_executions_of_one_agent_get_a_session_each(plane: Plane) -> None:
    agent = await plane.agent()
    made = await asyncio.gather(*(plane.execution(agent) for _ in range(64)))
    sessions = {one.spec.session_id for one in made}
    assert len(sessions) == 64
    assert await plane.ids("Session") == sessions
    assert await plane.ids("AgentInstance") == {agent.status.default_instance_id}


@pytest.mark.parametrize("left", ["", f"ain-{samples.NOBODY}"])
async def test_many_executions_of_an_agent_without_a_default_instance_make_one(plane: Plane, left: str) -> None:
    agent = await plane.agent()
    await plane.strip_default_instance(agent, left)
    made = await asyncio.gather(*(plane.execution(agent) for _ in range(16)))
    instance_id = (await plane.agents.get(agent.metadata.id)).status.default_instance_id
    assert await plane.ids("AgentInstance") == {instance_id}
    sessions = [await plane.sessions.get(one.spec.session_id) for one in made]
    assert {one.spec.agent_instance_id for one in sessions} == {instance_id}


async def test_agents_of_one_name_in_many_orgs_each_get_an_instance(plane: Plane) -> None:
    agents = await asyncio.gather(*(plane.agent(name="same", org=f"org-{n}") for n in range(16)))
    assert await plane.ids("AgentInstance") == {one.status.default_instance_id for one in agents}


async def test_many_makers_of_one_agent_leave_one_instance(plane: Plane) -> None:
    made = await asyncio.gather(*(plane.agents.apply(samples.agent(name="applied")) for _ in range(16)))
    (instance_id,) = {one.status.default_instance_id for one in made}
    await asyncio.gather(*(plane.agent(name="created") for _ in range(16)), return_exceptions=True)
    instances = {id_: await plane.instances.get(id_) for id_ in await plane.ids("AgentInstance")}
    assert {one.metadata.slug for one in instances.values()} == {"applied-default", "created-default"}
    assert len(instances) == 2
    assert instances[instance_id].spec.agent_id == made[0].metadata.id


async def test_an_update_and_a_delete_at_once_end_with_nothing(plane: Plane) -> None:
    for _ in range(10):
        made = await plane.environments.created()
        made.metadata.version = None
        updates = [plane.environments.update(made) for _ in range(4)]
        await all_of(*updates[:2], plane.environments.delete(made.metadata.id), *updates[2:])
    assert await plane.ids("Environment") == set()


async def test_an_instance_takes_the_slug_that_a_default_instance_wants(plane: Plane) -> None:
    for n in range(8):
        agent, _ = await asyncio.gather(
            plane.agent(name=f"helper-{n}"), plane.instances.created(name=f"helper-{n}-default-2")
        )
        metadata = (await plane.instances.get(agent.status.default_instance_id)).metadata
        assert metadata.slug == f"helper-{n}-default"
    for n in range(8):
        done = await asyncio.gather(
            plane.agent(name=f"other-{n}"),
            plane.instances.created(name=f"other-{n}-default"),
            return_exceptions=True,
        )
        assert not isinstance(done[0], BaseException)
        slug = (await plane.instances.get(done[0].status.default_instance_id)).metadata.slug
        assert slug == f"other-{n}-default" + ("" if isinstance(done[1], GRPCError) else "-2")


async def test_no_execution_outlives_its_session(plane: Plane) -> None:
    agent = await plane.agent()
    for _ in range(10):
        session_id = (await plane.session(agent)).metadata.id
        creators = [plane.run(session_id) for _ in range(4)]
        await all_of(*creators[:2], plane.sessions.delete(session_id), *creators[2:])
        assert await plane.ids("AgentExecution") == set()
        assert await plane.ids("Session") == set()


async def test_no_execution_is_left_without_its_session_when_its_agent_goes(plane: Plane) -> None:
    for _ in range(10):
        agent = await plane.agent()
        creators = [plane.execution(agent) for _ in range(4)]
        done = await all_of(*creators[:2], plane.agents.delete(agent.metadata.id), *creators[2:])
        made = [one for one in done if one.kind == "AgentExecution"]
        sessions = await plane.ids("Session")
        assert {one.spec.session_id for one in made} <= sessions
    executions = [await plane.executions.get(id_) for id_ in await plane.ids("AgentExecution")]
    assert {one.spec.session_id for one in executions} == await plane.ids("Session")
    assert await plane.ids("AgentInstance") == set()


async def test_no_default_instance_outlives_its_agent(plane: Plane) -> None:
    for _ in range(10):
        agent = await plane.agent()
        await plane.strip_default_instance(agent)
        await all_of(plane.execution(agent), plane.agents.delete(agent.metadata.id), plane.execution(agent))
        assert await plane.ids("AgentInstance") == set()


async def test_no_session_is_left_by_an_execution_that_was_refused(plane: Plane) -> None:
    """Creators with one id: all make a session, one keeps it."""
    agent, gone = await plane.agent(), await plane.execution()
    await plane.sessions.delete(gone.spec.session_id)
    calls = [plane.run(agent_id=agent.metadata.id, id=gone.metadata.id) for _ in range(16)]
    done = await asyncio.gather(*calls, return_exceptions=True)
    made = [one for one in done if not isinstance(one, BaseException)]
    assert len(made) == 1
    assert await plane.ids("Session") == {made[0].spec.session_id}


async def test_contexts_go_with_an_execution_whenever_they_were_made(plane: Plane) -> None:
    """References in specs are not checked: a context may come after its execution has gone, but none stays behind."""
    for _ in range(10):
        execution = await plane.execution()
        id_ = execution.metadata.id
        made = await plane.contexts.create(samples.execution_context(id_))
        await all_of(plane.executions.delete(id_), plane.executions.delete(id_))
        assert made.metadata.id not in await plane.ids("ExecutionContext")
