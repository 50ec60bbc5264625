"""update, for every kind that has it."""

from __future__ import annotations

from typing import Any

import pytest
import samples
from conformance import Resources, detail_of, invalid, is_id, missing, refused
from conformance_facts import KINDS, KindFacts
from google.rpc import error_details_pb2 as rpc
from grpclib.const import Status

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadataVersion as Version

UPDATED = [facts for facts in KINDS if "update" in facts.rpcs]


def versioned(resource: Any, id_: str, message: str = "") -> Any:
    resource.metadata.version = Version(id=id_, message=message)
    return resource


async def test_update_replaces_what_the_caller_owns_as_a_whole(updated: Resources) -> None:
    made = await updated.created(labels={"a": "1", "b": "2"}, annotations={"c": "3"}, tags=["d", "e"])
    change = updated.facts.make(id=made.metadata.id, name="New name", labels={"b": "3"}, tags=["f"])
    updated.facts.change(change)
    for name in updated.facts.fixed:
        setattr(change.spec, name, getattr(made.spec, name))
    after = await updated.update(change)
    metadata = after.metadata
    assert (metadata.name, metadata.labels, metadata.annotations, metadata.tags) == ("New name", {"b": "3"}, {}, ["f"])
    assert after.spec == change.spec
    assert await updated.get(made.metadata.id) == after


async def test_update_keeps_what_the_server_owns(updated: Resources) -> None:
    made = await updated.created(org="acme")
    change = updated.facts.make(
        id=made.metadata.id, slug="other", org="globex", owner_scope=updated.facts.other_scope, name="Other"
    )
    _keep(updated.facts, made, change)
    after = await updated.update(change)
    for name in ("id", "slug", "org", "owner_scope"):
        assert getattr(after.metadata, name) == getattr(made.metadata, name)
    assert after.status.audit.status_audit == made.status.audit.status_audit


async def test_update_takes_no_status_from_the_caller(updated: Resources) -> None:
    made = await updated.created()
    change = await updated.get(made.metadata.id)
    change.status.audit = None
    if updated.facts.name == "Agent":
        change.status.default_instance_id = "ain-forged"
    if updated.facts.name == "AgentExecution":
        change.status.phase, change.status.error = type(change.status.phase)(3), "forged"
    after = (await updated.update(change)).status
    after.audit, made.status.audit = None, None
    assert after == made.status


async def test_update_stamps_the_audit_of_the_spec_alone(updated: Resources) -> None:
    made = await updated.created()
    before = made.status.audit
    after = (await updated.update(made)).status.audit
    assert after.status_audit == before.status_audit
    assert (after.spec_audit.created_by, after.spec_audit.created_at) == (
        before.spec_audit.created_by,
        before.spec_audit.created_at,
    )
    assert after.spec_audit.updated_at > before.spec_audit.updated_at
    assert (after.spec_audit.updated_by.id, after.spec_audit.event) == ("local", "updated")


async def test_update_makes_a_version_that_knows_the_one_before(updated: Resources) -> None:
    made = await updated.created()
    first = made.metadata.version.id
    second = (await updated.update(versioned(made, first, "second"))).metadata.version
    assert is_id(second.id, "ver")
    assert second.id > first
    assert (second.message, second.previous_version_id) == ("second", first)
    made.metadata.version = None
    third = (await updated.update(made)).metadata.version
    assert (third.message, third.previous_version_id) == ("", second.id)


@pytest.mark.parametrize("stale", ["the one before", f"ver-{samples.NOBODY}", "banana"])
async def test_update_refuses_a_version_that_is_not_the_current_one(updated: Resources, stale: str) -> None:
    made = await updated.created()
    before = made.metadata.version.id
    stored = await updated.update(made)
    wanted = before if stale == "the one before" else stale
    error = await refused(updated.update(versioned(made, wanted)), Status.ABORTED)
    detail = detail_of(error, rpc.ErrorInfo)
    assert (detail.reason, detail.domain) == ("VERSION_MISMATCH", "stigmer.ai")
    assert made.metadata.id in (error.message or "")
    assert stored.metadata.version.id in (error.message or "")
    assert await updated.get(made.metadata.id) == stored


async def test_update_without_a_version_overwrites(updated: Resources) -> None:
    made = await updated.created()
    await updated.update(made)
    made.metadata.version = Version(message="no id")
    assert (await updated.update(made)).metadata.version.message == "no id"


async def test_update_finds_by_slug_within_its_namespace(reapplied: Resources) -> None:
    name = samples.unique("shared")
    in_acme, in_none = await reapplied.created(name=name, org="acme"), await reapplied.created(name=name)
    for made in (in_acme, in_none):
        change = reapplied.facts.make(name=name, org=made.metadata.org, labels={"changed": made.metadata.org})
        assert (await reapplied.update(change)).metadata.id == made.metadata.id
    change = reapplied.facts.make(name="Renamed", slug=name, org="acme")
    assert (await reapplied.update(change)).metadata.name == "Renamed"
    assert (await reapplied.get(in_acme.metadata.id)).metadata.name == "Renamed"
    assert (await reapplied.get(in_none.metadata.id)).metadata.name == name


async def test_update_of_a_slug_that_names_nothing_is_not_found(reapplied: Resources) -> None:
    name = reapplied.facts.name
    message = f"{name} with slug 'no-such' not found"
    await missing(reapplied.update(reapplied.facts.make(name="no-such")), name, "no-such", message)


async def test_long_names_are_cut_short_in_the_answer(reapplied: Resources) -> None:
    """A status travels in headers, which clients limit: it must arrive as what it is."""
    name, long, short = reapplied.facts.name, "x" * 900, "x" * 160 + "…"
    await missing(
        reapplied.update(reapplied.facts.make(name=long)), name, short, f"{name} with slug '{short}' not found"
    )
    made = await reapplied.created()
    error = await refused(reapplied.update(versioned(made, long)), Status.ABORTED)
    assert f"not {short}: " in (error.message or "")
    made = await reapplied.created(name=long + samples.unique("n"))
    made.metadata.id = "x" * 9000
    await invalid(reapplied.apply(made), "metadata.id")


async def test_update_of_an_execution_needs_its_id(executions: Resources) -> None:
    made = await executions.created()
    made.metadata.id = ""
    await invalid(executions.update(made), "metadata.id")


FIXED = [pytest.param(facts, name, id=f"{facts}-{name}") for facts in KINDS for name in facts.fixed]


@pytest.mark.parametrize(("facts", "name"), FIXED)
async def test_a_fixed_field_may_be_left_out_or_sent_as_it_is(facts: KindFacts, name: str, channel: Any) -> None:
    kind = Resources(facts, channel)
    made = await kind.created()
    value = getattr(made.spec, name)
    assert value
    assert getattr((await kind.update(made)).spec, name) == value
    made.metadata.version = None
    setattr(made.spec, name, "")
    assert getattr((await kind.update(made)).spec, name) == value


@pytest.mark.parametrize(("facts", "name"), FIXED)
async def test_another_value_of_a_fixed_field_is_refused(facts: KindFacts, name: str, channel: Any) -> None:
    kind = Resources(facts, channel)
    made = await kind.created()
    stored = await kind.get(made.metadata.id)
    setattr(made.spec, name, "another")
    await invalid(kind.update(made), f"spec.{name}")
    assert await kind.get(made.metadata.id) == stored


async def test_every_fixed_field_that_is_changed_is_named(executions: Resources) -> None:
    made = await executions.created()
    made.spec.session_id = made.spec.agent_id = "another"
    await invalid(executions.update(made), "spec.session_id", "spec.agent_id")


async def test_update_names_every_broken_field(updated: Resources, subtests: pytest.Subtests) -> None:
    stored = await updated.created()
    for broken in updated.facts.broken:
        with subtests.test(str(broken)):
            made = await updated.get(stored.metadata.id)
            made.metadata.slug = ""
            broken.spoil(made)
            await invalid(updated.update(made), *broken.fields)
    assert await updated.get(stored.metadata.id) == stored


def _keep(facts: KindFacts, made: Any, change: Any) -> None:
    for name in facts.fixed:
        setattr(change.spec, name, getattr(made.spec, name))
