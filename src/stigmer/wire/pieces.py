"""A long message as bytes, written a piece at a time: the C runtime writes 10 MiB in one go, for some 15 ms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from stigmer.wire.bounds import TRANSCRIPT, holds_transcript
from stigmer.wire.codec import serialized
from stigmer.wire.scalars import UnknownFieldSet, unknown_bytes, varint
from stigmer.wire.shapes import is_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

ENTRIES_A_PIECE = 50
_LENGTH_DELIMITED = 2  # the wire type


def written(wire: Message) -> Iterator[bytes | None]:
    """The message as bytes, as `serialized` gives them; None at each point where the work could be left.

    The lists of a transcript are written some entries at a time.
    """
    pieces: list[bytes] = []
    for piece in _pieces(wire):
        if piece is not None:
            pieces.append(piece)
        yield None
    yield b"".join(pieces)


def _pieces(wire: Message) -> Iterator[bytes | None]:
    for field, value in wire.ListFields():
        if field.full_name in TRANSCRIPT and not is_map(field):
            for start in range(0, len(value), ENTRIES_A_PIECE):
                yield _alone(wire, field, value[start : start + ENTRIES_A_PIECE])
        elif _goes_on(field):
            inner: list[bytes] = []
            for piece in _pieces(value):
                inner += [piece] if piece is not None else []
                yield None
            yield varint(field.number << 3 | _LENGTH_DELIMITED) + varint(sum(map(len, inner)))
            yield from inner
        else:
            yield _alone(wire, field, value)
    if len(UnknownFieldSet(wire)):
        yield unknown_bytes(wire)


def _goes_on(field: FieldDescriptor) -> bool:
    """Whether there can be a transcript in the one message that the field holds."""
    kind = field.message_type
    return kind is not None and not field.is_repeated and holds_transcript(kind.full_name)


def _alone(wire: Message, field: FieldDescriptor, value: Any) -> bytes:  # noqa: ANN401 - any field's value
    """A message of the same type that has nothing but this field, as bytes."""
    one: Any = cast("Any", type(wire))()
    if field.is_repeated:
        getattr(one, field.name).MergeFrom(value)
    elif field.message_type is not None:
        getattr(one, field.name).CopyFrom(value)
    else:
        setattr(one, field.name, value)
    return serialized(one)
