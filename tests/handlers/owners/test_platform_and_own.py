"""What is the platform's, everybody's to read, and what is a single caller's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import samples
from callers import (
    AMY,
    ANN,
    BOTH,
    GIL,
    PERSONAL,
    REFERRED,
    ROOT,
    Callers,
    denied,
    missing,
    of,
    outcome,
    sample,
)
from edge_rig import id_of

from stigmer.access.principal import LOCAL
from stigmer.types import ApiResourceOwnerScope as Scope

if TYPE_CHECKING:
    from stigmer.access.principal import Principal


WRITERS = [of("admin", "acme", name="chief"), ANN, of("editor", "*")]


@pytest.mark.parametrize("by", WRITERS, ids=lambda by: by.name)
async def test_the_platforms_is_everybodys_to_read_and_its_admins_to_write(by: Principal, callers: Callers) -> None:
    agent = await callers(ROOT).agents.create(samples.agent(owner_scope=Scope.platform))
    stubs = callers(by)
    assert await stubs.get(agent) == agent
    assert await stubs.kind("Agent").by_reference(agent.metadata.slug) == agent
    await denied(stubs.create(samples.agent(owner_scope=Scope.platform)), "can_create_agent", "organization")
    change = samples.agent(id=id_of(agent), owner_scope=Scope.platform)
    await denied(stubs.kind("Agent").update(change), "can_edit", "agent")
    await denied(stubs.delete(agent), "can_delete", "agent")
    change.metadata.id, change.metadata.name = "", agent.metadata.name
    await denied(stubs.kind("Agent").apply(change), "create", "agent")
    assert await stubs.get(agent) == agent
    assert await callers(of("admin", "*", name="other")).delete(agent) == agent


@pytest.mark.parametrize("facts", PERSONAL, ids=repr)
async def test_what_is_ones_own_is_nobody_elses(facts: Any, callers: Callers) -> None:
    name = samples.unique("mine")
    mine = await callers(ANN).create(
        await sample(callers, ANN, facts.name, name=name, owner_scope=Scope.identity_account)
    )
    assert await callers(ANN).get(mine) == mine
    for other in (AMY, of("admin", "acme"), of("editor", "*"), of("reader", "*")):
        await missing(callers(other).get(mine))
    for seeing in (of("runner", "*"), ROOT, LOCAL):
        assert await callers(seeing).get(mine) == mine
    another = [
        await callers(by).create(await sample(callers, by, facts.name, name=name, owner_scope=scope))
        for by, scope in ((AMY, Scope.identity_account), (ANN, Scope.organization))
    ]
    assert {one.metadata.slug for one in (mine, *another)} == {name}
    found = await outcome(
        callers(ANN).create(await sample(callers, ANN, facts.name, name=name, owner_scope=Scope.identity_account))
    )
    assert (found.code, id_of(mine) in found.message) == ("ALREADY_EXISTS", True)
    assert await callers(ANN).delete(mine) == mine


@pytest.mark.parametrize("facts", REFERRED, ids=repr)
async def test_ones_own_is_preferred_where_a_reference_names_no_org(facts: Any, callers: Callers) -> None:
    name = samples.unique("preferred")

    async def made(by: Principal, scope: Scope, org: str = "") -> Any:
        return await callers(by).create(await sample(callers, by, facts.name, name=name, owner_scope=scope, org=org))

    async def found(by: Principal, org: str = "") -> Any:
        return await callers(by).kind(facts.name).by_reference(name, org)

    await missing(found(ANN))
    none = await made(LOCAL, Scope.organization)
    await missing(found(ANN))
    assert await found(ROOT) == none
    acme = await made(AMY, Scope.organization)
    assert await found(ANN) == await found(BOTH) == acme
    assert await found(ROOT) == none
    globex = await made(GIL, Scope.organization)
    assert await found(ANN) == acme
    refusal = await outcome(found(BOTH))
    assert (refusal.code, refusal.message.partition(":")[0]) == ("INVALID_ARGUMENT", "org")
    mine = await made(ANN, Scope.identity_account)
    assert await found(ANN) == mine
    assert await found(ANN, "acme") == await found(AMY) == acme
    assert await found(BOTH, "globex") == globex
    await missing(found(ANN, "globex"))
    local = await made(LOCAL, Scope.identity_account)
    assert await found(LOCAL) == local
    assert await found(ROOT) == none


async def test_ones_own_that_names_an_organization_is_found_by_it(callers: Callers) -> None:
    sent = samples.environment(owner_scope=Scope.identity_account, org="acme")
    mine = await callers(ANN).create(sent)
    slug = mine.metadata.slug
    assert await callers(ANN).kind("Environment").by_reference(slug, "acme") == mine
    await missing(callers(AMY).kind("Environment").by_reference(slug, "acme"))
    changed = await callers(ANN).kind("Environment").apply(sent)
    assert id_of(changed) == id_of(mine)


@pytest.mark.parametrize("facts", PERSONAL, ids=repr)
async def test_no_organizations_name_tells_of_a_callers_own_slugs_or_takes_them(facts: Any, callers: Callers) -> None:
    name, editor = samples.unique("mine"), of("editor", "*")
    own = await sample(callers, ANN, facts.name, name=name, owner_scope=Scope.identity_account)
    await callers(ANN).create(own)
    odd = await callers(editor).create(await sample(callers, editor, facts.name, name=name, org="\x1fann\x1f"))
    assert await callers(editor).get(odd) == odd
    taken = await sample(callers, editor, facts.name, name=samples.unique("mine"), org="\x1fann\x1f")
    await callers(editor).create(taken)
    own.metadata.name, own.metadata.slug = taken.metadata.name, ""
    await callers(ANN).create(own)
