"""An agent's default instance: made with it, made again where it is gone, gone with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import samples
from conformance import Resources, is_id
from conformance_facts import EVERY_SCOPE
from conformance_plane import Plane

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceOwnerScope as Scope

if TYPE_CHECKING:
    from stigmer.app.assembly import App


@pytest.fixture
def plane(app: App) -> Plane:
    return Plane(app)


@pytest.mark.parametrize(("scope", "org"), [(Scope.organization, "acme"), (Scope.platform, "")])
async def test_an_agent_comes_with_a_default_instance(plane: Plane, scope: Scope, org: str) -> None:
    agent = await plane.agent(name="My Agent!", owner_scope=scope, org=org)
    instance = await plane.instances.get(agent.status.default_instance_id)
    metadata = instance.metadata
    assert is_id(metadata.id, "ain")
    assert (metadata.name, metadata.slug) == ("My Agent!-default", "my-agent-default")
    assert (metadata.owner_scope, metadata.org) == (scope, org)
    assert instance.spec.agent_id == agent.metadata.id
    assert instance.spec.description == "Default instance (auto-created, no custom configuration)"
    assert (instance.api_version, instance.kind) == ("agentic.stigmer.ai/v1", "AgentInstance")


async def test_the_slug_of_a_default_instance_follows_the_agents_slug(plane: Plane) -> None:
    agent = await plane.agent(name="Name", slug="given")
    metadata = (await plane.instances.get(agent.status.default_instance_id)).metadata
    assert (metadata.name, metadata.slug) == ("Name-default", "given-default")


async def test_a_slug_that_is_taken_gets_a_number(plane: Plane) -> None:
    for end in ("", "-2"):
        await plane.instances.created(name=f"helper-default{end}", org="acme")
    await plane.instances.created(name="helper-default-3", org="globex")
    agent = await plane.agent(name="helper", org="acme")
    metadata = (await plane.instances.get(agent.status.default_instance_id)).metadata
    assert (metadata.name, metadata.slug) == ("helper-default", "helper-default-3")


async def test_apply_makes_the_default_instance_too_and_only_once(plane: Plane) -> None:
    agent = await plane.agents.apply(samples.agent(name="applied"))
    again = await plane.agents.apply(samples.agent(name="applied"))
    assert again.status.default_instance_id == agent.status.default_instance_id
    assert await plane.ids("AgentInstance") == {agent.status.default_instance_id}


async def test_an_update_of_the_agent_keeps_it(plane: Plane) -> None:
    agent = await plane.agent()
    assert (await plane.agents.update(agent)).status.default_instance_id == agent.status.default_instance_id


@pytest.mark.parametrize("left", ["", f"ain-{samples.NOBODY}"])
async def test_an_execution_makes_a_default_instance_where_there_is_none(plane: Plane, left: str) -> None:
    agent = await plane.agent(name="helper")
    await plane.strip_default_instance(agent, left)
    made = await plane.run(agent_id=agent.metadata.id)
    after = await plane.agents.get(agent.metadata.id)
    instance_id = after.status.default_instance_id
    assert await plane.ids("AgentInstance") == {instance_id}
    assert (await plane.instances.get(instance_id)).metadata.slug == "helper-default"
    assert (await plane.sessions.get(made.spec.session_id)).spec.agent_instance_id == instance_id
    assert after.metadata.version == agent.metadata.version
    assert after.spec == agent.spec


async def test_an_execution_uses_the_default_instance_that_is_there(plane: Plane) -> None:
    agent = await plane.agent()
    await plane.run(agent_id=agent.metadata.id)
    assert await plane.agents.get(agent.metadata.id) == agent
    assert await plane.ids("AgentInstance") == {agent.status.default_instance_id}


async def test_an_execution_in_a_session_makes_none(plane: Plane) -> None:
    agent = await plane.agent()
    session = await plane.session(agent)
    await plane.strip_default_instance(agent)
    await plane.run(session.metadata.id)
    assert await plane.ids("AgentInstance") == set()


async def test_a_refused_agent_leaves_no_instance(plane: Plane) -> None:
    await plane.agent(name="taken", org="acme")
    before = await plane.ids("AgentInstance")
    with pytest.raises(Exception, match="already exists"):
        await plane.agent(name="taken", org="acme")
    assert await plane.ids("AgentInstance") == before


@pytest.mark.parametrize("scope", EVERY_SCOPE)
async def test_instances_of_every_scope_may_be_made_beside_it(plane: Plane, scope: Scope) -> None:
    agent = await plane.agent()
    resources: Resources = plane.instances
    made = await resources.create(samples.agent_instance(agent.metadata.id, owner_scope=scope))
    assert made.metadata.id != agent.status.default_instance_id
