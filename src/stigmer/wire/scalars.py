"""The values that need more than copying between a wire message and an object, and the checks of all others.

Called by the functions that `converters` compiles; the names in `__all__` are what their source may use.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Protocol, TypeVar

import betterproto2
from google.protobuf.unknown_fields import UnknownFieldSet

if TYPE_CHECKING:
    from collections.abc import Collection

    from google.protobuf.message import Message

__all__ = [
    "BadValue",
    "UnknownFieldSet",
    "all_checked",
    "check",
    "read_span",
    "read_time",
    "unknown_bytes",
    "write_span",
    "write_time",
]

WELL_KNOWN = {"google.protobuf.Timestamp": "time", "google.protobuf.Duration": "span"}
"""Message types that betterproto2 holds as a value of Python, with the last part of their functions' names."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_NANOS = 10**9

C = TypeVar("C", bound="Collection[object]")


class BadValue(ValueError):
    """The wire cannot hold a value; the words do not tell what it is."""


class SecondsAndNanos(Protocol):
    """A wire Timestamp or Duration."""

    seconds: int
    nanos: int


class Members(dict[int, betterproto2.Enum]):
    """An enum's members by number. Unknown numbers give a nameless member each time and are not kept."""

    def __init__(self, enum: type[betterproto2.Enum]) -> None:
        super().__init__((member.value, member) for member in enum)
        self._enum = enum

    def __missing__(self, number: int) -> betterproto2.Enum:
        return self._enum(number)


def check(value: object, wanted: type | tuple[type, ...], what: str = "") -> None:
    """Raise BadValue unless `value` is of that class. A bool is no number; an int will do for a float.

    `what` stands before the words: a key of a map, say.
    """
    fits = isinstance(value, (int, float) if wanted is float else wanted)
    if not fits or (isinstance(value, bool) and wanted is not bool):
        name = (wanted if isinstance(wanted, type) else wanted[0]).__name__
        raise BadValue(f"{what}must be {name}, not {type(value).__name__}")


def all_checked(values: C, wanted: type, what: str = "") -> C:
    """The values themselves; raises BadValue unless each is of that class."""
    if set(map(type, values)) != {wanted}:
        for value in values:
            check(value, wanted, what)
    return values


def read_time(wire: SecondsAndNanos) -> dt.datetime:
    """A Timestamp as an aware datetime, cut to microseconds; ValueError or OverflowError where it is none."""
    nanos = wire.nanos
    if not 0 <= nanos < _NANOS:
        raise ValueError("nanos")
    return _EPOCH + dt.timedelta(seconds=wire.seconds, microseconds=nanos // 1000)


def write_time(wire: SecondsAndNanos, value: dt.datetime) -> None:
    """Set a Timestamp; BadValue for a datetime without a time zone."""
    try:
        since = value - _EPOCH
    except TypeError:
        raise BadValue(f"must be a datetime with a time zone, not {type(value).__name__}") from None
    wire.seconds, wire.nanos = since.days * 86_400 + since.seconds, since.microseconds * 1000


def read_span(wire: SecondsAndNanos) -> dt.timedelta:
    """A Duration as a timedelta, cut to microseconds towards zero; ValueError or OverflowError where it is none."""
    seconds, nanos = wire.seconds, wire.nanos
    if abs(nanos) >= _NANOS or seconds * nanos < 0:
        raise ValueError("nanos")
    return dt.timedelta(seconds=seconds, microseconds=nanos // 1000 if nanos >= 0 else -(-nanos // 1000))


def write_span(wire: SecondsAndNanos, value: dt.timedelta) -> None:
    """Set a Duration; seconds and nanos bear the same sign."""
    check(value, dt.timedelta)
    seconds, micros = divmod(abs(value) // _MICROSECOND, 10**6)
    sign = 1 if value >= dt.timedelta() else -1
    wire.seconds, wire.nanos = sign * seconds, sign * micros * 1000


def unknown_bytes(wire: Message) -> bytes:
    """Fields of this message, not of those in it, that the protos do not know, as they stood on the wire."""
    rest: Message = type(wire)()
    rest.CopyFrom(wire)
    for field, _ in rest.ListFields():
        rest.ClearField(field.name)
    return rest.SerializeToString()


def varint(value: int) -> bytes:
    """A number of zero or more as the wire has tags and lengths."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
