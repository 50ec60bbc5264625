"""Which claims say who calls."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmer.access.jwt_claims import ClaimNames
from stigmer.access.principal import RESERVED, ROLES, Principal
from stigmer.errors import Unauthenticated


def named(**claims: object) -> Principal:
    return ClaimNames(role="roles", organizations="orgs", default_role="reader").principal({"sub": "ann", **claims})


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        ("editor", "editor"),
        (["reader", "editor", "owner"], "editor"),
        (["editor", "runner"], "editor"),
        (["admin", "reader"], "admin"),
        ("openid runner email", "runner"),
        ([["admin"], {"admin": 1}, None, "runner"], "runner"),
        ("Admin", "reader"),
        ([], "reader"),
        ({"admin": True}, "reader"),
        (None, "reader"),
        (True, "reader"),
    ],
)
def test_of_several_roles_the_highest_that_is_known_counts(roles: object, role: str) -> None:
    assert named(roles=roles).role == role


@pytest.mark.parametrize(
    ("orgs", "organizations"),
    [
        (["acme", "elsewhere"], {"acme", "elsewhere"}),
        ("acme elsewhere", {"acme", "elsewhere"}),
        ("acme, elsewhere,", {"acme", "elsewhere"}),
        (["Acme Inc."], {"Acme Inc."}),
        (["*"], {"*"}),
        ("*", {"*"}),
        ("", set()),
        (["", " ", 7, None, ["acme"], "a\0b"], set()),
        ({"acme": 1}, set()),
        (None, set()),
    ],
)
def test_organizations_are_those_that_the_claim_names(orgs: object, organizations: set[str]) -> None:
    assert named(orgs=orgs).organizations == organizations


def test_a_claim_that_is_not_asked_for_gives_nothing() -> None:
    principal = ClaimNames(default_role="reader").principal({"sub": "ann", "role": "admin", "organizations": ["*"]})
    assert principal == Principal("oidc:ann", "reader", frozenset())


@pytest.mark.parametrize(
    "claims",
    [
        {"realm": {"access": {"roles": ["admin"]}}},
        {"realm.access.roles": "admin", "realm": {"access": {"roles": []}}},
        {"realm.access": {"roles": "admin"}},
        {"realm": {"access.roles": "admin"}, "realm.access": "reader"},
    ],
)
def test_a_claim_within_others_is_named_with_dots(claims: dict[str, Any]) -> None:
    assert ClaimNames(role="realm.access.roles").principal({"sub": "ann", **claims}).role == "admin"


@pytest.mark.parametrize("claims", [{"realm": "access"}, {"realm": {"access": ["roles"]}}, {"realm": None}])
def test_dots_that_lead_nowhere_give_nothing(claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated, match=r"no role: its claim 'realm.access.roles'"):
        ClaimNames(role="realm.access.roles").principal({"sub": "ann", **claims})


@pytest.mark.parametrize("name", [*sorted(RESERVED), "cert:runner-1"])
def test_without_a_prefix_the_server_s_own_names_are_nobody_s(name: str) -> None:
    names = ClaimNames(name_prefix="", default_role="reader")
    with pytest.raises(Unauthenticated, match="a name that is the server's own"):
        names.principal({"sub": name})
    assert ClaimNames(default_role="reader").principal({"sub": name}).name == f"oidc:{name}"


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_email_that_the_issuer_has_not_verified_is_no_name(verified: object) -> None:
    names = ClaimNames(name="email", default_role="reader")
    with pytest.raises(Unauthenticated, match="email is not verified"):
        names.principal({"email": "ann@example.com", "email_verified": verified})
    assert names.principal({"email": "ann@example.com"}).name == "oidc:ann@example.com"
    assert names.principal({"email": "ann@example.com", "email_verified": True}).name == "oidc:ann@example.com"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text("ab .,*\n\0", max_size=5)
    | st.sampled_from([*ROLES, "*", "acme", "local"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab.", max_size=3), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["sub", "a", "a.b", "b", "email"]), JSON))
def test_whatever_claims_hold_they_give_a_principal_or_are_refused(claims: dict[str, Any]) -> None:
    names = ClaimNames(role="a.b", organizations="b", name_prefix="", default_role="reader")
    with suppress(Unauthenticated):
        principal = names.principal(claims)
        assert principal.name == claims["sub"] not in RESERVED
        assert principal.role in ROLES
        assert all(one.strip() for one in principal.organizations)
