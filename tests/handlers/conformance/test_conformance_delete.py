"""delete, for every kind, and what goes with a resource."""

from __future__ import annotations

from typing import Any

import pytest
import samples
from conformance import Resources, missing
from conformance_facts import AGENT, AGENT_EXECUTION, AGENT_INSTANCE, EXECUTION_CONTEXT, SESSION

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceDeleteInput


async def test_delete_answers_what_it_deleted(kind: Resources) -> None:
    made = await kind.created()
    assert await kind.delete(made.metadata.id) == made
    await missing(kind.get(made.metadata.id), kind.facts.name, made.metadata.id)
    await missing(kind.delete(made.metadata.id), kind.facts.name, made.metadata.id)


async def test_the_slug_of_a_deleted_resource_is_free_again(slugged: Resources) -> None:
    made = await slugged.created()
    await slugged.delete(made.metadata.id)
    again = await slugged.created(name=made.metadata.name)
    assert again.metadata.slug == made.metadata.slug
    assert again.metadata.id != made.metadata.id


async def test_delete_leaves_the_others(kind: Resources) -> None:
    made, other = await kind.created(), await kind.created()
    await kind.delete(made.metadata.id)
    assert await kind.get(other.metadata.id) == other


@pytest.mark.parametrize("force", [False, True])
async def test_delete_takes_a_reason_and_force(channel: Any, force: bool) -> None:
    contexts = Resources(EXECUTION_CONTEXT, channel)
    made = await contexts.created()
    request = ApiResourceDeleteInput(resource_id=made.metadata.id, version_message="Done", force=force)
    assert await contexts.commands.delete(request) == made


class World:
    """An agent with two instances, a session on each, two executions in each, two contexts for each."""

    def __init__(self, channel: Any) -> None:
        self.of = {
            facts.name: Resources(facts, channel)
            for facts in (AGENT, AGENT_INSTANCE, SESSION, AGENT_EXECUTION, EXECUTION_CONTEXT)
        }
        self.ids: dict[str, list[str]] = {name: [] for name in self.of}

    async def make(self, kind: str, *references: str) -> str:
        resources = self.of[kind]
        made = await resources.create(resources.facts.make(*references))
        self.ids[kind].append(made.metadata.id)
        if kind == "Agent":
            self.ids["AgentInstance"].append(made.status.default_instance_id)
        return str(made.metadata.id)

    async def fill(self) -> None:
        agent = await self.make("Agent")
        await self.make("AgentInstance", agent)
        for instance in self.ids["AgentInstance"]:
            session = await self.make("Session", instance)
            for _ in range(2):
                execution = await self.make("AgentExecution", session)
                for _ in range(2):
                    await self.make("ExecutionContext", execution)

    async def gone(self) -> dict[str, list[int]]:
        """The indexes of what is no longer there."""
        return {kind: found for kind in self.of if (found := [i async for i in self._gone(kind)])}

    async def _gone(self, kind: str) -> Any:
        for index, id_ in enumerate(self.ids[kind]):
            try:
                await self.of[kind].get(id_)
            except Exception as error:  # noqa: BLE001 - the message is what is asserted
                assert str(getattr(error, "message", "")) == f"{kind} not found: {id_}"  # noqa: PT017 - as above
                yield index


CASCADES = [
    ("Agent", {"Agent": [0], "AgentInstance": [0]}),
    ("AgentInstance", {"AgentInstance": [0]}),
    ("Session", {"Session": [0], "AgentExecution": [0, 1], "ExecutionContext": [0, 1, 2, 3]}),
    ("AgentExecution", {"AgentExecution": [0], "ExecutionContext": [0, 1]}),
    ("ExecutionContext", {"ExecutionContext": [0]}),
]


@pytest.mark.parametrize(("kind", "gone"), CASCADES)
async def test_what_goes_with_a_resource(kind: str, gone: dict[str, list[int]], channel: Any) -> None:
    world = World(channel)
    await world.fill()
    await world.of[kind].delete(world.ids[kind][0])
    assert await world.gone() == gone


async def test_an_agent_whose_default_instance_is_gone_can_be_deleted(channel: Any) -> None:
    world = World(channel)
    agent = await world.make("Agent")
    await world.of["AgentInstance"].delete(world.ids["AgentInstance"][0])
    await world.of["Agent"].delete(agent)
    assert await world.gone() == {"Agent": [0], "AgentInstance": [0]}


async def test_a_context_of_an_execution_that_is_not_there_may_be_made_and_deleted(channel: Any) -> None:
    contexts = Resources(EXECUTION_CONTEXT, channel)
    made = await contexts.create(contexts.facts.make(samples.unique("wex")))
    assert await contexts.delete(made.metadata.id) == made
