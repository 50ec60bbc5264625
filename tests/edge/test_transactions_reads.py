"""Reads inside a call see what it has staged, by every way in; nobody else does before the commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Rig, contexts, executions, id_of, instances, separately, sessions
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.agentic.agent.v1 import AgentId
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
from stigmer._gen.ai.stigmer.commons.rpc import PageInfo

if TYPE_CHECKING:
    from collections.abc import Awaitable

Phase = executions.ExecutionPhase


async def not_found(call: Awaitable[Any]) -> bool:
    with pytest.raises(GRPCError) as caught:
        await call
    return caught.value.status is Status.NOT_FOUND


def ids(page: Any) -> list[str]:
    return [id_of(entry) for entry in page.entries]


async def test_get_and_get_by_reference(rig: Rig) -> None:
    async def inside() -> None:
        agent = await rig.agents.create(samples.agent(org="acme"))
        assert await rig.find_agents.get(AgentId(value=id_of(agent))) == agent
        for org in ("acme", ""):
            reference = ApiResourceReference(slug=agent.metadata.slug, org=org)
            assert await rig.find_agents.get_by_reference(reference) == agent
        assert await separately(outside(id_of(agent), agent.metadata.slug))

    async def outside(id_: str, slug: str) -> bool:
        reference = ApiResourceReference(slug=slug)
        return await not_found(rig.find_agents.get(AgentId(value=id_))) and await not_found(
            rig.find_agents.get_by_reference(reference)
        )

    await rig.outer(inside)


async def test_a_staged_namesake_makes_a_reference_ambiguous(rig: Rig) -> None:
    await rig.agents.create(samples.agent(name="twin", org="one"))

    async def inside() -> None:
        await rig.agents.create(samples.agent(name="twin", org="two"))
        with pytest.raises(GRPCError, match="several orgs"):
            await rig.find_agents.get_by_reference(ApiResourceReference(slug="twin"))
        nowhere = await rig.agents.create(samples.agent(name="twin"))
        assert await rig.find_agents.get_by_reference(ApiResourceReference(slug="twin")) == nowhere

    await rig.outer(inside)


async def test_session_lists(rig: Rig) -> None:
    agent = await rig.agent()
    instance = agent.status.default_instance_id
    old = await rig.sessions.create(samples.session(instance, tags=["a", "b"]))

    async def inside() -> None:
        new = await rig.sessions.create(samples.session(instance, tags=["a"]))
        other = await rig.instances.create(samples.agent_instance(id_of(agent)))
        newest = await rig.sessions.create(samples.session(id_of(other), tags=["b", "a"]))
        everything = [id_of(newest), id_of(new), id_of(old)]
        assert ids(await rig.find_sessions.list(sessions.ListSessionsRequest())) == everything
        by_tags = sessions.ListSessionsRequest(tags=["b", "a"])
        assert ids(await rig.find_sessions.list(by_tags)) == [id_of(newest), id_of(old)]
        of_agent = sessions.ListSessionsByAgentRequest(agent_id=id_of(agent))
        assert ids(await rig.find_sessions.list_by_agent(of_agent)) == everything
        of_instance = sessions.ListSessionsByAgentRequest(agent_id=instance)
        assert ids(await rig.find_sessions.list_by_agent(of_instance)) == everything[1:]
        await rig.sessions.delete(sessions.SessionId(value=id_of(old)))
        assert ids(await rig.find_sessions.list_by_agent(of_agent)) == everything[:2]
        await rig.instances.delete(instances.AgentInstanceId(value=id_of(other)))
        assert ids(await rig.find_sessions.list_by_agent(of_agent)) == [id_of(new)]

    await rig.outer(inside)


async def test_pages_of_what_is_staged_and_what_is_committed(rig: Rig) -> None:
    made = [id_of(await rig.sessions.create(samples.session())) for _ in range(3)]

    async def inside() -> None:
        made.extend([id_of(await rig.sessions.create(samples.session())) for _ in range(3)])
        walked: list[str] = []
        token = ""
        for _ in range(3):
            page = await rig.find_sessions.list(sessions.ListSessionsRequest(page_size=2, page_token=token))
            assert page.total_pages == 3
            walked += ids(page)
            token = page.next_page_token
        assert walked == made[::-1]
        assert token == ""

    await rig.outer(inside)


async def test_execution_lists(rig: Rig) -> None:
    old = await rig.execution()
    session = old.spec.session_id

    async def inside() -> None:
        new = await rig.executions.create(samples.agent_execution(session_id=session, tags=["x"]))
        of_session = executions.ListAgentExecutionsBySessionRequest(session_id=session)
        assert ids(await rig.find_executions.list_by_session(of_session)) == [id_of(new), id_of(old)]
        await rig.report(id_of(old), phase=Phase.EXECUTION_COMPLETED)
        pending = executions.ListAgentExecutionsRequest(phase=Phase.EXECUTION_PENDING)
        assert ids(await rig.find_executions.list(pending)) == [id_of(new)]
        done = executions.ListAgentExecutionsRequest(phase=Phase.EXECUTION_COMPLETED)
        assert ids(await rig.find_executions.list(done)) == [id_of(old)]
        both = executions.ListAgentExecutionsRequest(phase=Phase.EXECUTION_PENDING, tags=["x"])
        assert ids(await rig.find_executions.list(both)) == [id_of(new)]

    await rig.outer(inside)


async def test_instances_by_agent_and_contexts_by_execution(rig: Rig) -> None:
    agent = await rig.agent()
    execution = await rig.executions.create(samples.agent_execution(agent_id=id_of(agent)))

    async def inside() -> None:
        new = await rig.instances.create(samples.agent_instance(id_of(agent)))
        expected = [id_of(new), agent.status.default_instance_id]
        request = instances.GetAgentInstancesByAgentRequest(agent_id=id_of(agent))
        found = await rig.find_instances.get_by_agent(request)
        assert [id_of(one) for one in found.items] == expected
        assert found.total_count == 2
        request.page_info = PageInfo(num=2, size=1)
        assert [id_of(one) for one in (await rig.find_instances.get_by_agent(request)).items] == expected[1:]
        first = await rig.contexts.create(samples.execution_context(id_of(execution)))
        second = await rig.contexts.create(samples.execution_context(id_of(execution)))
        of_execution = contexts.ExecutionContextExecutionIdInput(execution_id=id_of(execution))
        assert await rig.find_contexts.get_by_execution_id(of_execution) == second
        await rig.contexts.delete(samples_delete(id_of(second)))
        assert await rig.find_contexts.get_by_execution_id(of_execution) == first

    await rig.outer(inside)


async def test_an_apply_finds_what_was_created_and_updates_it(rig: Rig) -> None:
    async def inside() -> None:
        first = await rig.agents.apply(samples.agent(name="one"))
        second = await rig.agents.apply(samples.agent("Answer in two.", name="one"))
        assert id_of(first) == id_of(second)
        second.spec.instructions = "Answer in three."
        await rig.agents.update(second)

    await rig.outer(inside)

    (id_,) = await rig.ids("Agent")
    stored = await rig.find_agents.get(AgentId(value=id_))
    assert stored.spec.instructions == "Answer in three."
    assert stored.status.default_instance_id in await rig.ids("AgentInstance")


async def test_what_is_created_and_deleted_in_one_call_leaves_nothing(rig: Rig) -> None:
    async def inside() -> None:
        agent = await rig.agent()
        await rig.executions.create(samples.agent_execution(agent_id=id_of(agent)))
        await rig.agents.delete(AgentId(value=id_of(agent)))
        (session,) = (await rig.find_sessions.list(sessions.ListSessionsRequest())).entries
        await rig.sessions.delete(sessions.SessionId(value=id_of(session)))

    await rig.outer(inside)

    kinds = ("Agent", "AgentInstance", "Session", "AgentExecution")
    assert [await rig.ids(kind) for kind in kinds] == [set()] * 4


def samples_delete(id_: str) -> Any:
    from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceDeleteInput

    return ApiResourceDeleteInput(resource_id=id_)
