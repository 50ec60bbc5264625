"""What reports add up to, what the server names itself, and what was stored under other limits (issue 5, part 3)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import samples
from conformance import invalid, refused
from conformance_plane import Plane
from grpclib.const import Status

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentMessage, ToolCall
from stigmer.app import assembly
from stigmer.pipeline.runtime import Sizes
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from stigmer.app.assembly import App

LONGEST = "x" * 1_000


@asynccontextmanager
async def limited(directory: Path, **sizes: int) -> AsyncGenerator[Plane]:
    """A control plane with limits of its own."""
    async with SqliteStore(directory) as store:
        yield Plane(assembly.assemble(store, sizes=Sizes(**sizes)))


async def test_reports_add_up_to_so_many_parts_and_no_more(tmp_path: Path) -> None:
    async with limited(tmp_path, max_message_parts=200) as plane:
        id_ = (await plane.execution()).metadata.id
        content = "x" * 10
        await plane.report(id_, messages=[AgentMessage(content=content)] * 150)
        error = await refused(plane.report(id_, tool_calls=[ToolCall(id=content)] * 150), Status.RESOURCE_EXHAUSTED)
        assert "more than 200 parts" in (error.message or "")
        after = await plane.report(id_, error="still reported")
        assert (len(after.status.messages), after.status.tool_calls) == (150, [])
        fewer = await plane.report(id_, messages=[AgentMessage()], tool_calls=[ToolCall(id=content)] * 150)
        assert (len(fewer.status.messages), len(fewer.status.tool_calls)) == (1, 150)


async def test_reports_add_up_to_so_many_bytes_and_no_more(tmp_path: Path) -> None:
    async with limited(tmp_path, max_row_bytes=10_000) as plane:
        id_ = (await plane.execution()).metadata.id
        await plane.report(id_, messages=[AgentMessage(content="x" * 6_000)])
        error = await refused(plane.report(id_, error="x" * 6_000), Status.RESOURCE_EXHAUSTED)
        assert f"AgentExecution {id_} would have more than 10000 bytes" in (error.message or "")
        assert (await plane.report(id_, error="short")).status.error == "short"


async def test_a_row_from_before_the_limits_is_read_reported_to_made_smaller_and_deleted(tmp_path: Path) -> None:
    async with limited(tmp_path) as plane:
        id_ = (await plane.execution()).metadata.id
        before = await plane.report(id_, messages=[AgentMessage(content="x" * 100)] * 300, error="too much")
    async with limited(tmp_path, max_message_parts=100, max_row_bytes=10_000) as plane:
        assert (await plane.executions.get(id_)).status.messages == before.status.messages
        assert (await plane.report(id_, error="less")).status.error == "less"
        assert [len(state.status.messages) async for state in first(plane, id_)] == [300]
        assert len((await plane.report(id_, messages=[AgentMessage()])).status.messages) == 1
        await plane.executions.delete(id_)


async def first(plane: Plane, id_: str) -> AsyncGenerator[Any]:
    states = plane.follow(id_)
    yield await anext(states)
    await states.aclose()  # type: ignore[attr-defined]  # a generator


async def test_what_is_named_after_the_longest_name_is_made(app: App) -> None:
    """The default instance of an agent, also where its slug is taken, and the session of its execution."""
    plane = Plane(app)
    taken = samples.agent_instance(name="y", slug=f"{LONGEST}-default")
    await plane.instances.create(taken)
    agent = await plane.agents.create(samples.agent(name=LONGEST))
    instance = await plane.instances.get(agent.status.default_instance_id)
    assert (instance.metadata.name, instance.metadata.slug) == (f"{LONGEST}-default", f"{LONGEST}-default-2")
    run = await plane.run(agent_id=agent.metadata.id)
    assert run.spec.session_id
    await invalid(plane.agents.create(samples.agent(name=f"{LONGEST}x")), "metadata.name")


async def test_a_resource_named_before_the_limits_is_read_updated_to_them_and_deleted(app: App) -> None:
    plane = Plane(app)
    agent = await plane.agent()
    row = await app.store.get("Agent", agent.metadata.id)
    assert row is not None
    await rename(app, row, "x" * 5_000)
    assert (await plane.agents.get(agent.metadata.id)).metadata.name == "x" * 5_000
    changed = await plane.agents.get(agent.metadata.id)
    await invalid(plane.agents.update(changed), "metadata.name")
    changed.metadata.name = "short"
    assert (await plane.agents.update(changed)).metadata.name == "short"
    row = await app.store.get("Agent", agent.metadata.id)
    await rename(app, row, "x" * 5_000)
    await plane.agents.delete(agent.metadata.id)


async def rename(app: App, row: Any, name: str) -> None:
    from stigmer.handlers.agent import HANDLER
    from stigmer.store.changes import Changes, Put

    resource: Any = HANDLER.kind.resource_of(row)
    resource.metadata.name = name
    await app.store.commit(Changes(puts=[Put(HANDLER.kind.row_of(resource, row.owner, based_on=row), row.revision)]))
