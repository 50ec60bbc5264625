"""create, for every kind."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import samples
from conformance import Resources, invalid, is_id, refused, taken
from conformance_facts import KINDS, KindFacts
from grpclib.const import Status
from samples import NOBODY

from stigmer._gen.ai.stigmer.commons.apiresource import (
    ApiResourceAudit,
    ApiResourceAuditActor,
    ApiResourceAuditInfo,
    ApiResourceMetadataVersion,
)


async def test_create_keeps_what_the_caller_owns(kind: Resources) -> None:
    sent = await kind.sample(labels={"a": "1"}, annotations={"b": "2"}, tags=["c"])
    made = await kind.create(sent)
    assert (made.api_version, made.kind) == (sent.api_version, kind.facts.name)
    for name in ("name", "org", "owner_scope", "labels", "annotations", "tags"):
        assert getattr(made.metadata, name) == getattr(sent.metadata, name)
    spec = made.spec
    if kind.facts.name == "AgentExecution":
        assert spec.session_id
        spec.session_id = ""
    assert spec == sent.spec


async def test_what_create_answers_is_what_is_stored(kind: Resources) -> None:
    made = await kind.created()
    assert await kind.get(made.metadata.id) == made


async def test_create_gives_id_slug_and_version(kind: Resources) -> None:
    sent = await kind.sample(version=ApiResourceMetadataVersion(id="mine", message="first", previous_version_id="mine"))
    metadata = (await kind.create(sent)).metadata
    assert is_id(metadata.id, kind.facts.prefix)
    assert metadata.slug == metadata.name
    assert is_id(metadata.version.id, "ver")
    assert (metadata.version.message, metadata.version.previous_version_id) == ("first", "")


async def test_ids_grow(kind: Resources) -> None:
    first, second = await kind.created(), await kind.created()
    assert first.metadata.id < second.metadata.id


async def test_create_stamps_both_audits_alike(kind: Resources) -> None:
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    audit = (await kind.created()).status.audit
    for info in (audit.spec_audit, audit.status_audit):
        assert info.created_by.id == info.updated_by.id == "local"
        assert info.created_at == info.updated_at
        assert before <= info.created_at <= dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
        assert info.event == "created"
    assert audit.spec_audit == audit.status_audit


async def test_create_takes_no_status_from_the_caller(kind: Resources) -> None:
    sent, plain = await kind.sample(), await kind.created()
    long_ago = dt.datetime(1999, 1, 1, tzinfo=dt.UTC)
    forged = ApiResourceAuditInfo(created_by=ApiResourceAuditActor(id="mallory"), created_at=long_ago, event="forged")
    sent.status = type(plain.status)(audit=ApiResourceAudit(spec_audit=forged, status_audit=forged))
    if kind.facts.name == "Agent":
        sent.status.default_instance_id = f"ain-{NOBODY}"
    if kind.facts.name == "AgentExecution":
        sent.status.phase, sent.status.error = type(plain.status.phase)(3), "forged"
    status = (await kind.create(sent)).status
    assert status.audit.spec_audit.created_by.id == "local"
    assert status.audit.spec_audit.created_at > long_ago
    assert (status.audit.spec_audit.event, status.audit.status_audit.event) == ("created", "created")
    assert getattr(status, "default_instance_id", "") != f"ain-{NOBODY}"
    assert getattr(status, "error", "") == ""
    assert getattr(status, "phase", 1) == 1


NAMES = {
    "My {}": "my-{}",
    "  spaces   and --- hyphens {} ": "spaces-and-hyphens-{}",
    "Ünïcode {} №5": "ncode-{}-5",
    "dots.and_under/{}": "dotsandunder{}",
    "\u212aelvin {}": "kelvin-{}",
    "日本 {}": "{}",
    "x" * 300 + "{}": "x" * 300 + "{}",
    "tab\tand\nline {}": "tabandline-{}",
}


async def test_a_slug_is_made_of_the_name(kind: Resources, subtests: pytest.Subtests) -> None:
    for name, slug in NAMES.items():
        with subtests.test(name):
            number = samples.unique("n").replace("-", "")
            made = await kind.created(name=name.format(number))
            assert (made.metadata.name, made.metadata.slug) == (name.format(number), slug.format(number))


async def test_a_slug_that_is_given_is_kept(kind: Resources) -> None:
    slug = samples.unique("given")
    assert (await kind.created(name="Something else", slug=slug)).metadata.slug == slug


async def test_a_given_slug_saves_a_name_of_which_none_is_left(kind: Resources) -> None:
    slug = samples.unique("given")
    made = await kind.created(name="日本", slug=slug)
    assert (made.metadata.name, made.metadata.slug) == ("日本", slug)


async def test_a_slug_that_is_taken_is_refused(slugged: Resources) -> None:
    holder = await slugged.created()
    again = slugged.create(slugged.facts.make(name=holder.metadata.name))
    await taken(again, slugged.facts.name, holder.metadata.id, holder.metadata.slug)


async def test_names_that_give_one_slug_collide(slugged: Resources) -> None:
    slug = samples.unique("same")
    holder = await slugged.created(name=slug)
    await taken(
        slugged.create(slugged.facts.make(name=slug.upper() + "!")), slugged.facts.name, holder.metadata.id, slug
    )


async def test_executions_may_share_a_slug(executions: Resources) -> None:
    first = await executions.created()
    second = await executions.create(executions.facts.make(first.spec.session_id, name=first.metadata.name))
    assert second.metadata.slug == first.metadata.slug
    assert second.metadata.id != first.metadata.id


async def test_each_org_has_its_own_slugs(slugged: Resources) -> None:
    name = samples.unique("shared")
    first = await slugged.created(name=name, org="acme")
    second = slugged.facts.make(name=name, org="globex")
    if slugged.facts.namespaced:
        made = await slugged.create(second)
        assert (made.metadata.slug, made.metadata.org) == (name, "globex")
        assert (await slugged.created(name=name)).metadata.org == ""
    else:
        await taken(slugged.create(second), slugged.facts.name, first.metadata.id, name)
    await taken(slugged.create(slugged.facts.make(name=name, org="acme")), slugged.facts.name, first.metadata.id, name)


async def test_an_id_that_the_caller_brings_is_kept(kind: Resources) -> None:
    other = await kind.created()
    await kind.delete(other.metadata.id)
    made = await kind.created(id=other.metadata.id)
    assert made.metadata.id == other.metadata.id


async def test_an_id_that_is_taken_is_refused(kind: Resources) -> None:
    holder = await kind.created()
    await taken(kind.create(await kind.sample(id=holder.metadata.id)), kind.facts.name, holder.metadata.id)


MALFORMED = ["{}", "{}-", "{}-1", "banana", f"zzz-{NOBODY}", f"{{}}-{NOBODY.upper()}", f"{{}}-{NOBODY}0",
             f"{{}}-u{NOBODY[1:]}", f"{{}}-8{NOBODY[1:]}", f"{{}}-{NOBODY}\n", f" {{}}-{NOBODY}"]  # fmt: skip


async def test_a_malformed_id_is_refused(kind: Resources, subtests: pytest.Subtests) -> None:
    for malformed in MALFORMED:
        with subtests.test(malformed):
            await invalid(kind.create(await kind.sample(id=malformed.format(kind.facts.prefix))), "metadata.id")


async def test_create_names_every_broken_field(kind: Resources, subtests: pytest.Subtests) -> None:
    for broken in kind.facts.broken:
        with subtests.test(str(broken)):
            resource = await kind.sample()
            broken.spoil(resource)
            await invalid(kind.create(resource), *broken.fields)


FIXED = [pytest.param(facts, name, id=f"{facts}-{name}") for facts in KINDS[1:3] for name in facts.fixed]


@pytest.mark.parametrize(("facts", "name"), FIXED)
async def test_create_needs_the_reference_that_is_fixed_later(facts: KindFacts, name: str, channel: Any) -> None:
    resource = facts.make()
    setattr(resource.spec, name, "")
    await invalid(Resources(facts, channel).create(resource), f"spec.{name}")


async def test_every_allowed_scope_is_kept_with_and_without_an_org(kind: Resources) -> None:
    for scope in kind.facts.scopes:
        for org in ("", "acme"):
            made = await kind.created(owner_scope=scope, org=org)
            assert (made.metadata.owner_scope, made.metadata.org) == (scope, org)


async def test_nothing_of_a_refused_create_is_kept(slugged: Resources) -> None:
    resource = slugged.facts.make()
    resource.api_version = "v0"
    await refused(slugged.create(resource), Status.INVALID_ARGUMENT)
    assert (await slugged.created(name=resource.metadata.name)).metadata.slug == resource.metadata.name
