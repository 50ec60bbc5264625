"""apply, for every kind that has it."""

from __future__ import annotations

from typing import Any

import pytest
import samples
from conformance import Resources, invalid, is_id, taken
from conformance_facts import EXECUTION_CONTEXT, KINDS, KindFacts

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadataVersion as Version

APPLIED = [facts for facts in KINDS if "apply" in facts.rpcs]


async def test_apply_creates_what_is_not_there(applied: Resources) -> None:
    sent = applied.facts.make(labels={"a": "1"}, version=Version(id="ignored", message="first"))
    made = await applied.apply(sent)
    assert is_id(made.metadata.id, applied.facts.prefix)
    assert (made.metadata.slug, made.metadata.labels) == (sent.metadata.name, {"a": "1"})
    assert made.spec == sent.spec
    assert (made.metadata.version.message, made.metadata.version.previous_version_id) == ("first", "")
    assert made.status.audit.spec_audit.event == "created"
    assert await applied.get(made.metadata.id) == made


async def test_apply_creates_under_the_id_that_the_caller_brings(applied: Resources) -> None:
    gone = await applied.created()
    await applied.delete(gone.metadata.id)
    assert (await applied.apply(applied.facts.make(id=gone.metadata.id))).metadata.id == gone.metadata.id


async def test_apply_refuses_a_malformed_and_a_taken_id_as_create_does(applied: Resources) -> None:
    holder = await applied.created()
    await invalid(applied.apply(applied.facts.make(id="banana")), "metadata.id")
    await taken(applied.apply(applied.facts.make(id=holder.metadata.id)), applied.facts.name, holder.metadata.id)


async def test_apply_updates_what_is_there(reapplied: Resources) -> None:
    made = await reapplied.apply(reapplied.facts.make(labels={"a": "1"}, tags=["x"]))
    again = reapplied.facts.make(name=made.metadata.name, annotations={"b": "2"})
    reapplied.facts.change(again)
    after = await reapplied.apply(again)
    assert after.metadata.id == made.metadata.id
    assert (after.metadata.labels, after.metadata.tags, after.metadata.annotations) == ({}, [], {"b": "2"})
    assert after.spec == again.spec
    assert after.metadata.version.previous_version_id == made.metadata.version.id
    assert after.status.audit.spec_audit.event == "updated"
    assert after.status.audit.spec_audit.created_at == made.status.audit.spec_audit.created_at
    assert after.status.audit.status_audit == made.status.audit.status_audit


async def test_apply_finds_by_the_slug_that_is_given(reapplied: Resources) -> None:
    made = await reapplied.created()
    renamed = await reapplied.apply(reapplied.facts.make(name="Renamed", slug=made.metadata.slug))
    assert (renamed.metadata.id, renamed.metadata.name) == (made.metadata.id, "Renamed")


async def test_apply_takes_the_holders_id_and_no_other(reapplied: Resources) -> None:
    made = await reapplied.created()
    assert (await reapplied.apply(made)).metadata.id == made.metadata.id
    made.metadata.id = f"{reapplied.facts.prefix}-{samples.NOBODY}"
    await invalid(reapplied.apply(made), "metadata.id")


async def test_apply_ignores_the_version(reapplied: Resources) -> None:
    made = await reapplied.created()
    made.metadata.version = Version(id=f"ver-{samples.NOBODY}", message="applied")
    after = await reapplied.apply(made)
    assert after.metadata.version.message == "applied"
    assert after.metadata.version.id != made.metadata.version.id


async def test_apply_ignores_the_status(reapplied: Resources) -> None:
    made = await reapplied.created()
    sent = await reapplied.get(made.metadata.id)
    sent.status.audit = None
    if hasattr(sent.status, "default_instance_id"):
        sent.status.default_instance_id = "ain-forged"
    after = (await reapplied.apply(sent)).status
    assert after.audit.status_audit == made.status.audit.status_audit
    after.audit, made.status.audit = None, None
    assert after == made.status


async def test_apply_in_another_org_creates_another(reapplied: Resources) -> None:
    made = await reapplied.apply(reapplied.facts.make(org="acme"))
    other = await reapplied.apply(reapplied.facts.make(name=made.metadata.name, org="globex"))
    assert other.metadata.id != made.metadata.id
    assert (await reapplied.apply(reapplied.facts.make(name=made.metadata.name, org="acme"))).metadata.id == (
        made.metadata.id
    )


async def test_a_second_apply_of_a_context_is_refused(channel: Any) -> None:
    contexts = Resources(EXECUTION_CONTEXT, channel)
    made = await contexts.apply(contexts.facts.make(org="acme"))
    slug = made.metadata.slug
    for again in (contexts.facts.make(name=slug), contexts.facts.make(name=slug, org="globex"), made):
        await taken(contexts.apply(again), "ExecutionContext", made.metadata.id, slug)
    assert await contexts.get(made.metadata.id) == made


FIXED = [pytest.param(facts, name, id=f"{facts}-{name}") for facts in APPLIED for name in facts.fixed]


@pytest.mark.parametrize(("facts", "name"), FIXED)
async def test_apply_needs_the_fixed_field_to_create_and_keeps_it_to_update(
    facts: KindFacts, name: str, channel: Any
) -> None:
    kind = Resources(facts, channel)
    empty = facts.make()
    setattr(empty.spec, name, "")
    await invalid(kind.apply(empty), f"spec.{name}")
    made = await kind.created(name=empty.metadata.name)
    assert getattr((await kind.apply(empty)).spec, name) == getattr(made.spec, name)
    setattr(empty.spec, name, "another")
    await invalid(kind.apply(empty), f"spec.{name}")


async def test_apply_names_every_broken_field(applied: Resources, subtests: pytest.Subtests) -> None:
    for broken in applied.facts.broken:
        with subtests.test(str(broken)):
            resource = applied.facts.make()
            broken.spoil(resource)
            await invalid(applied.apply(resource), *broken.fields)
