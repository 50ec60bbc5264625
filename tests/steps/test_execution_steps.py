"""ValidateSessionOrAgent, CreateDefaultInstance, CreateDefaultInstanceIfNeeded, CreateSessionIfNeeded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance import is_id
from conformance_bench import ACTOR, Bench, Client, is_idle, required, staged

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceOwnerScope as Scope
from stigmer.errors import AlreadyExists, InvalidArgument, NotFound
from stigmer.steps import other_kinds
from stigmer.steps.build_new_state import BuildNewState
from stigmer.steps.create_default_instance import CreateDefaultInstance, CreateDefaultInstanceIfNeeded
from stigmer.steps.create_session_if_needed import CreateSessionIfNeeded, Milliseconds
from stigmer.steps.validate_session_or_agent import ValidateSessionOrAgent

if TYPE_CHECKING:
    from stigmer.pipeline.context import AnyContext
    from stigmer.store.changes import Changes
    from stigmer.store.rows import Row


def execution(bench: Bench, session_id: str = "", agent_id: str = "", **metadata: Any) -> AnyContext:
    request = samples.agent_execution(session_id, agent_id, **metadata)
    return bench.context("AgentExecution", "create", request, slug="s")


async def built(bench: Bench, session_id: str = "", agent_id: str = "", **metadata: Any) -> AnyContext:
    ctx = execution(bench, session_id, agent_id, **metadata)
    await BuildNewState()(ctx)
    return ctx


def put(changes: Changes, kind: str) -> Row:
    (row,) = (put.row for put in changes.puts if put.row.kind == kind)
    return row


async def world(bench: Bench, **metadata: Any) -> tuple[Row, Row, Row]:
    """An agent with its default instance, and a session on it."""
    agent = samples.agent(id=f"agt-{samples.NOBODY}", **metadata)
    instance = await bench.keep(samples.agent_instance(agent.metadata.id))
    session = await bench.keep(samples.session(instance.id))
    return await bench.keep(agent, default_instance_id=instance.id), instance, session


async def test_validate_session_or_agent_fills_in_the_agent_and_relies_on_all(bench: Bench) -> None:
    agent, instance, session = await world(bench)
    for agent_id in ("", agent.id):
        ctx = execution(bench, session.id, agent_id)
        await ValidateSessionOrAgent()(ctx)
        assert ctx.request.spec.agent_id == agent.id
        assert required(staged(ctx)) >= {("Session", session.id), ("AgentInstance", instance.id)}


async def test_validate_session_or_agent_relies_on_the_agent(bench: Bench) -> None:
    agent, _, _ = await world(bench)
    ctx = execution(bench, agent_id=agent.id)
    await ValidateSessionOrAgent()(ctx)
    assert (ctx.request.spec.session_id, ctx.request.spec.agent_id) == ("", agent.id)
    assert required(staged(ctx)) == {("Agent", agent.id)}


async def test_validate_session_or_agent_refuses_neither_unknown_and_conflicting(bench: Bench) -> None:
    _, _, session = await world(bench)
    with pytest.raises(InvalidArgument, match=r"spec\.session_id: is required"):
        await ValidateSessionOrAgent()(execution(bench))
    with pytest.raises(NotFound, match="Session not found: ses-x"):
        await ValidateSessionOrAgent()(execution(bench, "ses-x", "agt-x"))
    with pytest.raises(NotFound, match="Agent not found: agt-x"):
        await ValidateSessionOrAgent()(execution(bench, agent_id="agt-x"))
    with pytest.raises(InvalidArgument, match=r"spec\.agent_id: is agt-x"):
        await ValidateSessionOrAgent()(execution(bench, session.id, "agt-x"))


async def test_validate_session_or_agent_asks_the_downstream_clients_where_there_are_some(bench: Bench) -> None:
    remote = Client(in_process=False)
    remote.there["ses-1"] = samples.session("ain-1")
    instances = Client(in_process=False)
    instances.there["ain-1"] = samples.agent_instance("agt-1")
    bench.downstream |= {"Session": remote, "AgentInstance": instances}
    ctx = execution(bench, "ses-1")
    await ValidateSessionOrAgent()(ctx)
    assert ctx.request.spec.agent_id == "agt-1"
    assert is_idle(ctx)


async def new_agent(bench: Bench, **metadata: Any) -> AnyContext:
    ctx = bench.context("Agent", "create", samples.agent(**metadata), slug="helper")
    await BuildNewState()(ctx)
    return ctx


async def test_create_default_instance_stages_it_and_notes_its_id(bench: Bench) -> None:
    ctx = await new_agent(bench, name="Helper", org="acme")
    await CreateDefaultInstance()(ctx)
    state: Any = ctx.new_state
    changes = staged(ctx)
    row = put(changes, "AgentInstance")
    instance = bench.resource(row)
    assert state.status.default_instance_id == row.id
    assert (instance.metadata.name, instance.metadata.slug, instance.metadata.org) == (
        "Helper-default",
        "helper-default",
        "acme",
    )
    assert instance.spec.agent_id == state.metadata.id
    assert instance.status.audit.spec_audit.created_by.id == row.created_by == ACTOR
    assert ("Agent", state.metadata.id) in required(changes)


@pytest.mark.parametrize("seen", [True, False])
async def test_create_default_instance_passes_over_slugs_that_are_taken(bench: Bench, seen: bool) -> None:
    """The first one is told by the client, the others are seen in the store, or told where somebody was quicker."""
    client = Client()
    bench.downstream["AgentInstance"] = client
    if seen:
        await bench.keep(samples.agent_instance(name="helper-default-2"))
    client.refusals = [AlreadyExists("AgentInstance", "ain-1", slug="s") for _ in range(1 if seen else 2)]
    ctx = await new_agent(bench)
    await CreateDefaultInstance()(ctx)
    assert [one.metadata.slug for one in client.made] == ["helper-default-3"]


async def test_another_kind_s_resource_is_asked_for_once_a_run(bench: Bench) -> None:
    client = Client()
    bench.downstream["Agent"] = client
    agent = await bench.keep(samples.agent())
    client.there[agent.id] = bench.resource(agent)
    ctx = await built(bench, agent_id=agent.id)
    assert await other_kinds.find(ctx, "Agent", agent.id) is client.there[agent.id]
    client.there.clear()
    assert await other_kinds.find(ctx, "Agent", agent.id) is not None
    await ctx.save(bench.resource(agent), over=agent)  # from now on it is another one
    assert await other_kinds.find(ctx, "Agent", agent.id) is None


async def test_create_default_instance_passes_on_every_other_refusal(bench: Bench) -> None:
    client = Client()
    client.refusals = [InvalidArgument.of("metadata.name", "no")]
    bench.downstream["AgentInstance"] = client
    with pytest.raises(InvalidArgument):
        await CreateDefaultInstance()(await new_agent(bench))
    assert client.made == []


async def test_what_was_made_over_a_network_is_taken_back_where_the_call_fails(bench: Bench) -> None:
    client = Client(in_process=False)
    bench.downstream["AgentInstance"] = client
    ctx = await new_agent(bench)
    await CreateDefaultInstance()(ctx)
    for undo in ctx.tx.take_undo():
        await undo()
    assert client.deleted == [client.made[0].metadata.id]


@pytest.mark.parametrize("left", ["", "ain-gone"])
async def test_create_default_instance_if_needed_makes_one_where_there_is_none(bench: Bench, left: str) -> None:
    agent = await bench.keep(samples.agent(), default_instance_id=left)
    ctx = await built(bench, agent_id=agent.id)
    await CreateDefaultInstanceIfNeeded()(ctx)
    changes = staged(ctx)
    after = bench.resource(put(changes, "Agent"))
    assert after.status.default_instance_id == put(changes, "AgentInstance").id
    assert [one.expected for one in changes.puts if one.row.kind == "Agent"] == [agent.revision]
    before = bench.resource(agent)
    after.status = before.status
    assert after == before


async def test_create_default_instance_if_needed_leaves_one_that_is_there(bench: Bench) -> None:
    agent, instance, session = await world(bench)
    ctx = await built(bench, agent_id=agent.id)
    await CreateDefaultInstanceIfNeeded()(ctx)
    changes = staged(ctx)
    assert (list(changes.puts), required(changes)) == ([], {("AgentInstance", instance.id)})
    in_session = await built(bench, session.id)
    await CreateDefaultInstanceIfNeeded()(in_session)
    assert is_idle(in_session)


async def test_create_default_instance_if_needed_leaves_an_agent_that_is_kept_elsewhere(bench: Bench) -> None:
    ctx = await built(bench, agent_id="agt-elsewhere")
    await CreateDefaultInstanceIfNeeded()(ctx)
    assert is_idle(ctx)


async def test_create_session_if_needed_stages_one_on_the_default_instance(bench: Bench) -> None:
    agent, instance, _ = await world(bench, org="acme")
    ctx = await built(bench, agent_id=agent.id, org="globex")
    await CreateSessionIfNeeded()(ctx)
    changes = staged(ctx)
    session = bench.resource(put(changes, "Session"))
    assert ctx.new_state is not None
    assert ctx.new_state.spec.session_id == session.metadata.id
    assert (session.spec.agent_instance_id, session.spec.subject) == (instance.id, "Auto-created session")
    assert (session.metadata.org, session.metadata.owner_scope) == ("acme", Scope.organization)
    assert required(changes) == {("Agent", agent.id)}, "the session that it writes itself is there with it"


async def test_create_session_if_needed_does_nothing_in_a_session(bench: Bench) -> None:
    ctx = await built(bench, "ses-1")
    await CreateSessionIfNeeded()(ctx)
    assert is_idle(ctx)


async def test_create_session_if_needed_goes_through_the_client(bench: Bench) -> None:
    agent, instance, _ = await world(bench, owner_scope=Scope.platform)
    client = Client()
    bench.downstream["Session"] = client
    ctx = await built(bench, agent_id=agent.id, org="acme")
    await CreateSessionIfNeeded()(ctx)
    (sent,) = client.made
    assert (sent.api_version, sent.kind, sent.spec.agent_instance_id) == (samples.API_VERSION, "Session", instance.id)
    assert (sent.metadata.org, sent.metadata.owner_scope) == ("acme", Scope.organization)
    assert ctx.new_state is not None
    assert ctx.new_state.spec.session_id == "made-1"
    assert ("Session", "made-1") in required(staged(ctx))


async def test_create_session_if_needed_relies_on_no_session_that_is_kept_elsewhere(bench: Bench) -> None:
    agent, _, _ = await world(bench)
    client = Client(in_process=False)
    bench.downstream["Session"] = client
    ctx = await built(bench, agent_id=agent.id)
    await CreateSessionIfNeeded()(ctx)
    (sent,) = client.made
    assert is_id(sent.metadata.id, "ses")
    assert required(staged(ctx)) == {("Agent", agent.id)}


async def test_create_session_if_needed_refuses_an_agent_that_has_gone(bench: Bench) -> None:
    with pytest.raises(NotFound, match="Agent not found: agt-x"):
        await CreateSessionIfNeeded()(await built(bench, agent_id="agt-x"))


def test_two_readings_of_the_clock_are_never_the_same() -> None:
    clock = Milliseconds()
    readings = [clock() for _ in range(1000)]
    assert readings == sorted(set(readings))
