"""create, apply, update, get and delete of each kind: of plain values or messages, of what is named in any way."""

from __future__ import annotations

import re
from typing import Any

import pytest
import samples

import stigmer
from stigmer.types import (
    Agent,
    AgentSpec,
    ApiResourceMetadata,
    ApiResourceOwnerScope,
    ApiResourceReference,
    EnvironmentValue,
    HttpServer,
    McpServerDefinition,
    Session,
)
from stigmer.wire import descriptors

INSTRUCTIONS = "Review the change, name what is wrong."
ULID = "[0-7][0-9a-hjkmnp-tv-z]{25}"


def test_there_is_a_property_for_each_kind_that_is_served() -> None:
    client = stigmer.Client("127.0.0.1:1")
    of = {getattr(client, name)._kind for name in dir(client) if hasattr(getattr(client, name), "_kind")}
    assert of == {method.kind.name for method in descriptors.methods().values() if method.kind is not None}
    assert {"agents", "instances", "sessions", "executions", "environments", "contexts", "caller"} <= set(dir(client))


async def test_a_resource_is_made_of_keywords(client: stigmer.Client) -> None:
    agent = await client.agents.create(
        name="Reviewer",
        org="globex",
        instructions=INSTRUCTIONS,
        labels={"team": "a"},
        tags=["x", "y"],
        mcp_servers=[
            {"name": "search", "http": {"url": "https://example.com", "timeout_seconds": 3}},
            McpServerDefinition(name="other", http=HttpServer(url="https://example.org")),
        ],
    )
    assert agent.metadata
    assert agent.spec
    assert agent.status
    assert (agent.metadata.slug, agent.metadata.org) == ("reviewer", "globex")
    assert (agent.metadata.labels, agent.metadata.tags) == ({"team": "a"}, ["x", "y"])
    assert agent.metadata.owner_scope is ApiResourceOwnerScope.organization
    assert agent.status.default_instance_id.startswith("ain-")
    assert [server.name for server in agent.spec.mcp_servers] == ["search", "other"]
    assert agent.spec.mcp_servers[0].http == HttpServer(url="https://example.com", timeout_seconds=3)


async def test_a_resource_is_made_of_a_message_which_stays_as_it_is(client: stigmer.Client) -> None:
    sent = Agent(metadata=ApiResourceMetadata(name="Writer"), spec=AgentSpec(instructions=INSTRUCTIONS))
    before = repr(sent)
    made = await client.agents.apply(sent, description="Writes")
    again = await client.agents.apply(sent)
    assert repr(sent) == before
    assert made.metadata
    assert again.metadata
    assert made.spec
    assert again.spec
    assert (made.spec.description, again.spec.description) == ("Writes", "")
    assert made.metadata.id == again.metadata.id
    assert made.metadata.org == "acme"


async def test_a_resource_is_named_by_id_by_slug_or_by_itself(client: stigmer.Client) -> None:
    agent = await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
    assert agent.metadata
    for name in (
        agent.metadata.id,
        "acme/reviewer",
        "reviewer",
        agent,
        Agent(metadata=ApiResourceMetadata(slug="reviewer")),
    ):
        assert await client.agents.get(name) == agent
    assert await client.with_options(org="globex").agents.get("reviewer", default=None) is None
    deleted = await client.agents.delete("acme/reviewer")
    assert deleted.metadata
    assert deleted.metadata.id == agent.metadata.id
    assert await client.agents.get(agent, default=None) is None
    assert await client.agents.get("acme/reviewer", default="nobody") == "nobody"


async def test_what_refers_to_another_resource_takes_it_in_any_form(client: stigmer.Client) -> None:
    agent = await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
    prod = await client.environments.create(name="Prod", data={"TZ": "Europe/Berlin"})
    refs: list[Any] = ["acme/prod", prod, {"org": "acme", "slug": "prod", "kind": "environment"}]
    assert agent.metadata
    forms: list[Agent | str] = [agent, agent.metadata.id, "acme/reviewer", "reviewer"]
    for number, named in enumerate(forms):
        instance = await client.instances.create(name=f"i{number}", agent=named, environment_refs=refs)
        assert instance.spec
        assert instance.spec.agent_id == agent.metadata.id
        assert {(one.org, one.slug, int(one.kind)) for one in instance.spec.environment_refs} == {("acme", "prod", 53)}
    session = await client.sessions.create(agent_instance="i0")
    assert session.metadata
    assert await client.sessions.get(session.metadata.slug) == session
    run = await client.executions.create(session=f"acme/{session.metadata.slug}", message="Hello")
    assert run.spec
    assert (run.spec.session_id, run.spec.agent_id) == (session.metadata.id, agent.metadata.id)
    context = await client.contexts.create(execution=run, data={"TZ": {"value": "UTC"}})
    assert context.spec
    assert run.metadata
    assert context.spec.execution_id == run.metadata.id


async def test_a_reference_is_given_once(client: stigmer.Client) -> None:
    with pytest.raises(TypeError, match="give agent or agent_id, not both"):
        await client.executions.create(agent="x", agent_id="agt-1", message="Hello")
    with pytest.raises(stigmer.InvalidArgument, match=r"spec\.agent_id: must be a resource, its id or 'org/slug'"):
        await client.executions.create(agent=ApiResourceReference(), message="Hello")  # type: ignore[arg-type]


async def test_a_resource_of_another_kind_is_none(client: stigmer.Client) -> None:
    agent = await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
    other: Any = agent
    with pytest.raises(
        stigmer.InvalidArgument, match=r"spec\.agent_instance_id: must be of kind AgentInstance, not Agent"
    ):
        await client.sessions.create(agent_instance=other)
    with pytest.raises(stigmer.InvalidArgument, match=r"spec\.environment_refs\[0\]: must be a reference"):
        await client.instances.create(name="i", agent=agent, environment_refs=[other])
    for call in (client.environments.get, client.environments.delete):
        with pytest.raises(TypeError, match="want one of kind Environment"):
            await call(other)
    with pytest.raises(stigmer.InvalidArgument, match="name the Agent by its id"):
        await client.agents.get(Agent())
    unnamed: Any = Session()
    with pytest.raises(stigmer.InvalidArgument, match=r"spec\.session_id: must be a resource"):
        await client.executions.create(session=unnamed, message="Hello")
    assert "Agents" in repr(client.agents)
    with pytest.raises(stigmer.InvalidArgument, match=r"spec\.data: must be a dict"):
        await client.environments.create(name="Prod", data=other)


async def test_what_needs_no_name_is_given_one(client: stigmer.Client) -> None:
    agent = await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
    assert agent.status
    session = await client.sessions.create(agent_instance=agent.status.default_instance_id)
    run = await client.executions.create(session=session, message="Hello")
    context = await client.contexts.create(execution="run-7", data={"TZ": "UTC"})
    made = [one.metadata.name for one in (session, run, context) if one.metadata]
    for name, stem in zip(made, ("session", "run", "context"), strict=True):
        assert re.fullmatch(f"{stem}-{ULID}", name), name
    assert session.metadata
    assert run.metadata
    assert session.metadata.owner_scope is ApiResourceOwnerScope.organization
    assert run.metadata.owner_scope is ApiResourceOwnerScope.api_resource_owner_scope_unspecified
    with pytest.raises(stigmer.InvalidArgument, match=r"metadata\.name"):
        await client.agents.create(instructions=INSTRUCTIONS)


async def test_the_organization_goes_to_what_can_have_one(client: stigmer.Client) -> None:
    everybodys = await client.agents.create(name="a", owner_scope="platform", instructions=INSTRUCTIONS)
    mine = await client.environments.create(name="b", owner_scope="identity_account")
    theirs = await client.environments.create(name="c", org="globex")
    found = [one.metadata.org for one in (everybodys, mine, theirs) if one.metadata]
    assert found == ["", "", "globex"]


async def test_an_update_of_what_was_read_fails_where_somebody_was_faster(client: stigmer.Client) -> None:
    agent = await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
    changed = await client.agents.update(agent, description="first")
    assert changed.spec
    assert (changed.spec.description, changed.spec.instructions) == ("first", INSTRUCTIONS)
    with pytest.raises(stigmer.VersionMismatch) as caught:
        await client.agents.update(agent, description="second")
    assert (caught.value.code.name, caught.value.reason, caught.value.retryable) == (
        "ABORTED",
        "VERSION_MISMATCH",
        False,
    )


async def test_an_update_by_name_changes_what_it_names_alone(client: stigmer.Client) -> None:
    await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS, description="a", tags=["x"])
    changed = await client.agents.update("acme/reviewer", description="")
    assert changed.spec
    assert changed.metadata
    assert (changed.spec.description, changed.spec.instructions, changed.metadata.tags) == ("", INSTRUCTIONS, ["x"])


async def test_a_value_may_be_given_as_its_text_alone(client: stigmer.Client) -> None:
    made = await client.environments.create(
        name="Prod", data={"A": "1", "B": {"value": "2", "is_secret": True}, "C": EnvironmentValue(value="3")}
    )
    assert made.spec
    assert {name: (one.value, one.is_secret) for name, one in made.spec.data.items()} == {
        "A": ("1", False),
        "B": ("2", True),
        "C": ("3", False),
    }


async def test_every_fault_of_plain_values_is_named(client: stigmer.Client) -> None:
    wrong: Any = {
        "mcp_servers": [{"name": "x", "htpp": {}}, {"name": "y", "http": {"uri": "z"}}],
        "sub_agents": {},
        "env_spec": 3,
        "skill_refs": [3],
    }
    with pytest.raises(stigmer.InvalidArgument) as caught:
        await client.agents.create(name="Reviewer", **wrong)
    assert {one.field: one.description for one in caught.value.violations} == {
        "spec.mcp_servers[0].htpp": "is no field here; did you mean 'http'?",
        "spec.sub_agents": "must be a list",
        "spec.env_spec": "must be of type EnvironmentSpec, or a dict",
        "spec.skill_refs[0]": "must be a reference: 'org/slug', a resource that has a slug, or a dict",
    }
    for scope in ("organisation", "x"):
        with pytest.raises(stigmer.InvalidArgument, match=r"metadata\.owner_scope: .* is none of its values; "):
            await client.agents.create(name="R", owner_scope=scope, instructions=INSTRUCTIONS)  # type: ignore[arg-type]


async def test_a_value_that_the_wire_cannot_hold_is_refused_like_any_other(client: stigmer.Client) -> None:
    wrong: Any = 3
    with pytest.raises(stigmer.InvalidArgument) as caught:
        await client.agents.create(name="Reviewer", instructions=wrong)
    assert [one.field for one in caught.value.violations] == ["spec.instructions"]


async def test_further_methods_take_keywords_too(client: stigmer.Client) -> None:
    agent = await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
    run = await client.executions.create(
        agent=agent, message="Hello", runtime_env={"KEY": {"value": "s", "is_secret": True}}
    )
    told = await client.executions.update_status(
        execution=run,
        status={
            "phase": "EXECUTION_IN_PROGRESS",
            "messages": [{"type": "MESSAGE_AI", "content": "Well.", "metadata": {"n": 1}}],
            "todos": {"t": {"id": "t", "content": "think"}},
        },
    )
    assert told.status
    assert told.status.phase.name == "EXECUTION_IN_PROGRESS"
    assert told.status.messages[0].content == "Well."
    context = await client.contexts.get_by_execution_id(execution=run)
    rotated = await client.contexts.rotate(
        resource_id=context.metadata.id if context.metadata else "", key="KEY", value="new"
    )
    assert rotated.spec
    assert rotated.spec.data["KEY"].value == "new"
    instances = await client.instances.get_by_agent(agent=agent)
    assert instances.total_count == 1
    assert (await client.caller.whoami()).name == "local"
    assert (await client.caller.can_i(permission="can_edit", kind="agent")).allowed


@pytest.mark.parametrize("kind", ["agent", "agent_instance", "session", "environment", "execution_context"])
async def test_the_messages_of_every_kind_are_taken(client: stigmer.Client, kind: str) -> None:
    names = {"agent_instance": "instances", "execution_context": "contexts"}
    of_kind: Any = getattr(client, names.get(kind, f"{kind}s"))
    made = await of_kind.create(getattr(samples, kind)())
    assert await of_kind.get(made) == made
    assert await of_kind.get(made.metadata.id) == made
    await of_kind.delete(made)
    with pytest.raises(stigmer.NotFound):
        await of_kind.get(made)
