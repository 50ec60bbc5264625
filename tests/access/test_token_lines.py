"""What a line of a tokens file says, and what is said of one that is wrong."""

from __future__ import annotations

import datetime as dt
import string
from contextlib import suppress

import pytest
from bearing import principal, token
from hypothesis import given
from hypothesis import strategies as st

from stigmer.access.principal import ALL, RESERVED, ROLES
from stigmer.access.token_lines import Token, digest_of, principal_of, token_of, tokens_of

DIGEST = digest_of("stg_ann").hex()
NAMES = st.text(string.ascii_letters + string.digits + "._@-", min_size=1).filter(lambda name: name not in RESERVED)
ORGANIZATIONS = st.just((ALL,)) | st.lists(NAMES, unique=True).map(tuple)
DATES = st.none() | st.dates()


@given(NAMES, st.sampled_from(ROLES), ORGANIZATIONS, DATES, st.binary(min_size=32, max_size=32))
def test_a_line_says_what_it_was_made_of(
    name: str, role: str, organizations: tuple[str, ...], not_after: dt.date | None, digest: bytes
) -> None:
    one = Token(principal_of(name, role, organizations), not_after, digest)
    assert token_of(one.line) == one
    assert tokens_of(f"# {name}\n\n  {one.line}\r\n") == {digest: one}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (f"ann:editor:acme:{DIGEST}", "4 fields; write name:role:organizations:not_after:sha256"),
        (f"ann:editor:acme:::{DIGEST}", "6 fields"),
        (f":editor:acme::{DIGEST}", "name: takes letters"),
        (f"ann smith:editor:acme::{DIGEST}", "name: takes letters"),
        (f"änn:editor:acme::{DIGEST}", "name: takes letters"),
        *((f"{name}:editor:acme::{DIGEST}", "are the server's own; choose another") for name in sorted(RESERVED)),
        (f"ann:Editor:acme::{DIGEST}", "role: write one of reader, runner, editor, admin"),
        (f"ann::acme::{DIGEST}", "role: write one of"),
        (f"ann:editor:acme,::{DIGEST}", "organizations: each takes letters"),
        (f"ann:editor:acme, elsewhere::{DIGEST}", "organizations: each takes letters"),
        (f"ann:editor:*,acme::{DIGEST}", "organizations: * is all of them"),
        (f"ann:editor:acme:tomorrow:{DIGEST}", "not_after: write the last day like 2027-03-31"),
        (f"ann:editor:acme:2027-02-29:{DIGEST}", "not_after: write the last day like"),
        ("ann:editor:acme::", "sha256: write the SHA-256 of the whole token in 64 hexadecimal digits"),
        (f"ann:editor:acme::{DIGEST[:-1]}", "sha256: write"),
        (f"ann:editor:acme::{DIGEST} # Ann's", "sha256: write"),
        ("ann:editor:acme::stg_hunter2-canary", "sha256: write"),
    ],
)
def test_a_wrong_line_is_named_with_the_remedy_and_not_repeated(line: str, what: str) -> None:
    with pytest.raises(ValueError, match=r"^line 3: ") as caught:
        tokens_of(f"# the first\n\n{line}\n")
    assert what in str(caught.value)
    assert "canary" not in str(caught.value)
    assert DIGEST not in str(caught.value)


def test_of_many_wrong_lines_the_first_are_named() -> None:
    with pytest.raises(ValueError, match=r"^line 1: .*; line 2: .*; line 3: .*; and 2 more$"):
        tokens_of("wrong\n" * 5)


def test_one_token_on_two_lines_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^line 3: the same one as on line 1; remove one of them$"):
        tokens_of(f"ann:editor:acme::{DIGEST}\n\nbob:admin:*::{DIGEST.upper()}\n")


def test_two_tokens_may_have_one_name() -> None:
    old, new = token("stg_old"), token("stg_new")
    assert tokens_of(f"{old.line}\n{new.line}") == {old.digest: old, new.digest: new}


def test_a_token_may_be_of_no_organization() -> None:
    assert token_of(f"ann:reader:::{DIGEST}").principal.organizations == frozenset()


def test_a_token_is_good_to_the_end_of_its_last_day_in_utc() -> None:
    ends = dt.datetime.fromtimestamp(token("stg_ann", not_after=dt.date(2027, 3, 31)).ends_s, dt.UTC)
    assert ends == dt.datetime(2027, 4, 1, tzinfo=dt.UTC)
    assert token("stg_ann", not_after=dt.date.max).ends_s > token("stg_ann", not_after=dt.date(9999, 1, 1)).ends_s
    assert token("stg_ann").ends_s == float("inf")


def test_a_fingerprint_is_no_name_and_no_part_of_the_digest() -> None:
    one = token("stg_ann")
    with pytest.raises(ValueError, match=r"^name: "):
        principal(one.fingerprint)
    assert one.fingerprint.removeprefix("fp:") not in one.digest.hex()
    assert one.fingerprint != token("stg_bob").fingerprint


FIELDS = st.sampled_from(
    ["ann", "local", "editor", "acme", "acme,*", "*", "", "2027-03-31", "0000-00-00", DIGEST, "\r"]
)


@given(
    st.lists(st.lists(FIELDS | st.text("aé ,*#\0\t", max_size=5), max_size=7).map(":".join), max_size=5).map("\n".join)
)
def test_no_text_gives_a_reserved_name_or_raises_anything_but_a_value_error(text: str) -> None:
    with suppress(ValueError):
        for one in tokens_of(text).values():
            assert one.principal.name not in RESERVED
            assert "" not in one.principal.organizations
            assert token_of(one.line) == one
