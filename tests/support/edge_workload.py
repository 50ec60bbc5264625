"""One call of every RPC, each of which succeeds."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import agents, contexts, executions, id_of, instances, sessions

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceDeleteInput, ApiResourceId, ApiResourceReference
from stigmer.pipeline import key_rotation
from stigmer.types import ApiResourceIamPermission as Permission
from stigmer.types import (
    ApiResourceKind,
    CanIRequest,
    ExportAuditRequest,
    ListAgentInstancesRequest,
    ListAgentsRequest,
    ListEnvironmentsRequest,
    ListExecutionContextsRequest,
    SealingKeyId,
    TailAuditRequest,
    WhoamiRequest,
)

if TYPE_CHECKING:
    from edge_rig import Stubs


async def every_rpc(stubs: Stubs) -> None:
    """All that it makes it deletes."""
    agent = await stubs.agents.create(samples.agent())
    execution = await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent)))
    await _of_execution(stubs, execution)
    await _of_session(stubs, agent)
    await _of_instance(stubs, agent)
    await _of_agent(stubs, agent)
    await _of_environment(stubs)
    await stubs.sessions.delete(sessions.SessionId(value=execution.spec.session_id))
    await _of_keys(stubs)
    assert [page async for page in stubs.admin.tail_audit(TailAuditRequest())]
    assert [page async for page in stubs.admin.export_audit(ExportAuditRequest())]
    assert (await stubs.callers.whoami(WhoamiRequest())).name == "local"
    assert (await stubs.callers.can_i(CanIRequest(permission=Permission.can_view, kind=ApiResourceKind.agent))).allowed


async def _of_keys(stubs: Stubs) -> None:
    """A rotation."""
    (*_, old) = (await stubs.admin.list_keys()).entries
    new = await stubs.admin.add_key()
    await stubs.admin.activate_key(SealingKeyId(value=new.id))
    assert [one.damaged async for one in stubs.admin.rewrap_keys()][-1] == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_rotation, "READERS_S", 0)  # no read holds a record
        await stubs.admin.retire_key(SealingKeyId(value=old.id))


def _reference(resource: Any) -> ApiResourceReference:
    return ApiResourceReference(slug=resource.metadata.slug)


async def _of_agent(stubs: Stubs, agent: Any) -> None:
    await stubs.agents.apply(samples.agent("Answer in two sentences.", name=agent.metadata.name))
    await stubs.find_agents.get_by_reference(_reference(agent))
    await stubs.find_agents.list(ListAgentsRequest(label_selector="a=b,c in (d,e),!f"))
    agent = await stubs.find_agents.get(agents.AgentId(value=id_of(agent)))
    await stubs.agents.update(agent)
    await stubs.agents.delete(agents.AgentId(value=id_of(agent)))


async def _of_instance(stubs: Stubs, agent: Any) -> None:
    made = await stubs.instances.create(samples.agent_instance(id_of(agent)))
    await stubs.instances.apply(samples.agent_instance(id_of(agent), name=made.metadata.name))
    await stubs.find_instances.get_by_agent(instances.GetAgentInstancesByAgentRequest(agent_id=id_of(agent)))
    await stubs.find_instances.get_by_reference(_reference(made))
    await stubs.find_instances.list(ListAgentInstancesRequest(org="acme"))
    made = await stubs.find_instances.get(instances.AgentInstanceId(value=id_of(made)))
    await stubs.instances.update(made)
    await stubs.instances.delete(instances.AgentInstanceId(value=id_of(made)))


async def _of_session(stubs: Stubs, agent: Any) -> None:
    instance = agent.status.default_instance_id
    made = await stubs.sessions.create(samples.session(instance, tags=["a"]))
    await stubs.sessions.apply(samples.session(instance, name=made.metadata.name))
    await stubs.find_sessions.get_by_reference(_reference(made))
    await stubs.find_sessions.list(sessions.ListSessionsRequest(tags=["a"]))
    await stubs.find_sessions.list_by_agent(sessions.ListSessionsByAgentRequest(agent_id=id_of(agent)))
    made = await stubs.find_sessions.get(sessions.SessionId(value=id_of(made)))
    await stubs.sessions.update(made)
    await stubs.sessions.delete(sessions.SessionId(value=id_of(made)))


async def _of_execution(stubs: Stubs, execution: Any) -> None:
    made = await stubs.executions.create(samples.agent_execution(session_id=execution.spec.session_id))
    id_ = executions.AgentExecutionId(value=id_of(made))
    await _of_context(stubs, made)
    async with aclosing(stubs.find_executions.subscribe(id_)) as states:
        await anext(states)
        await stubs.report(id_of(made), phase=executions.ExecutionPhase.EXECUTION_COMPLETED)
        assert len([state async for state in states]) == 1
    await stubs.find_executions.list(executions.ListAgentExecutionsRequest())
    of_session = executions.ListAgentExecutionsBySessionRequest(session_id=execution.spec.session_id)
    await stubs.find_executions.list_by_session(of_session)
    await stubs.executions.update(await stubs.find_executions.get(id_))
    await stubs.executions.delete(ApiResourceId(value=id_of(made)))


async def _of_context(stubs: Stubs, execution: Any) -> None:
    made = await stubs.contexts.apply(samples.execution_context(id_of(execution)))
    await stubs.contexts.rotate(contexts.RotateExecutionValueInput(resource_id=id_of(made), key="TZ", value="UTC"))
    await stubs.find_contexts.get(contexts.ExecutionContextId(value=id_of(made)))
    await stubs.find_contexts.get_by_reference(_reference(made))
    await stubs.find_contexts.list(ListExecutionContextsRequest())
    of_execution = contexts.ExecutionContextExecutionIdInput(execution_id=id_of(execution))
    await stubs.find_contexts.get_by_execution_id(of_execution)
    await stubs.contexts.delete(ApiResourceDeleteInput(resource_id=id_of(made)))
    await stubs.contexts.create(samples.execution_context(id_of(execution)))


async def _of_environment(stubs: Stubs) -> None:
    made = await stubs.environments.create(samples.environment())
    await stubs.environments.apply(samples.environment(name=made.metadata.name))
    await stubs.find_environments.get_by_reference(_reference(made))
    await stubs.find_environments.list(ListEnvironmentsRequest(tags=["a"]))
    made = await stubs.find_environments.get(ApiResourceId(value=id_of(made)))
    await stubs.environments.update(made)
    await stubs.environments.delete(ApiResourceDeleteInput(resource_id=id_of(made)))
