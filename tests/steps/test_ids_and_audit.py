"""What the server gives: ids, versions, audits, rows."""

from __future__ import annotations

import datetime as dt
import time

import pytest
import samples
from conformance import is_id

from stigmer._gen.ai.stigmer.agentic.agentinstance.v1 import AgentInstance
from stigmer._gen.ai.stigmer.commons.apiresource import (
    ApiResourceAuditActor,
    ApiResourceAuditInfo,
    ApiResourceMetadata,
    ApiResourceOwnerScope,
)
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadataVersion as Version
from stigmer.access.principal import organization
from stigmer.handlers import HANDLERS
from stigmer.pipeline.ids import IdSource, is_well_formed
from stigmer.pipeline.kind import Kind, key_value, required
from stigmer.steps import audit
from stigmer.wire import codec
from stigmer.wire.lazy import shallow_copy

PREFIXES = {
    "Agent": "agt",
    "AgentInstance": "ain",
    "Session": "ses",
    "AgentExecution": "aex",
    "Environment": "env",
    "ExecutionContext": "exec",
}


def test_prefixes_come_from_the_protos() -> None:
    assert {handler.kind.name: handler.kind.meta.id_prefix for handler in HANDLERS} == PREFIXES


def test_ids_of_one_millisecond_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    source = IdSource()
    made = [source.new("agt") for _ in range(1000)]
    assert made == sorted(set(made))
    assert len({one[:14] for one in made}) == 1
    assert all(is_id(one, "agt") for one in made)


def test_ids_grow_even_where_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    source = IdSource()
    first = source.new("agt")
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert source.new("agt") > first


def test_what_the_server_makes_is_well_formed_for_its_kind_alone() -> None:
    made = IdSource().new("exec")
    assert is_well_formed(made, "exec")
    assert not is_well_formed(made, "agt")
    assert not is_well_formed(made + "\n", "exec")
    assert not is_well_formed(made.upper(), "exec")
    assert not is_well_formed(f"exec-8{made[6:]}", "exec")


def test_a_new_audit_is_updated_as_created_and_its_halves_are_apart() -> None:
    made = audit.created("ida-1")
    spec, status = required(made.spec_audit), required(made.status_audit)
    assert spec == status
    assert spec is not status
    assert (spec.created_by, spec.created_at) == (spec.updated_by, spec.updated_at)
    assert (required(spec.created_by).id, spec.event) == ("ida-1", "created")


def stamped(before: ApiResourceAuditInfo) -> ApiResourceAuditInfo:
    wire = codec.to_wire(before)
    audit.stamp_update(wire, "ida-2")
    after = codec.from_wire(wire)
    assert isinstance(after, ApiResourceAuditInfo)
    return after


def test_a_later_audit_keeps_who_created_it_and_forgets_who_changed_it_before() -> None:
    before = required(audit.created("ida-1").spec_audit)
    before.updated_by = ApiResourceAuditActor(id="ida-1", avatar="https://example.org/1.png")
    after = stamped(before)
    assert (after.created_by, after.created_at) == (before.created_by, before.created_at)
    assert (after.updated_by, after.event) == (ApiResourceAuditActor(id="ida-2"), "updated")
    assert required(after.updated_at) >= required(before.updated_at)
    assert required(after.updated_at).tzinfo is dt.UTC
    assert stamped(ApiResourceAuditInfo()).created_by is None


def test_a_version_keeps_the_message_and_knows_the_one_before() -> None:
    sent = ApiResourceMetadata(version=Version(id="mine", message="why", previous_version_id="mine"))
    first = audit.next_version(IdSource(), sent, None)
    assert is_id(first.id, "ver")
    assert (first.message, first.previous_version_id) == ("why", "")
    second = audit.next_version(IdSource(), ApiResourceMetadata(), ApiResourceMetadata(version=first))
    assert (second.message, second.previous_version_id) == ("", first.id)


def test_a_row_and_its_resource_are_one_and_the_same() -> None:
    kind = Kind(AgentInstance, reached_by=("spec.agent_id",))
    resource = samples.agent_instance("agt-1", id="ain-1", slug="s", org="acme")
    row = kind.row_of(resource, organization("acme"), created_by="ida-1")
    assert (row.kind, row.id, row.namespace, row.slug, row.created_by) == (
        "AgentInstance",
        "ain-1",
        "acme",
        "s",
        "ida-1",
    )
    keys = (("spec.agent_id", "agt-1"), ("metadata.org", "acme"))
    assert (row.revision, row.sequence, row.keys) == (0, 0, keys)
    assert row.data == codec.encode(resource)
    assert kind.resource_of(row) == resource
    assert kind.resource_of(row) is not kind.resource_of(row)


def test_a_field_that_is_not_set_is_no_key_and_each_value_of_a_list_is_one() -> None:
    kind = Kind(AgentInstance, reached_by=("spec.agent_id", "metadata.tags"))
    row = kind.row_of(samples.agent_instance("", id="ain-1", tags=["", "a", "a"]), organization(""))
    assert row.keys == (("metadata.tags", ""), ("metadata.tags", "a"))


def test_enums_stand_in_keys_by_their_numbers() -> None:
    assert [key_value(value) for value in ("text", 4, ApiResourceOwnerScope.organization)] == ["text", "4", "2"]


def test_a_shallow_copy_takes_unknown_fields_along_and_leaves_the_first_alone() -> None:
    first = samples.agent()
    first._unknown_fields = b"\xfa\x3f\x01x"
    second = shallow_copy(first)
    second.kind, second.metadata = "Banana", None
    assert second._unknown_fields == first._unknown_fields
    assert (first.kind, first.metadata is not None) == ("Agent", True)


def test_a_submessage_that_is_missing_is_a_fault() -> None:
    with pytest.raises(TypeError, match="missing"):
        required(None)
