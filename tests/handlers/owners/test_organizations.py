"""What is an organization's: who makes it, and whose slugs and ids are free."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import samples
from callers import (
    AMY,
    ANN,
    BOTH,
    GIL,
    NONE,
    PERSONAL,
    SCOPED,
    Callers,
    again,
    asked,
    denied,
    everything,
    missing,
    outcome,
    runner_of,
    sample,
)
from conformance_facts import KINDS
from edge_rig import id_of

from stigmer.access.principal import LOCAL
from stigmer.types import ApiResourceOwnerScope as Scope

if TYPE_CHECKING:
    from stigmer.access.principal import Principal


@pytest.mark.parametrize("facts", SCOPED, ids=repr)
@pytest.mark.parametrize("rpc", ["create", "apply"])
async def test_a_slug_that_another_organization_has_is_free(facts: Any, rpc: str, callers: Callers) -> None:
    name = samples.unique("shared")
    made = [
        await callers(by).kind(facts.name).write(rpc, await sample(callers, by, facts.name, name=name))
        for by in (ANN, GIL)
    ]
    assert [one.metadata.slug for one in made] == [name] * 2
    assert [one.metadata.org for one in made] == ["acme", "globex"]
    for by, its in zip((AMY, GIL), made, strict=True):
        found = await outcome(callers(by).kind(facts.name).create(await sample(callers, by, facts.name, name=name)))
        assert (found.code, id_of(its) in found.message) == ("ALREADY_EXISTS", True)


@pytest.mark.parametrize("facts", SCOPED, ids=repr)
async def test_of_many_appliers_of_one_organization_one_creates_and_the_others_update(
    facts: Any, callers: Callers
) -> None:
    sent = [await sample(callers, ANN, facts.name, name=samples.unique("contended"))] * 24
    kinds = [callers(by).kind(facts.name) for by in (ANN, AMY)]
    made = await asyncio.gather(*(kinds[number % 2].apply(one) for number, one in enumerate(sent)))
    assert len({id_of(one) for one in made}) == 1
    assert sorted(one.status.audit.spec_audit.event for one in made) == ["created"] + ["updated"] * 23


@pytest.mark.parametrize("facts", SCOPED, ids=repr)
async def test_who_is_of_one_organization_alone_need_not_name_it(facts: Any, callers: Callers) -> None:
    made = await callers(ANN).create(await sample(callers, ANN, facts.name))
    assert made.metadata.org == "acme"
    change = await sample(callers, ANN, facts.name, slug=made.metadata.slug, labels={"changed": "y"})
    change.spec = made.spec
    changed = await callers(AMY).kind(facts.name).update(change)
    assert (id_of(changed), changed.metadata.labels) == (id_of(made), {"changed": "y"})
    assert id_of(await callers(AMY).kind(facts.name).apply(change)) == id_of(made)


@pytest.mark.parametrize("facts", SCOPED, ids=repr)
@pytest.mark.parametrize(
    ("by", "advice"),
    [(BOTH, "name one of your own in metadata.org (acme, globex)"), (NONE, "none is of no organization: call with")],
    ids=["both", "none"],
)
async def test_what_belongs_to_no_organization_is_for_callers_of_all_of_them(
    facts: Any, by: Principal, advice: str, callers: Callers
) -> None:
    for rpc in ("create", "apply"):
        sent = await sample(callers, by, facts.name)
        message = await denied(callers(by).kind(facts.name).write(rpc, sent), *asked(facts.name, rpc))
        assert advice in message
    made = await callers(LOCAL).create(await sample(callers, LOCAL, facts.name))
    assert made.metadata.org == ""
    await missing(callers(by).get(made))


@pytest.mark.parametrize("facts", SCOPED, ids=repr)
@pytest.mark.parametrize("rpc", ["create", "apply"])
async def test_nobody_makes_what_is_another_organizations(facts: Any, rpc: str, callers: Callers) -> None:
    """Whether or not the slug is taken there: the refusal is the same."""
    name = samples.unique("theirs")
    theirs = await callers(GIL).create(await sample(callers, GIL, facts.name, name=name))
    messages = [
        await denied(
            callers(ANN).kind(facts.name).write(rpc, await sample(callers, ANN, facts.name, name=one, org="globex")),
            *asked(facts.name, rpc),
        )
        for one in (name, samples.unique("free"))
    ]
    assert messages[0] == messages[1]
    assert "'globex'" in messages[0]
    assert id_of(theirs) not in messages[0]


@pytest.mark.parametrize("facts", PERSONAL, ids=repr)
async def test_what_is_ones_own_names_no_foreign_organization_either(facts: Any, callers: Callers) -> None:
    sent = await sample(callers, ANN, facts.name, owner_scope=Scope.identity_account, org="globex")
    await denied(callers(ANN).create(sent), *asked(facts.name, "create"))


@pytest.mark.parametrize("facts", KINDS, ids=repr)
async def test_a_foreign_id_that_is_brought_is_taken_and_that_is_all(facts: Any, callers: Callers) -> None:
    """The words are those for any id that the caller brings twice."""
    theirs, mine = [(await everything(callers, by)).of_kind(facts.name) for by in (GIL, ANN)]
    ends = []
    for one in (theirs, mine):
        sent = again(mine)
        sent.metadata.id, sent.metadata.name, sent.metadata.slug = id_of(one), samples.unique("brought"), ""
        found = await outcome(callers(runner_of(ANN)).create(sent))
        ends.append((found.code, found.message.replace(id_of(one), "ID")))
    assert ends[0] == ends[1] == ("ALREADY_EXISTS", f"{facts.name} already exists: ID")


@pytest.mark.parametrize("rpc", ["create", "apply"])
async def test_of_two_callers_of_one_organization_one_makes_a_slug(rpc: str, callers: Callers) -> None:
    name = samples.unique("race")
    calls = [
        outcome(callers(by).kind("Environment").write(rpc, samples.environment(name=name)))
        for by in (ANN, AMY, GIL, BOTH) * 4
    ]
    found = await asyncio.gather(*calls)
    codes = [one.code for one in found]
    if rpc == "create":
        assert sorted(codes) == ["ALREADY_EXISTS"] * 10 + ["OK"] * 2 + ["PERMISSION_DENIED"] * 4
    else:
        assert sorted(codes) == ["OK"] * 12 + ["PERMISSION_DENIED"] * 4
    made = {(one.reply.metadata.org, id_of(one.reply)) for one in found if one.reply is not None}
    assert len(made) == 2
    assert {org for org, _ in made} == {"acme", "globex"}


async def test_of_two_callers_of_two_organizations_one_gets_an_id(callers: Callers) -> None:
    id_ = f"env-{samples.NOBODY}"
    calls = [outcome(callers(by).create(samples.environment(id=id_))) for by in (ANN, GIL) * 4]
    found = await asyncio.gather(*calls)
    assert sorted(one.code for one in found) == ["ALREADY_EXISTS"] * 7 + ["OK"]
    (made,) = [one.reply for one in found if one.reply is not None]
    by = {"acme": ANN, "globex": GIL}[made.metadata.org]
    assert await callers(by).get(made) == made
