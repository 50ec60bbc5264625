"""A template gives what putting the values into the message gives, byte for byte, whatever they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmer.secrets import fields, template
from stigmer.secrets.fields import Place
from stigmer.wire import codec
from stigmer.wire.descriptors import message_class

PACKAGE = "ai.stigmer.agentic"
TEXTS = st.dictionaries(st.text(max_size=6), st.text(min_size=1, max_size=200), max_size=8)


def both(wire: Any) -> tuple[Any, dict[Place, bytes], bytes]:
    """The message without its values, these, and all of it as bytes."""
    whole = codec.serialized(wire)
    values, _ = fields.take(wire)
    return wire, values, whole


@given(TEXTS, TEXTS, st.binary(max_size=9))
def test_it_is_filled_to_the_whole_resource(secret: dict[str, str], plain: dict[str, str], unknown: bytes) -> None:
    wire: Any = message_class(f"{PACKAGE}.executioncontext.v1.ExecutionContext")()
    for is_secret, texts in ((False, plain), (True, secret)):
        for key, text in texts.items():
            wire.spec.data[key].value, wire.spec.data[key].is_secret = text, is_secret
    if unknown:
        wire.MergeFromString(b"\xfa\x3f" + bytes([len(unknown)]) + unknown)  # field 1023
    wire, values, whole = both(wire)
    made = template.made(wire, values, whole)
    assert made is not None
    assert made.filled(values) == whole
    others = {place: b"x" * len(value) for place, value in values.items()}
    fields.put(message := type(wire).FromString(_bare(wire)), others)
    assert made.filled(others) == codec.serialized(message)


def _bare(wire: Any) -> bytes:
    """A message of which a template was made, without the values again."""
    fields.take(wire)
    return codec.serialized(wire)


def test_bytes_in_a_field_of_their_own_have_room_too() -> None:
    wire: Any = message_class(f"{PACKAGE}.agentexecution.v1.AgentExecution")()
    wire.spec.callback_token, wire.spec.message = b"\xff\x00token", "\x00\x01"
    made = template.made(*both(wire))
    assert made is not None
    assert made.filled({Place("spec.callback_token", ""): b"another"}).count(b"another") == 1
    assert b"token" not in made.data


@pytest.mark.parametrize("limit", ["MOST_VALUES", "MOST_BYTES"])
def test_none_is_made_of_what_is_large(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wire: Any = message_class(f"{PACKAGE}.executioncontext.v1.ExecutionContext")()
    wire.spec.data["KEY"].value, wire.spec.data["KEY"].is_secret = "value", True
    monkeypatch.setattr(template, limit, 0)
    assert template.made(*both(wire)) is None
