"""Executions and contexts are of whom they run for; what the server makes is of whom it is made for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import samples
from callers import (
    AMY,
    ANN,
    BOTH,
    GIL,
    NONE,
    ROOT,
    Callers,
    denied,
    everything,
    missing,
    of,
    outcome,
    runner_of,
)
from edge_rig import contexts, executions, id_of

from stigmer.access.principal import LOCAL
from stigmer.types import AgentInstanceId
from stigmer.types import ApiResourceOwnerScope as Scope

if TYPE_CHECKING:
    from stigmer.access.principal import Principal


async def test_an_execution_is_its_sessions_organizations_whatever_it_names(callers: Callers) -> None:
    agent = await callers(BOTH).agents.create(samples.agent(org="acme"))
    made = await callers(BOTH).executions.create(samples.agent_execution(agent_id=id_of(agent), org="globex"))
    assert await callers(ANN).get(made) == made
    await missing(callers(GIL).get(made))
    await denied(
        callers(ANN).create(samples.agent_execution(agent_id=id_of(agent), org="globex")), "create", "agent_execution"
    )


async def test_a_context_is_its_executions_organizations_and_so_is_its_slug(callers: Callers) -> None:
    theirs = {by.name: await everything(callers, by) for by in (ANN, GIL)}
    made = {}
    for by in (ANN, GIL):
        sent = samples.execution_context(id_of(theirs[by.name].execution), name="same")
        made[by.name] = await callers(runner_of(by)).create(sent)
        assert await callers(runner_of(by)).get(made[by.name]) == made[by.name]
        assert await callers(runner_of(by)).kind("ExecutionContext").by_reference("same") == made[by.name]
        find = callers(runner_of(by)).find_contexts.get_by_execution_id
        request = contexts.ExecutionContextExecutionIdInput(execution_id=id_of(theirs[by.name].execution))
        assert await find(request) == made[by.name]
        again = await outcome(callers(runner_of(by)).contexts.apply(sent))
        assert (again.code, id_of(made[by.name]) in again.message) == ("ALREADY_EXISTS", True)
    every = callers(LOCAL).kind("ExecutionContext")
    assert (await outcome(every.by_reference("same"))).code == "INVALID_ARGUMENT"
    assert await every.by_reference("same", "globex") == made["gil"]


@pytest.mark.parametrize("rpc", ["create", "apply"])
async def test_a_context_of_no_known_execution_is_for_callers_of_all_organizations(rpc: str, callers: Callers) -> None:
    """An execution of others is none."""
    theirs = await everything(callers, GIL)
    runner = runner_of(ANN)
    messages = [
        await denied(
            callers(runner).kind("ExecutionContext").write(rpc, samples.execution_context(id_)), "operator", "platform"
        )
        for id_ in (id_of(theirs.execution), f"aex-{samples.NOBODY}")
    ]
    assert messages[0] == messages[1]
    made = await callers(of("runner", "*")).kind("ExecutionContext").write(rpc, samples.execution_context(org="acme"))
    await missing(callers(runner).get(made))


@pytest.mark.parametrize(
    ("by", "org", "scope", "its_org"),
    [
        (ANN, "", Scope.organization, "acme"),
        (BOTH, "globex", Scope.organization, "globex"),
        (BOTH, "", Scope.identity_account, ""),
        (NONE, "", Scope.identity_account, ""),
        (of("runner", "acme"), "", Scope.organization, "acme"),
        (of("editor", "*"), "", Scope.identity_account, ""),
    ],
    ids=lambda one: one.name if hasattr(one, "name") else one,
)
async def test_a_session_on_the_platforms_agent_is_of_who_runs_it(
    by: Principal, org: str, scope: Scope, its_org: str, callers: Callers
) -> None:
    agent = await callers(ROOT).agents.create(samples.agent(owner_scope=Scope.platform))
    made = await callers(by).executions.create(samples.agent_execution(agent_id=id_of(agent), org=org))
    session = await callers(by).kind("Session").get(made.spec.session_id)
    assert (session.metadata.owner_scope, session.metadata.org) == (scope, its_org)
    assert session.status.audit.spec_audit.created_by.id == by.name
    assert await callers(by).get(made) == made
    stranger = of("editor", "initech", name="stranger")
    await missing(callers(stranger).get(made))
    await missing(callers(stranger).get(session))


async def test_what_the_caller_may_not_write_leaves_nothing(callers: Callers) -> None:
    agent = await callers(ROOT).agents.create(samples.agent(owner_scope=Scope.platform))
    sent = samples.agent_execution(agent_id=id_of(agent), org="globex")
    await denied(callers(ANN).executions.create(sent), "create", "agent_execution")
    assert not await callers.rig.ids("Session")
    assert not await callers.rig.ids("AgentExecution")


async def test_the_server_gives_a_platform_agent_its_default_instance_for_anybody(callers: Callers) -> None:
    """Even where its first slug is taken by what is not there for the caller."""
    agent = await callers(ROOT).agents.create(samples.agent(owner_scope=Scope.platform))
    await callers(ROOT).kind("AgentInstance").delete(agent.status.default_instance_id)
    taken = samples.agent_instance(name=f"{agent.metadata.slug}-default")
    await callers(LOCAL).create(taken)
    made = await callers(ANN).executions.create(samples.agent_execution(agent_id=id_of(agent)))
    agent = await callers(ANN).get(agent)
    instance = await callers(ANN).kind("AgentInstance").get(agent.status.default_instance_id)
    assert instance.metadata.slug == f"{agent.metadata.slug}-default-2"
    assert instance.metadata.owner_scope == Scope.platform
    session = await callers(ANN).kind("Session").get(made.spec.session_id)
    assert session.spec.agent_instance_id == id_of(instance)


async def test_what_goes_with_a_deleted_resource_goes_whosoever_it_is(callers: Callers) -> None:
    """A context that was there before its execution belongs to callers of all organizations, and goes too."""
    agent = await callers(ROOT).agents.create(samples.agent(owner_scope=Scope.platform))
    id_ = f"aex-{samples.NOBODY}"
    early = await callers(LOCAL).create(samples.execution_context(id_))
    other = await callers(LOCAL).create(samples.execution_context(f"{id_[:-1]}z"))
    session = await callers(ANN).create(samples.session(agent.status.default_instance_id))
    await callers(ANN).create(samples.agent_execution(id_of(session), id=id_))
    runner = callers(of("runner", "acme"))
    await missing(runner.get(early))
    find = contexts.ExecutionContextExecutionIdInput(execution_id=id_)
    await missing(runner.find_contexts.get_by_execution_id(find))
    made = await callers(LOCAL).create(samples.execution_context(id_))
    assert await runner.find_contexts.get_by_execution_id(find) == made
    await callers(LOCAL).delete(made)
    await missing(runner.find_contexts.get_by_execution_id(find))
    assert await callers(LOCAL).find_contexts.get_by_execution_id(find) == early
    await callers(AMY).delete(session)
    assert await callers.rig.ids("AgentExecution") == set()
    assert await callers.rig.ids("ExecutionContext") == {id_of(other)}


async def test_a_default_instance_whose_id_another_organization_took_is_that_ones(callers: Callers) -> None:
    """Neither does it run in it, by whom sees both, nor does it go with the agent."""
    everybody, ann, gil = callers(ROOT), callers(ANN), callers(GIL)
    agent, others = await ann.create(samples.agent(org="acme")), await gil.create(samples.agent(org="globex"))
    await ann.instances.delete(AgentInstanceId(value=agent.status.default_instance_id))
    taken = samples.agent_instance(id_of(others), org="globex", id=agent.status.default_instance_id)
    taken = await gil.create(taken)
    execution = await everybody.create(samples.agent_execution(agent_id=id_of(agent)))
    session = await everybody.kind("Session").get(execution.spec.session_id)
    instance = await ann.kind("AgentInstance").get(session.spec.agent_instance_id)
    assert instance.spec.agent_id == id_of(agent)
    other = await ann.create(samples.agent(org="acme"))
    await ann.instances.delete(AgentInstanceId(value=other.status.default_instance_id))
    await gil.create(samples.agent_instance(id_of(others), org="globex", id=other.status.default_instance_id))
    await ann.delete(other)
    await gil.kind("AgentInstance").get(other.status.default_instance_id)
    assert await gil.get(taken) == taken


async def test_default_instances_are_of_their_agents_organization(callers: Callers) -> None:
    agent = await callers(ANN).create(samples.agent())
    instance = await callers(AMY).kind("AgentInstance").get(agent.status.default_instance_id)
    assert instance.metadata.org == "acme"
    assert instance.status.audit.spec_audit.created_by.id == "ann"
    await missing(callers(GIL).get(instance))


@pytest.mark.parametrize(
    ("runner", "may"), [(of("runner", "acme"), True), (of("runner", "*"), True), (of("runner", "globex"), False)]
)
async def test_a_runner_reports_on_what_it_sees(runner: Principal, may: bool, callers: Callers) -> None:
    has = await everything(callers, ANN)
    report = callers(runner).report(id_of(has.execution), phase=executions.ExecutionPhase.EXECUTION_IN_PROGRESS)
    if may:
        reported = await report
        assert reported.status.audit.status_audit.updated_by.id == "runner"
        assert await callers(AMY).get(has.execution) == reported
    else:
        assert await missing(report) == f"AgentExecution not found: {id_of(has.execution)}"
