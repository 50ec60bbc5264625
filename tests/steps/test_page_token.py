"""What a page token is bound to, and that its form does not change by accident."""

from __future__ import annotations

from stigmer.access.principal import LOCAL, Principal
from stigmer.steps import page_token

KEY = bytes(32)
ANN, AMY = (Principal(name, "reader", frozenset()) for name in ("ann", "amy"))
SCOPES = {
    "another method": ("/a.B/lists", []),
    "no filter": ("/a.B/list", []),
    "one value": ("/a.B/list", [("tags", ["ab"])]),
    "two values": ("/a.B/list", [("tags", ["a", "b"])]),
    "a value with a separator": ("/a.B/list", [("tags", ["a,b"])]),
    "another field": ("/a.B/list", [("phase", ["ab"])]),
    "two fields": ("/a.B/list", [("phase", ["a"]), ("tags", ["b"])]),
    "an empty value": ("/a.B/list", [("tags", [""])]),
    "a field's name as a value": ("/a.B/list", [("phase", ["a", "tags", "b"])]),
}


def test_no_two_scopes_are_alike() -> None:
    scopes = [page_token.scope(*asked, caller) for asked in SCOPES.values() for caller in (LOCAL, ANN, AMY)]
    assert len(set(scopes)) == 3 * len(SCOPES)


def test_a_filter_that_is_not_set_does_not_count() -> None:
    """So that a filter to come leaves the tokens of today good."""
    assert page_token.scope("/a.B/list", [("phase", []), ("tags", ["a"])], ANN) == page_token.scope(
        "/a.B/list", [("tags", ["a"])], ANN
    )


def test_a_token_tells_its_position_to_its_scope_and_key_alone() -> None:
    scope, other = page_token.scope(*SCOPES["one value"], ANN), page_token.scope(*SCOPES["one value"], AMY)
    for sequence in (1, 2**63 - 1):
        token = page_token.token(sequence, scope, KEY)
        assert page_token.position(token, scope, KEY) == sequence
        assert page_token.position(token, other, KEY) is None
        assert page_token.position(token, scope, bytes(31) + b"x") is None


def test_the_form_of_a_token_stays_what_earlier_versions_gave() -> None:
    """Change VERSION, not this."""
    scope = page_token.scope("/a.B/list", [("tags", ["a", "b"])], LOCAL)
    assert page_token.token(7, scope, KEY) == "AQAAAAAAAAAHuxw6e2RdmGJNkanJBDKL0w"
