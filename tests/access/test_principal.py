"""Which principal sees and writes whose resources."""

from __future__ import annotations

import pytest

from stigmer.access.principal import (
    INTERNAL,
    LOCAL,
    PERSONAL,
    PLATFORM,
    RESERVED,
    SHARED,
    Principal,
    Role,
    checked,
    identity,
    internal_for,
    namespace,
    organization,
)

ACME, ELSEWHERE, NOBODY = organization("acme"), organization("elsewhere"), organization("")


def of(role: Role, *organizations: str) -> Principal:
    return Principal("ann", role, frozenset(organizations))


@pytest.mark.parametrize(
    ("principal", "seen"),
    [
        (of("editor", "acme"), {PLATFORM, ACME, identity("ann")}),
        (of("admin", "acme", "elsewhere"), {PLATFORM, ACME, ELSEWHERE, identity("ann")}),
        (of("reader"), {PLATFORM, identity("ann")}),
        (of("editor", "*"), {PLATFORM, ACME, ELSEWHERE, NOBODY, identity("ann")}),
        (of("runner", "*"), {PLATFORM, ACME, ELSEWHERE, NOBODY, identity("ann"), identity("bob")}),
        (LOCAL, {PLATFORM, ACME, ELSEWHERE, NOBODY, identity("ann"), identity("bob")}),
        (internal_for(of("editor", "acme")), {PLATFORM, ACME, identity("ann")}),
        (INTERNAL, {PLATFORM, ACME, ELSEWHERE, NOBODY, identity("ann"), identity("bob")}),
    ],
)
def test_a_principal_sees_the_platform_its_organizations_and_what_is_its_own(
    principal: Principal, seen: set[str]
) -> None:
    everything = {PLATFORM, ACME, ELSEWHERE, NOBODY, identity("ann"), identity("bob")}
    assert {owner for owner in everything if principal.sees(owner)} == seen
    assert {owner for owner in everything - {PLATFORM} if principal.may_write(owner)} == seen - {PLATFORM}
    listed = principal.owners  # what lists are found by is the same
    shared = listed is not None and SHARED in listed
    assert {
        owner
        for owner in everything
        if listed is None or owner in listed or (shared and not owner.startswith("identity_account:"))
    } == seen


def test_admins_of_all_organizations_alone_write_the_platform_s() -> None:
    writers = [one for one in (of("admin", "*"), of("admin", "acme"), of("editor", "*")) if one.may_write(PLATFORM)]
    assert writers == [of("admin", "*")]
    assert internal_for(of("editor", "acme")).may_write(PLATFORM)  # such as a platform agent's default instance


def test_whom_the_server_acts_for_stays_the_same_however_deep() -> None:
    deep = internal_for(internal_for(of("editor", "acme")))
    assert deep.caller == of("editor", "acme")
    assert deep.name == "internal"


@pytest.mark.parametrize(
    ("principal", "only"),
    [
        (of("editor", "acme"), "acme"),
        (of("editor", "acme", "elsewhere"), ""),
        (of("editor", "*"), ""),
        (of("editor"), ""),
        (internal_for(of("editor", "acme")), "acme"),
        (LOCAL, ""),
    ],
)
def test_the_only_organization_of_a_principal_is_that_of_whom_it_acts_for(principal: Principal, only: str) -> None:
    assert principal.only_organization == only


def test_slugs_of_organizations_and_of_single_callers_do_not_meet() -> None:
    assert [namespace("acme", owner) for owner in (PLATFORM, ACME, ELSEWHERE)] == ["acme"] * 3
    spaces = [namespace(org, owner) for org in ("", "acme") for owner in (ACME, identity("ann"), identity("bob"))]
    assert len(set(spaces)) == 6


def test_no_name_of_an_organization_makes_its_slugs_meet_a_single_callers() -> None:
    named = ["\x1fann\x1f", "\x1e\x1fann\x1f", "\x1e", "\x1f", "ann"]
    spaces = [namespace(org, organization(org)) for org in named]
    assert not any(space.startswith(PERSONAL) for space in spaces)
    assert len(set(spaces)) == len(named)


@pytest.mark.parametrize(
    "principal",
    [
        *(Principal(name, "reader", frozenset()) for name in (*RESERVED, "", "a\nb", "acme\x1fann")),
        Principal("ann", "owner", frozenset()),  # type: ignore[arg-type]  # what a host may give nevertheless
        *(of("editor", "acme", one) for one in ("", "acme\n", "acme\x1fann")),
        internal_for(of("editor", "acme")),
        *(Principal("ann", "editor", one) for one in ("acme", ["acme"], {"acme"})),  # type: ignore[arg-type]  # as above
    ],
)
def test_a_host_gives_no_reserved_names_nor_what_is_no_name_role_or_organization(principal: Principal) -> None:
    with pytest.raises(ValueError, match=r"called|role|organizations"):
        checked(principal)


def test_a_host_gives_any_other_principal() -> None:
    for one in (
        of("admin", "*"),
        of("reader"),
        Principal("oidc:https://id.example/42", "runner", frozenset({"a.b_c@d", "of/another authenticator"})),
    ):
        assert checked(one) is one
