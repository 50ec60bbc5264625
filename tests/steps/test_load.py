"""LoadTarget, LoadByReference, LoadByExecutionId, LoadExisting, LoadForApply and ThenCreate."""

from __future__ import annotations

from typing import Any

import pytest
import samples
from conformance_bench import Bench, is_idle, required, staged

from stigmer._gen.ai.stigmer.agentic.agent.v1 import AgentId
from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecutionStatus, AgentExecutionUpdateStatusInput
from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import ExecutionContextExecutionIdInput
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
from stigmer._gen.ai.stigmer.commons.apiresource.apiresourcekind import ApiResourceKind
from stigmer.errors import AlreadyExists, InvalidArgument, NotFound
from stigmer.steps.load_by_execution_id import LoadByExecutionId
from stigmer.steps.load_by_reference import LoadByReference
from stigmer.steps.load_existing import LoadExisting
from stigmer.steps.load_for_apply import LoadForApply, ThenCreate
from stigmer.steps.load_target import LoadTarget


def data(ctx: Any) -> bytes:
    assert ctx.reply is not None
    return bytes(ctx.reply.data)


async def test_load_target_answers_with_the_stored_bytes(bench: Bench) -> None:
    row = await bench.keep(samples.agent())
    ctx = bench.context("Agent", "get", AgentId(value=row.id))
    await LoadTarget()(ctx)
    assert ctx.row == row
    assert ctx.call.resource_id == row.id
    assert data(ctx) == row.data
    assert is_idle(ctx)


async def test_load_target_notes_the_id_even_of_what_is_not_there(bench: Bench) -> None:
    ctx = bench.context("Agent", "get", AgentId(value="banana"))
    with pytest.raises(NotFound, match="Agent not found: banana"):
        await LoadTarget()(ctx)
    assert ctx.call.resource_id == "banana"


async def reference(bench: Bench, slug: str, org: str = "", kind: int = 0) -> str:
    request = ApiResourceReference(slug=slug, org=org, kind=ApiResourceKind(kind))
    ctx = bench.context("Environment", "getByReference", request)
    await LoadByReference()(ctx)
    assert is_idle(ctx)
    assert ctx.row is not None
    assert (data(ctx), ctx.call.resource_id) == (ctx.row.data, ctx.row.id)
    return ctx.row.id


async def test_load_by_reference_prefers_the_org_that_is_named_then_none_then_the_only_one(bench: Bench) -> None:
    in_acme = await bench.keep(samples.environment(name="e", org="acme"))
    assert await reference(bench, "e") == in_acme.id
    in_globex = await bench.keep(samples.environment(name="e", org="globex"))
    with pytest.raises(InvalidArgument, match="org: is needed"):
        await reference(bench, "e")
    in_none = await bench.keep(samples.environment(name="e"))
    assert await reference(bench, "e") == in_none.id
    assert await reference(bench, "e", "acme") == in_acme.id
    assert await reference(bench, "e", "globex", kind=ApiResourceKind.environment) == in_globex.id


async def test_load_by_reference_refuses_every_broken_field_and_what_is_not_there(bench: Bench) -> None:
    with pytest.raises(InvalidArgument) as error:
        await reference(bench, "", kind=ApiResourceKind.agent)
    assert [violation.field for violation in error.value.violations] == ["kind", "slug"]
    with pytest.raises(NotFound, match="Environment with slug 'x' not found in org 'acme'"):
        await reference(bench, "x", "acme")
    with pytest.raises(NotFound, match=r"Environment with slug 'x' not found$"):
        await reference(bench, "x")


async def test_load_by_execution_id_gives_the_newest(bench: Bench) -> None:
    await bench.keep(samples.execution_context("aex-1"))
    newest = await bench.keep(samples.execution_context("aex-1"))
    await bench.keep(samples.execution_context("aex-2"))
    ctx = bench.context("ExecutionContext", "getByExecutionId", ExecutionContextExecutionIdInput(execution_id="aex-1"))
    await LoadByExecutionId()(ctx)
    assert ctx.row is not None
    assert (ctx.row.id, ctx.row.revision) == (newest.id, newest.revision)
    assert (data(ctx), ctx.call.resource_id) == (newest.data, newest.id)
    changes = staged(ctx)
    assert [*changes.uses] == [("ExecutionContext", newest.id)]
    assert required(changes) == {("ExecutionContext", newest.id)}
    assert not any((changes.puts, changes.removes, changes.records))


async def test_load_by_execution_id_refuses_an_execution_without_a_context(bench: Bench) -> None:
    request = ExecutionContextExecutionIdInput(execution_id="aex-1")
    with pytest.raises(NotFound, match="ExecutionContext not found for execution: aex-1"):
        await LoadByExecutionId()(bench.context("ExecutionContext", "getByExecutionId", request))


@pytest.mark.parametrize("by", ["id", "slug"])
async def test_load_existing_finds_by_id_else_by_slug(bench: Bench, by: str) -> None:
    row = await bench.keep(samples.environment(name="e", org="acme"))
    request = samples.environment(org="acme", id=row.id if by == "id" else "")
    ctx = bench.context("Environment", "update", request, slug="other" if by == "id" else "e")
    await LoadExisting()(ctx)
    assert ctx.row == row
    assert ctx.call.resource_id == row.id
    assert is_idle(ctx)


async def test_load_existing_finds_by_a_field_of_the_request(bench: Bench) -> None:
    row = await bench.keep(samples.agent_execution("ses-1"))
    request = AgentExecutionUpdateStatusInput(execution_id=row.id, status=AgentExecutionStatus())
    ctx = bench.context("AgentExecution", "updateStatus", request)
    await LoadExisting(id_field="execution_id")(ctx)
    assert ctx.row == row


async def test_load_existing_refuses_what_is_not_there(bench: Bench) -> None:
    await bench.keep(samples.environment(name="e", org="acme"))
    with pytest.raises(NotFound, match="Environment not found: banana"):
        await LoadExisting()(bench.context("Environment", "update", samples.environment(id="banana"), slug="e"))
    with pytest.raises(NotFound, match="Environment with slug 'e' not found"):
        await LoadExisting()(bench.context("Environment", "update", samples.environment(org="globex"), slug="e"))
    with pytest.raises(InvalidArgument, match=r"metadata\.id: is required"):
        await LoadExisting()(bench.context("AgentExecution", "update", samples.agent_execution("ses-1"), slug="e"))


async def test_load_for_apply_finds_the_holder_of_the_slug(bench: Bench) -> None:
    row = await bench.keep(samples.environment(name="e"))
    for id_ in ("", row.id):
        ctx = bench.context("Environment", "apply", samples.environment(id=id_), slug="e")
        await LoadForApply()(ctx)
        assert ctx.row == row
        assert is_idle(ctx)
    with pytest.raises(InvalidArgument, match=r"metadata\.id: is env-other"):
        await LoadForApply()(bench.context("Environment", "apply", samples.environment(id="env-other"), slug="e"))


async def test_load_for_apply_leaves_the_row_empty_where_the_slug_is_free(bench: Bench) -> None:
    await bench.keep(samples.environment(name="e", org="acme"))
    ctx = bench.context("Environment", "apply", samples.environment(id="env-other"), slug="e")
    await LoadForApply()(ctx)
    assert ctx.row is None


async def test_then_create_creates_where_there_is_no_holder(bench: Bench) -> None:
    ctx = bench.context("Environment", "apply", samples.environment(name="e"), slug="e")
    await ThenCreate(or_else="update")(ctx)
    assert ctx.applying
    (put,) = staged(ctx).puts
    assert (put.expected, put.row.slug, put.row.data) == (0, "e", data(ctx))


async def test_then_create_updates_where_there_is_a_holder(bench: Bench) -> None:
    row = await bench.keep(samples.environment(name="e"))
    ctx = bench.context("Environment", "apply", samples.environment(name="e", tags=["t"]), slug="e", row=row)
    await ThenCreate(or_else="update")(ctx)
    changes = staged(ctx)
    assert [(put.expected, put.row.id) for put in changes.puts] == [(row.revision, row.id)]
    assert required(changes) == set()


async def test_then_create_refuses_a_holder_where_there_is_no_update(bench: Bench) -> None:
    row = await bench.keep(samples.execution_context(name="c"))
    ctx = bench.context("ExecutionContext", "apply", samples.execution_context(name="c"), slug="c", row=row)
    with pytest.raises(AlreadyExists, match=f"ExecutionContext with slug 'c' already exists: {row.id}"):
        await ThenCreate()(ctx)
    assert is_idle(ctx)
