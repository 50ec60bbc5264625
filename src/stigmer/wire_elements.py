"""How much there is in a wire message: a few bytes on the wire can be an object each in Python.

`codec` refuses requests that would hold up everybody else, `validation` looks for every broken field of others only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stigmer.descriptors import is_map, map_parts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message


def has_more_elements(wire: Message, limit: int) -> bool:
    """Whether the message holds more than `limit` submessages, list elements and map entries, at all depths.

    Stops where that is known: the work is bounded by `limit`, not by the message.
    """
    left = limit
    waiting = [wire]
    while waiting:
        for field, value in waiting.pop().ListFields():
            inner, count = _inside(field, value)
            left -= count
            if left < 0:
                return True
            waiting.extend(inner)
    return False


def unknown_size(wire: Message) -> int:
    """How many bytes are fields that the protos do not know, at all depths; counted by the C runtime."""
    known = type(wire)()
    known.CopyFrom(wire)
    known.DiscardUnknownFields()
    return wire.ByteSize() - known.ByteSize()


def _inside(field: FieldDescriptor, value: Any) -> tuple[Iterable[Message], int]:  # noqa: ANN401 - any field's value
    """The messages in a field, and how many elements it has."""
    if is_map(field):
        messages = value.values() if map_parts(field)[1].message_type is not None else ()
        return messages, len(value)
    if field.message_type is None:
        return (), len(value) if field.is_repeated else 0
    return (value, len(value)) if field.is_repeated else ((value,), 1)
