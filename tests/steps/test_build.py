"""BuildNewState, BuildUpdateState, BuildNewStateWithStatus, SetInitialPhase, Persist."""

from __future__ import annotations

from typing import Any

import pytest
import samples
from conformance import is_id
from conformance_bench import ACTOR, ONCE, Bench, is_idle, staged

from stigmer._gen.ai.stigmer.agentic.agent.v1 import AgentStatus
from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecutionStatus,
    AgentExecutionUpdateStatusInput,
    ExecutionPhase,
)
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadataVersion as Version
from stigmer.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument
from stigmer.steps.build_new_state import BuildNewState
from stigmer.steps.build_new_state_with_status import BuildNewStateWithStatus
from stigmer.steps.build_update_state import BuildUpdateState
from stigmer.steps.persist import Persist
from stigmer.steps.set_initial_phase import SetInitialPhase
from stigmer.wire import codec


async def test_build_new_state_gives_what_the_server_owns(bench: Bench) -> None:
    request = samples.agent(version=Version(id="mine", message="first"))
    request.status = AgentStatus(default_instance_id="forged")
    before = codec.encode(request)
    ctx = bench.context("Agent", "create", request, slug="the-slug")
    await BuildNewState()(ctx)
    state: Any = ctx.new_state
    assert is_id(state.metadata.id, "agt")
    assert ctx.call.resource_id == state.metadata.id
    assert state.metadata.slug == "the-slug"
    assert is_id(state.metadata.version.id, "ver")
    assert (state.metadata.version.message, state.metadata.version.previous_version_id) == ("first", "")
    assert state.status.default_instance_id == ""
    assert state.status.audit.spec_audit == state.status.audit.status_audit
    assert state.status.audit.spec_audit.created_by.id == ACTOR
    assert codec.encode(request) == before
    assert is_idle(ctx)


async def test_build_new_state_keeps_a_free_id_and_refuses_any_other(bench: Bench) -> None:
    free = f"agt-{samples.NOBODY}"
    ctx = bench.context("Agent", "create", samples.agent(id=free), slug="s")
    await BuildNewState()(ctx)
    assert ctx.call.resource_id == free
    await bench.keep(samples.agent(id=free))
    with pytest.raises(AlreadyExists, match=f"Agent already exists: {free}"):
        await BuildNewState()(bench.context("Agent", "create", samples.agent(id=free), slug="s"))
    with pytest.raises(InvalidArgument, match=r"metadata\.id"):
        await BuildNewState()(bench.context("Agent", "create", samples.agent(id="ses-1"), slug="s"))


async def update(bench: Bench, resource: Any, request: Any, **fields: Any) -> Any:
    row = await bench.keep(resource)
    ctx = bench.context(row.kind, "update", request, row=row, **fields)
    await BuildUpdateState()(ctx)
    assert is_idle(ctx)
    return ctx.new_state


async def test_build_update_state_replaces_and_keeps(bench: Bench) -> None:
    made = samples.environment(org="acme", labels={"a": "1"})
    request = samples.environment(
        name="new", slug="other", org="globex", id="other", tags=["t"], version=Version(message="m")
    )
    state = await update(bench, made, request)
    metadata = state.metadata
    assert (metadata.name, metadata.labels, metadata.tags) == ("new", {}, ["t"])
    assert (metadata.id, metadata.slug, metadata.org) == (made.metadata.id, made.metadata.slug, "acme")
    assert (metadata.version.message, metadata.version.previous_version_id) == ("m", "ver-1")
    assert is_id(metadata.version.id, "ver")
    spec_audit, status_audit = state.status.audit.spec_audit, state.status.audit.status_audit
    assert (spec_audit.created_by.id, spec_audit.created_at) == ("ida-maker", ONCE)
    assert (spec_audit.updated_by.id, spec_audit.event) == (ACTOR, "updated")
    assert spec_audit.updated_at > ONCE
    assert (status_audit.updated_by.id, status_audit.updated_at) == ("ida-maker", ONCE)


@pytest.mark.parametrize("sent", ["", "ver-1"])
async def test_build_update_state_passes_no_version_and_the_current_one(bench: Bench, sent: str) -> None:
    state = await update(bench, samples.environment(), samples.environment(version=Version(id=sent)))
    assert state.metadata.version.previous_version_id == "ver-1"


async def test_build_update_state_refuses_a_stale_version_unless_applying(bench: Bench) -> None:
    request = samples.environment(version=Version(id="ver-0"))
    with pytest.raises(Aborted, match="is at version ver-1, not ver-0"):
        await update(bench, samples.environment(), request)
    state = await update(bench, samples.environment(), request, applying=True)
    assert state.metadata.version.previous_version_id == "ver-1"


async def test_build_update_state_keeps_fixed_fields_and_names_each_that_changed(bench: Bench) -> None:
    state = await update(bench, samples.agent_execution("ses-1", "agt-1"), samples.agent_execution("", "agt-1"))
    assert (state.spec.session_id, state.spec.agent_id) == ("ses-1", "agt-1")
    with pytest.raises(InvalidArgument) as error:
        await update(bench, samples.agent_execution("ses-1", "agt-1"), samples.agent_execution("ses-2", "agt-2"))
    assert [violation.field for violation in error.value.violations] == ["spec.session_id", "spec.agent_id"]


async def merged(bench: Bench, before: dict[str, Any], **reported: Any) -> Any:
    row = await bench.keep(samples.agent_execution("ses-1"), **before)
    request = AgentExecutionUpdateStatusInput(execution_id=row.id, status=AgentExecutionStatus(**reported))
    ctx = bench.context("AgentExecution", "updateStatus", request, row=row, resource_id=row.id)
    await BuildNewStateWithStatus()(ctx)
    assert is_idle(ctx)
    assert ctx.new_state is not None
    assert ctx.new_state.metadata == bench.resource(row).metadata
    return ctx.new_state.status


async def test_build_new_state_with_status_merges_and_stamps(bench: Bench) -> None:
    status = await merged(bench, {"error": "old", "started_at": "then"}, error="new", callback_token=b"t")
    assert (status.error, status.started_at, status.callback_token) == ("new", "then", b"t")
    assert (status.audit.status_audit.updated_by.id, status.audit.status_audit.event) == (ACTOR, "updated")
    assert status.audit.status_audit.created_by.id == "ida-maker"
    assert status.audit.spec_audit.updated_at == ONCE


async def test_build_new_state_with_status_does_not_leave_a_terminal_phase(bench: Bench) -> None:
    done = {"phase": ExecutionPhase.EXECUTION_COMPLETED}
    for phase in (ExecutionPhase.EXECUTION_COMPLETED, ExecutionPhase.EXECUTION_PHASE_UNSPECIFIED):
        assert (await merged(bench, done, phase=phase, error="e")).phase == ExecutionPhase.EXECUTION_COMPLETED
    with pytest.raises(FailedPrecondition, match="has ended with EXECUTION_COMPLETED"):
        await merged(bench, done, phase=ExecutionPhase.EXECUTION_FAILED)


async def test_set_initial_phase_sets_pending(bench: Bench) -> None:
    ctx = bench.context("AgentExecution", "create", samples.agent_execution("ses-1"), slug="s")
    await BuildNewState()(ctx)
    await SetInitialPhase()(ctx)
    assert ctx.new_state is not None
    assert ctx.new_state.status.phase == ExecutionPhase.EXECUTION_PENDING


async def test_persist_stages_a_new_row_and_answers_with_its_bytes(bench: Bench) -> None:
    ctx = bench.context("Session", "create", samples.session("ain-1", tags=["t", "t"], org="acme"), slug="s")
    await BuildNewState()(ctx)
    await Persist()(ctx)
    (put,) = staged(ctx).puts
    row = put.row
    assert (put.expected, row.kind, row.namespace, row.slug, row.created_by) == (0, "Session", "acme", "s", ACTOR)
    keys = (("spec.agent_instance_id", "ain-1"), ("metadata.tags", "t"), ("metadata.org", "acme"))
    assert row.keys == keys
    assert ctx.reply is not None
    assert codec.decode(type(samples.session()), row.data) == ctx.new_state
    assert getattr(ctx.reply, "data", b"") == row.data


async def test_persist_replaces_the_row_that_was_loaded_at_its_revision(bench: Bench) -> None:
    row = await bench.keep(samples.session("ain-1", tags=["old"]))
    request = samples.session("ain-1", tags=["new"])
    ctx = bench.context("Session", "update", request, row=row)
    await BuildUpdateState()(ctx)
    await Persist()(ctx)
    (put,) = staged(ctx).puts
    assert put.expected == row.revision > 0
    assert (put.row.id, put.row.sequence, put.row.created_by) == (row.id, row.sequence, "ida-maker")
    assert ("metadata.tags", "new") in (put.row.keys or ())
    assert ("metadata.tags", "old") not in (put.row.keys or ())


async def test_rows_of_executions_and_contexts_hold_what_they_are_reached_by(bench: Bench) -> None:
    execution = await bench.keep(samples.agent_execution("ses-1"), phase=ExecutionPhase.EXECUTION_FAILED)
    context = await bench.keep(samples.execution_context(org="acme"))
    assert execution.slug is None
    assert (context.namespace, context.slug is not None) == ("", True)
    keys = bench.kinds["AgentExecution"].row_of(bench.resource(execution), execution.owner).keys
    assert keys == (("spec.session_id", "ses-1"), ("status.phase", "4"))
