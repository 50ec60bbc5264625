"""The words for a message that cannot be converted, with the path from the root to the field at fault.

The converters are written for speed and fail with whatever exception comes first. `codec` then asks here, for the first
such field of an object; a message that a caller sent is looked through beforehand, in slices, for all of them.
"""

from __future__ import annotations

import traceback
from functools import cache
from linecache import getline
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.message import DecodeError

from stigmer.errors import Violation
from stigmer.wire import scalars
from stigmer.wire.converters import FILENAME, MAX_RECURSION, TOO_DEEP
from stigmer.wire.message_types import is_recursive
from stigmer.wire.shapes import At, entries_of, has_any, message_type, path_of, path_part, value_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import CodeType

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

_MOST = 100
"""Violations reported at most."""
_ENTRIES_A_STEP = 100
_TIME_WORDS = {"time": "is no date between the years 1 and 9999", "span": "is no valid length of time"}


def object_fault(error: Exception) -> Violation:
    """Where in an object a write function of `converters` failed, as its traceback tells, and why."""
    path: list[str] = []
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(FILENAME):
            path.append(_place(frame.f_code, number, frame.f_locals))
    return Violation(".".join(filter(None, path)), _words(error))


@cache
def is_fallible(kind: Descriptor) -> bool:
    """Whether there can be a message of that type on the wire which no object holds."""
    return _is_itself_fallible(kind) or bool(_fallible_fields(kind))


def wire_faults(wire: Message) -> Iterator[Violation | None]:
    """Why an object cannot hold this wire message: times that Python has not, and messages nested too deep.

    Gives None at each point where the work could be left (see `slices`).
    """
    left = _MOST
    for fault in _in_wire(wire, None, 0):
        left -= fault is not None
        yield fault
        if not left:
            return


def _place(code: CodeType, number: int, variables: Mapping[str, Any]) -> str:
    """The field that a line of a write function is about, with the index or key of the entry in hand."""
    line = named = getline(code.co_filename, number)
    while "  # " not in named and number > code.co_firstlineno:
        number -= 1
        named = getline(code.co_filename, number)
    name = named.partition("  # ")[2].strip()
    if "for e in v" in line:
        return path_part(name, len(variables["m"]) - 1)
    return path_part(name, variables["k"] if "for k, e in v" in line else None)


def _words(error: Exception) -> str:
    """What is wrong, without the value, which the C runtime's own words may tell."""
    if isinstance(error, scalars.BadValue):
        return str(error)
    if isinstance(error, UnicodeError):
        return "is not valid Unicode: a surrogate stands alone"
    if isinstance(error, DecodeError):
        return "its unknown fields are not in the wire format"
    return "is out of range" if isinstance(error, ValueError | OverflowError) else f"is none ({type(error).__name__})"


def _in_wire(wire: Message, at: At, depth: int) -> Iterator[Violation | None]:
    kind = cast("Descriptor", wire.DESCRIPTOR)
    special = scalars.WELL_KNOWN.get(kind.full_name)
    if special is not None:
        try:
            getattr(scalars, f"read_{special}")(wire)
        except (ValueError, OverflowError):
            yield Violation(path_of(at), _TIME_WORDS[special])
    elif depth > MAX_RECURSION:
        yield Violation(path_of(at), TOO_DEEP)
    else:
        deeper = depth + 1 if is_recursive(kind) else 0
        for field in _fallible_fields(kind):
            if field.is_repeated:
                yield from _in_entries(wire, field, at, deeper)
            elif wire.HasField(field.name):
                yield from _in_wire(getattr(wire, field.name), (at, field.name, None), deeper)


def _in_entries(wire: Message, field: FieldDescriptor, at: At, depth: int) -> Iterator[Violation | None]:
    """In the entries of a list or a map; most of a long one have nothing in them that could be at fault."""
    may_fail = _may_fail(message_type(value_field(field)))
    for number, (key, one) in enumerate(entries_of(field, getattr(wire, field.name))):
        if not number % _ENTRIES_A_STEP:
            yield None
        if may_fail(one):
            yield from _in_wire(one, (at, field.name, key), depth)


@cache
def _fallible_fields(kind: Descriptor) -> tuple[FieldDescriptor, ...]:
    """The fields in which there can be a message that no object holds: a time, or one that contains its own type."""
    inner = ((field, value_field(field).message_type) for field in kind.fields)
    return tuple(field for field, of_values in inner if of_values is not None and is_fallible(of_values))


def _is_itself_fallible(kind: Descriptor) -> bool:
    return kind.full_name in scalars.WELL_KNOWN or is_recursive(kind)


@cache
def _may_fail(kind: Descriptor) -> Callable[[Message], bool]:
    """Whether there is anything in a message of a fallible type that could be at fault."""
    return (lambda _: True) if _is_itself_fallible(kind) else has_any(_fallible_fields(kind))
