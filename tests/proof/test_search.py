"""The search finds a value in every form, whole or cut off, and tells of it without showing it."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from stigmer.proof.canaries import FORMS, Canaries
from stigmer.proof.search import Search

ALIGNMENTS = range(3)


def found(data: bytes, canaries: Canaries) -> list[str]:
    search = Search(canaries)
    search.look("log", data)
    return sorted({finding.canary for finding in search.findings})


@pytest.mark.parametrize("is_text", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_a_value_is_found_in_every_form_among_other_bytes(form: str, is_text: bool) -> None:
    canaries = Canaries()
    canaries.one("the other", is_text=is_text)
    canary = canaries.one("the one", is_text=is_text)
    written = FORMS[form](canary.value)
    assert found(b"before" + written + b"after", canaries) == ["the one"]
    assert canary.own not in b"".join(map(str.encode, found(written, canaries)))


@pytest.mark.parametrize("before", ALIGNMENTS)
def test_a_value_is_found_in_base64_whatever_is_encoded_with_it(before: int) -> None:
    canaries = Canaries()
    for is_text in (True, False):
        value = canaries.one(f"text: {is_text}", is_text=is_text).value
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            assert found(encode(b"x" * before + value + b"yy"), canaries) == [f"text: {is_text}"]


def test_a_value_inside_of_json_inside_of_a_url_is_found() -> None:
    canaries = Canaries()
    value = canaries.one("nested").value.decode()
    assert found(quote(json.dumps({"token": value})).encode(), canaries) == ["nested"]


@pytest.mark.parametrize("cut", [slice(None, 24), slice(24), slice(-24, None)])
def test_what_is_left_of_a_value_is_found(cut: slice) -> None:
    canaries = Canaries()
    assert found(b"..." + canaries.one("a text").value[cut] + b"...", canaries) == ["one that is cut off"]


def test_a_secret_that_was_not_made_for_this_is_found_too() -> None:
    canaries, key = Canaries(), bytes(range(32))
    canaries.known("a key", key)
    for form in ("raw", "hex", "base64, 0 bytes into a group"):
        assert found(b"\0" + FORMS[form](key) + b"\0", canaries) == ["a key"]


def test_nothing_is_found_where_nothing_is() -> None:
    canaries = Canaries()
    others = [Canaries().one("of another run", is_text=is_text) for is_text in (True, False)]
    canaries.one("a text")
    canaries.one("bytes", is_text=False)
    for other in others:
        for write in FORMS.values():
            assert found(write(other.value), canaries) == []


def test_nothing_that_is_told_shows_a_value() -> None:
    canaries = Canaries()
    canary = canaries.one("a text")
    search = Search(canaries)
    search.look("log", canary.value)
    (finding,) = {one for one in search.findings if one.form == "raw"}
    for told in (str(finding), repr(finding), repr(search), repr(canaries)):
        assert canary.own.decode() not in told
    assert str(finding) == "log: a text, raw"
