"""ExtractResourceId, LoadExistingForDelete, DeleteResource."""

from __future__ import annotations

from typing import Any

import pytest
import samples
from conformance_bench import Bench, is_idle, staged

from stigmer._gen.ai.stigmer.agentic.agent.v1 import AgentId
from stigmer._gen.ai.stigmer.agentic.session.v1 import SessionId
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceDeleteInput, ApiResourceId
from stigmer.errors import NotFound
from stigmer.steps.delete import DeleteResource, ExtractResourceId, LoadExistingForDelete
from stigmer.store.changes import Cascade, Dependent, Remove

CONTEXTS = Dependent("ExecutionContext", "spec.execution_id", records=("made_contexts",))
EXECUTIONS = Dependent("AgentExecution", "spec.session_id", (CONTEXTS,), ("runtime_env_keys",))
REQUESTS = [
    ("Agent", AgentId(value="x")),
    ("AgentExecution", ApiResourceId(value="x")),
    ("Environment", ApiResourceDeleteInput(resource_id="x")),
]


@pytest.mark.parametrize(("kind", "request_"), REQUESTS)
async def test_extract_resource_id_takes_the_id_of_either_form(bench: Bench, kind: str, request_: Any) -> None:
    ctx = bench.context(kind, "delete", request_)
    await ExtractResourceId()(ctx)
    assert ctx.call.resource_id == "x"
    assert is_idle(ctx)


async def test_load_existing_for_delete_answers_with_what_is_there(bench: Bench) -> None:
    row = await bench.keep(samples.agent())
    ctx = bench.context("Agent", "delete", AgentId(value=row.id), resource_id=row.id)
    await LoadExistingForDelete()(ctx)
    assert ctx.row == row
    assert getattr(ctx.reply, "data", b"") == row.data
    assert is_idle(ctx)


async def test_load_existing_for_delete_refuses_what_is_not_there(bench: Bench) -> None:
    with pytest.raises(NotFound, match="Agent not found: banana"):
        await LoadExistingForDelete()(bench.context("Agent", "delete", AgentId(value="x"), resource_id="banana"))


async def test_delete_resource_stages_the_row_at_its_revision_and_its_dependents(bench: Bench) -> None:
    row = await bench.keep(samples.session())
    execution = await bench.keep(samples.agent_execution(row.id))
    context = await bench.keep(samples.execution_context(execution.id))
    other = await bench.keep(samples.agent_execution("ses-other"))
    ctx = bench.context("Session", "delete", SessionId(value=row.id), row=row)
    await DeleteResource()(ctx)
    assert await ctx.tx.get("AgentExecution", execution.id) is None
    assert await ctx.tx.get("ExecutionContext", context.id) is None
    assert await ctx.tx.get("AgentExecution", other.id) == other
    changes = staged(ctx)
    assert Remove("Session", row.id, row.revision) in changes.removes
    assert Cascade(EXECUTIONS, row.id) in changes.cascades


async def test_delete_resource_takes_what_a_status_field_names(bench: Bench) -> None:
    instance = await bench.keep(samples.agent_instance())
    row = await bench.keep(samples.agent(), default_instance_id=instance.id)
    ctx = bench.context("Agent", "delete", AgentId(value=row.id), row=row)
    await DeleteResource(also_kind="AgentInstance", also_status_id="default_instance_id")(ctx)
    assert await ctx.tx.get("AgentInstance", instance.id) is None
    removes = staged(ctx).removes
    assert set(removes) == {Remove(one.kind, one.id, one.revision) for one in (row, instance)}


async def test_delete_resource_goes_on_where_the_status_field_is_empty(bench: Bench) -> None:
    row = await bench.keep(samples.agent())
    ctx = bench.context("Agent", "delete", AgentId(value=row.id), row=row)
    await DeleteResource(also_kind="AgentInstance", also_status_id="default_instance_id")(ctx)
    assert staged(ctx).removes == [Remove("Agent", row.id, row.revision)]
