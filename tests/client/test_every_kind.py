"""What is generated for each kind does what it says, by both clients; the dicts have the fields of their messages."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
import samples
from markdown_text import document, table

import stigmer
import stigmer.app
import stigmer.sync
from stigmer import types
from stigmer.client import dicts
from stigmer.client.options import Options

OF = {
    "agents": samples.agent,
    "instances": samples.agent_instance,
    "sessions": samples.session,
    "executions": samples.agent_execution,
    "environments": samples.environment,
    "contexts": samples.execution_context,
}


async def made_for(kind: str, client: stigmer.Client) -> Any:
    """A resource to be made; an execution needs an agent."""
    if kind != "executions":
        return OF[kind](tags=["here"])
    agent = await client.agents.create(samples.agent())
    assert agent.metadata
    return samples.agent_execution(agent_id=agent.metadata.id, tags=["here"])


@pytest.mark.parametrize("kind", OF)
async def test_a_kind_is_made_found_listed_changed_and_deleted(kind: str, client: stigmer.Client) -> None:
    resource, kinds = await made_for(kind, client), getattr(client, kind)
    made = await kinds.create(resource)
    assert await kinds.get(made) == made
    assert [one.metadata.id async for one in kinds.list(tags=["here"])] == [made.metadata.id]
    if hasattr(kinds, "update"):
        changed = await kinds.update(made, labels={"a": "b"})
        assert [one.metadata.id async for one in kinds.list(label_selector="a=b")] == [changed.metadata.id]
    if hasattr(kinds, "apply") and hasattr(kinds, "update"):
        assert (await kinds.apply(made)).metadata.id == made.metadata.id
    await kinds.delete(made)
    assert await kinds.get(made, default=None) is None


@pytest.mark.parametrize("kind", OF)
async def test_a_kind_does_the_same_without_a_loop(kind: str) -> None:
    async with stigmer.embedded(":memory:") as plane, plane.listen("127.0.0.1:0") as server:
        resource = await made_for(kind, plane.client)

        def at_leisure() -> None:
            with stigmer.sync.Client(server.listens_on, timeout_s=60) as client:
                kinds: Any = getattr(client, kind)
                made = kinds.create(resource)
                assert kinds.get(made) == made
                assert [one.metadata.id for one in kinds.list(tags=["here"])] == [made.metadata.id]
                if hasattr(kinds, "update"):
                    assert kinds.update(made, labels={"a": "b"}).metadata.labels == {"a": "b"}
                kinds.delete(made)
                with pytest.raises(stigmer.NotFound):
                    kinds.get(made)

        await asyncio.to_thread(at_leisure)


def test_the_dicts_have_the_fields_of_their_messages() -> None:
    found = [name for name in vars(dicts) if name.endswith("Dict") and name != "TypedDict"]
    assert {"AgentExecutionStatusDict", "McpServerDefinitionDict", "EnvironmentValueDict"} <= set(found)
    for name in found:
        message = getattr(types, name.removesuffix("Dict"))
        assert set(getattr(dicts, name).__annotations__) == {one.name for one in dataclasses.fields(message)}, name


def test_the_names_of_enums_are_theirs() -> None:
    names = [name for name in vars(dicts) if name.endswith("Name") and not name.startswith("_")]
    assert "ExecutionPhaseName" in names
    for name in names:
        assert set(getattr(dicts, name).__args__) == set(getattr(types, name.removesuffix("Name")).__members__), name


def test_the_page_says_the_options_and_their_defaults() -> None:
    told = {row["option"].strip("`"): row["default"] for row in table(document("docs/client.md"), "option")}
    kept = {one.name: getattr(Options(), one.name) for one in dataclasses.fields(Options)}
    assert told == {name: f"{value:g}" if isinstance(value, int | float) else "" for name, value in kept.items()} | {
        "dry_run": "False"
    }
