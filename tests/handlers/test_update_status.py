"""AgentExecution.updateStatus: what a worker reports is merged into what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conformance import detail_of, refused
from conformance_plane import CANCELLED, COMPLETED, FAILED, IN_PROGRESS, PENDING, Plane
from google.rpc import error_details_pb2 as rpc
from grpclib.const import Status

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecutionStatus,
    AgentMessage,
    ExecutionPhase,
    MessageType,
    SubAgentExecution,
    TodoItem,
    ToolCall,
)
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceAudit, ApiResourceAuditActor, ApiResourceAuditInfo

if TYPE_CHECKING:
    from stigmer.app.assembly import App

FIRST: dict[str, Any] = {
    "messages": [AgentMessage(type=MessageType.MESSAGE_HUMAN, content="Rain?"), AgentMessage(content="Hm")],
    "phase": IN_PROGRESS,
    "tool_calls": [ToolCall(id="1", name="weather")],
    "sub_agent_executions": [SubAgentExecution(id="s1", name="looker")],
    "error": "none yet",
    "started_at": "2026-01-18T00:00:00Z",
    "completed_at": "2026-01-18T00:01:00Z",
    "todos": {"a": TodoItem(id="a", content="Look"), "b": TodoItem(id="b", content="Tell")},
    "callback_token": b"first",
}
SECOND: dict[str, Any] = {
    "messages": [AgentMessage(content="No rain")],
    "phase": FAILED,
    "tool_calls": [ToolCall(id="2", name="radar"), ToolCall(id="3", name="news")],
    "sub_agent_executions": [SubAgentExecution(id="s2")],
    "error": "too wet",
    "started_at": "2026-01-18T00:00:01Z",
    "completed_at": "2026-01-18T00:02:00Z",
    "todos": {"c": TodoItem(id="c", content="Dance")},
    "callback_token": b"second",
}
TERMINAL = (COMPLETED, FAILED, CANCELLED)


@pytest.fixture
def plane(app: App) -> Plane:
    return Plane(app)


def test_the_matrix_has_every_field_of_the_status() -> None:
    assert set(FIRST) == set(SECOND) == set(AgentExecutionStatus.__dataclass_fields__) - {"audit"}


@pytest.mark.parametrize("field", sorted(FIRST))
async def test_a_field_that_is_set_replaces_and_the_others_stay(plane: Plane, field: str) -> None:
    id_ = (await plane.execution()).metadata.id
    await plane.report(id_, **FIRST)
    await plane.report(id_, **{field: SECOND[field]})
    after = await plane.executions.get(id_)  # the reply to a report shows no token
    assert {name: getattr(after.status, name) for name in FIRST} == {**FIRST, field: SECOND[field]}
    assert await plane.executions.get(id_) == after


@pytest.mark.parametrize("field", sorted(FIRST))
async def test_a_field_can_be_set_where_nothing_was(plane: Plane, field: str) -> None:
    id_ = (await plane.execution()).metadata.id
    await plane.report(id_, **{field: FIRST[field]})
    after = (await plane.executions.get(id_)).status
    empty = AgentExecutionStatus(phase=PENDING)
    assert {name: getattr(after, name) for name in FIRST} == {
        name: FIRST[name] if name == field else getattr(empty, name) for name in FIRST
    }


async def test_an_empty_report_changes_nothing_but_the_audit(plane: Plane) -> None:
    id_ = (await plane.execution()).metadata.id
    before = await plane.report(id_, **FIRST)
    after = await plane.report(id_)
    assert after.status.audit.status_audit.updated_at > before.status.audit.status_audit.updated_at
    before.status.audit = after.status.audit
    assert after == before


async def test_a_report_stamps_the_audit_of_the_status_alone(plane: Plane) -> None:
    made = await plane.execution()
    after = await plane.report(made.metadata.id, error="x")
    before, now = made.status.audit, after.status.audit
    assert now.spec_audit == before.spec_audit
    assert now.status_audit.created_at == before.status_audit.created_at
    assert now.status_audit.created_by == before.status_audit.created_by
    assert now.status_audit.updated_at > before.status_audit.updated_at
    assert (now.status_audit.updated_by.id, now.status_audit.event) == ("local", "updated")


async def test_a_report_makes_no_version_and_touches_neither_metadata_nor_spec(plane: Plane) -> None:
    made = await plane.execution(labels={"a": "1"}, tags=["b"])
    after = await plane.report(made.metadata.id, **FIRST)
    assert (after.metadata, after.spec) == (made.metadata, made.spec)


async def test_a_reported_audit_is_ignored(plane: Plane) -> None:
    made = await plane.execution()
    forged = ApiResourceAuditInfo(created_by=ApiResourceAuditActor(id="mallory"), event="forged")
    audit = ApiResourceAudit(spec_audit=forged, status_audit=forged)
    after = (await plane.report(made.metadata.id, audit=audit)).status.audit
    assert after.spec_audit == made.status.audit.spec_audit
    assert (after.status_audit.created_by.id, after.status_audit.event) == ("local", "updated")


async def test_an_update_of_the_spec_keeps_the_status(plane: Plane) -> None:
    made = await plane.execution()
    await plane.report(made.metadata.id, **FIRST)
    reported = (await plane.executions.get(made.metadata.id)).status
    made.spec.message = "And tomorrow?"
    after = (await plane.executions.update(made)).status
    assert after.audit.status_audit == reported.audit.status_audit
    after.audit = reported.audit
    assert after == reported


@pytest.mark.parametrize("before", TERMINAL)
@pytest.mark.parametrize("after", [phase for phase in ExecutionPhase if phase])
async def test_a_terminal_phase_stays(plane: Plane, before: ExecutionPhase, after: ExecutionPhase) -> None:
    id_ = (await plane.execution()).metadata.id
    ended = await plane.report(id_, phase=before)
    if after == before:
        assert (await plane.report(id_, phase=after, error="late")).status.error == "late"
        return
    error = await refused(plane.report(id_, phase=after, error="late"), Status.FAILED_PRECONDITION)
    detail = detail_of(error, rpc.PreconditionFailure)
    assert [(one.type, one.subject) for one in detail.violations] == [("TERMINAL_PHASE", id_)]
    assert id_ in (error.message or "")
    assert before.name in (error.message or "")
    assert await plane.executions.get(id_) == ended


@pytest.mark.parametrize("phase", TERMINAL)
async def test_what_comes_late_is_still_merged(plane: Plane, phase: ExecutionPhase) -> None:
    id_ = (await plane.execution()).metadata.id
    await plane.report(id_, phase=phase)
    after = await plane.report(id_, completed_at="2026-01-18T00:00:00Z")
    assert (after.status.phase, after.status.completed_at) == (phase, "2026-01-18T00:00:00Z")


@pytest.mark.parametrize("before", [PENDING, IN_PROGRESS])
@pytest.mark.parametrize("after", [phase for phase in ExecutionPhase if phase])
async def test_any_other_phase_may_follow(plane: Plane, before: ExecutionPhase, after: ExecutionPhase) -> None:
    id_ = (await plane.execution()).metadata.id
    await plane.report(id_, phase=before)
    assert (await plane.report(id_, phase=after)).status.phase == after


async def test_a_phase_that_is_none_is_refused(plane: Plane) -> None:
    from conformance import invalid

    id_ = (await plane.execution()).metadata.id
    await invalid(plane.report(id_, phase=ExecutionPhase(99)), "status.phase")
    await invalid(plane.report(id_, messages=[AgentMessage(type=MessageType(99))]), "status.messages[0].type")
