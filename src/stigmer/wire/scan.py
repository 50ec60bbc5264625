"""How much there is in a message, counted on its bytes, before anything is made of them.

A few bytes on the wire can be an object each: 10 MiB of empty messages would take 500 MB and a sixth of a second to
parse alone. `edge.chain` refuses such messages by this.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from stigmer.errors import ResourceExhausted
from stigmer.wire.descriptors import descriptor
from stigmer.wire.shapes import is_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor

MAX_UNKNOWN_BYTES = 1024 * 1024
MAX_UNKNOWN_FIELDS = 10_000
MAX_FIELDS = 1_000_000
"""So many fields, of numbers and texts too, are looked at: half a second's work. Nobody needs a message with more."""

GUESSED_BYTES = 1024 * 1024
"""Messages up to this size may do without being looked through: to tell how many parts can be there takes 1 ms."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_OPENS = {3: 1, 4: -1}  # the wire types that begin and end a group
_MAX_GROUPS = 100  # within each other: more than any parser takes
_MAX_VARINT = 10
_MAX_BYTE = 0x7F
_FIELDS_A_STEP = 500


class _Known(NamedTuple):
    """A field that the protos know.

    Attributes:
        parts: how many it is; -1 for as many as it has bytes.
        inner: what is known of the message in it.
    """

    parts: int
    inner: _Plan | None


class _Plan(dict[int, _Known]):
    """The fields of a type that the protos know, by tag."""


def scan(full_name: str, data: bytes, max_parts: int) -> Iterator[None]:
    """Count what there is in a message; gives None from time to time (see `slices`).

    A part is a submessage, a list element or a map entry, at any depth. Bytes that are no such message are left for the
    parser to refuse.

    Raises:
        ResourceExhausted: there are more than `max_parts`, more than MAX_FIELDS fields, or of fields that the protos
            do not know more than MAX_UNKNOWN_FIELDS or MAX_UNKNOWN_BYTES.
    """
    count = _Count(full_name.rpartition(".")[2], max_parts)
    try:
        yield from _scan(data, _plan(descriptor(full_name)), count)
    except (IndexError, ValueError):
        return


def surely_fits(full_name: str, data: bytes, max_parts: int) -> bool:
    """Whether there can be no more parts than that, as the bytes tell that could begin one; quicker than `scan`."""
    if len(data) <= 2 * max_parts:  # no part takes less than two bytes
        return True
    if len(data) > GUESSED_BYTES:
        return False
    begins = _beginnings(descriptor(full_name))
    return bool(begins) and len(data) - len(data.translate(None, begins)) <= max_parts


class Field(NamedTuple):
    """Where a field of a message stands: from its tag on, from what it holds on, to its end."""

    number: int
    start: int
    body: int
    end: int


def fields(data: bytes, position: int, end: int) -> Iterator[Field]:
    """The fields of the message in a stretch of bytes, which the C runtime has written."""
    while position < end:
        tag, body, after = _field(data, position)
        yield Field(tag >> 3, position, body, after)
        position = after


def has_more_parts(full_name: str, data: bytes, limit: int) -> bool:
    """Whether there are more parts than that; the work is bounded by the limit, not by the message."""
    try:
        for _ in scan(full_name, data, limit):
            pass
    except ResourceExhausted:
        return True
    return False


class _Count:
    """What was seen, and whether it is too much."""

    def __init__(self, name: str, max_parts: int) -> None:
        self.name, self.max_parts = name, max_parts
        self.parts = self.fields = self.unknown = self.unknown_bytes = self.groups = 0

    def add(self, known: _Known | None, tag: int, body: int, size: int) -> None:
        """Count a field: what stands in it is `body` bytes, and with its tag and length it is `size`."""
        self.fields += 1
        if known is None:
            self.unknown += 1
            self.unknown_bytes += size
            self.groups += _OPENS.get(tag & 7, 0)
            if self.groups > _MAX_GROUPS:
                raise ValueError("nested too deep")
        else:
            self.parts += known.parts if known.parts >= 0 else body

    def check(self) -> None:
        if self.parts > self.max_parts:
            raise ResourceExhausted(f"{self.name} has more than {self.max_parts} parts in it")
        if self.fields > MAX_FIELDS:
            raise ResourceExhausted(f"{self.name} has more than {MAX_FIELDS} fields in it")
        if self.unknown > MAX_UNKNOWN_FIELDS or self.unknown_bytes > MAX_UNKNOWN_BYTES:
            raise ResourceExhausted(
                f"{self.name} has more than {MAX_UNKNOWN_FIELDS} fields, or {MAX_UNKNOWN_BYTES} bytes, unknown here"
            )


def _scan(data: bytes, plan: _Plan, count: _Count) -> Iterator[None]:
    """Go through all fields; IndexError or ValueError where the bytes are no message."""
    outer: list[tuple[int, _Plan]] = []
    position, end = 0, len(data)
    while True:
        while position >= end:
            if not outer:
                count.check()
                return
            end, plan = outer.pop()
        tag, body, after = _field(data, position)
        if after > end:
            raise ValueError("longer than what it stands in")
        known = plan.get(tag)
        count.add(known, tag, after - body, after - position)
        if known is not None and known.inner is not None and after > body:
            outer.append((end, plan))
            position, end, plan = body, after, known.inner
        else:
            position = after
        if not count.fields % _FIELDS_A_STEP:
            count.check()
            yield


def _field(data: bytes, position: int) -> tuple[int, int, int]:
    """A field's tag, and where what stands in it begins and ends."""
    tag = data[position]
    position += 1
    if tag > _MAX_BYTE:
        tag, position = _varint(data, position - 1)
    if tag & 7 != _BYTES:
        return tag, position, _after_number(data, position, tag & 7)
    size = data[position]
    position += 1
    if size > _MAX_BYTE:
        size, position = _varint(data, position - 1)
    return tag, position, position + size


def _after_number(data: bytes, position: int, wire_type: int) -> int:
    if wire_type == _VARINT:
        return _varint(data, position)[1]
    if wire_type == _FIXED64:
        return position + 8
    if wire_type == _FIXED32:
        return position + 4
    if wire_type in _OPENS:  # the ends of a group, which the protos do not have: its fields are looked at as others
        return position
    raise ValueError("no such wire type")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    value = 0
    for index in range(_MAX_VARINT):
        byte = data[position + index]
        value |= (byte & _MAX_BYTE) << 7 * index
        if byte <= _MAX_BYTE:
            return value, position + index + 1
    raise ValueError("a number of more than ten bytes")


@cache
def _beginnings(kind: Descriptor) -> bytes:
    """All bytes with which a part's tag can begin, in a needlessly long one too; none where packed lists have parts."""
    plans: dict[str, _Plan] = {}
    _planned(kind, plans)
    parts = [(tag, known.parts) for plan in plans.values() for tag, known in plan.items() if known.parts]
    if any(count < 0 for _, count in parts):
        return b""
    return bytes({tag & _MAX_BYTE for tag, _ in parts} | {tag & _MAX_BYTE | 0x80 for tag, _ in parts})


@cache
def _plan(kind: Descriptor) -> _Plan:
    plans: dict[str, _Plan] = {}
    return _planned(kind, plans)


def _planned(kind: Descriptor, plans: dict[str, _Plan]) -> _Plan:
    """The plan of a type, and of all that is in it, itself included."""
    plan = plans.get(kind.full_name)
    if plan is None:
        plan = plans[kind.full_name] = _Plan()
        for field in kind.fields:
            inner = _planned(field.message_type, plans) if field.message_type is not None else None
            for wire_type, parts in _shapes(field, within_map=kind.GetOptions().map_entry):
                plan[field.number << 3 | wire_type] = _Known(parts, inner)
    return plan


def _shapes(field: FieldDescriptor, *, within_map: bool) -> Iterator[tuple[int, int]]:
    """The wire types that a field may have, each with its number of parts; a map's value is counted as its entry."""
    single = 1 if field.is_repeated or (field.message_type is not None and not within_map) else 0
    usual = _WIRE_TYPES.get(field.type, _VARINT)
    yield usual, single
    if field.is_repeated and not is_map(field) and usual != _BYTES:
        yield _BYTES, -1


_WIRE_TYPES = {
    FieldDescriptor.TYPE_DOUBLE: _FIXED64,
    FieldDescriptor.TYPE_FIXED64: _FIXED64,
    FieldDescriptor.TYPE_SFIXED64: _FIXED64,
    FieldDescriptor.TYPE_FLOAT: _FIXED32,
    FieldDescriptor.TYPE_FIXED32: _FIXED32,
    FieldDescriptor.TYPE_SFIXED32: _FIXED32,
    FieldDescriptor.TYPE_STRING: _BYTES,
    FieldDescriptor.TYPE_BYTES: _BYTES,
    FieldDescriptor.TYPE_MESSAGE: _BYTES,
}
