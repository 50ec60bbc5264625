"""The words for a message that cannot be converted: every field at fault by its path from the root.

The converters are written for speed and fail with whatever exception comes first. `codec` then asks here; nothing of
this runs for messages that are all right.
"""

from __future__ import annotations

import json
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from stigmer.errors import Violation
from stigmer.wire import scalars
from stigmer.wire.converters import MAX_RECURSION
from stigmer.wire.descriptors import is_map, map_parts, message_class
from stigmer.wire.message_types import is_recursive, object_class, python_names, python_type
from stigmer.wire.paths import At, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

_MOST = 100
"""Violations reported at most: an object that contains itself would have no end of them."""
_TOO_DEEP = f"is nested more than {MAX_RECURSION} levels deep"
_TIME_WORDS = {"time": "is no date between the years 1 and 9999", "span": "is no valid length of time"}
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), 1 << 31),
    FieldDescriptor.CPPTYPE_ENUM: (-(1 << 31), 1 << 31),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1 << 32),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), 1 << 63),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1 << 64),
}


def object_faults(message: object, kind: Descriptor) -> list[Violation]:
    """Why the wire cannot hold this object; empty where nothing is found."""
    return list(islice(_in_object(message, kind, "", 0), _MOST))


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


def _in_object(message: object, kind: Descriptor, path: str, depth: int) -> Iterator[Violation]:
    cls = object_class(kind.full_name)
    if not isinstance(message, cls):
        yield _not_a(cls, message, path)
        return
    if depth > MAX_RECURSION:
        yield Violation(path, _TOO_DEEP)
        return
    names = python_names(cls)
    values = {field.name: vars(message).get(names[field.number]) for field in kind.fields}
    yield from _in_oneofs(kind, values, path)
    for field in kind.fields:
        yield from _in_field(values[field.name], field, _join(path, field.name), depth)
    yield from _in_unknown(vars(message).get("_unknown_fields"), kind, path)


def _in_oneofs(kind: Descriptor, values: Mapping[str, object], path: str) -> Iterator[Violation]:
    for oneof in kind.oneofs:
        members = [field.name for field in oneof.fields if values[field.name] is not None]
        if len(members) > 1:
            yield Violation(_join(path, oneof.name), f"only one of {' and '.join(members)} may be set")


def _in_field(value: object, field: FieldDescriptor, path: str, depth: int) -> Iterator[Violation]:
    if is_map(field):
        yield from _in_map(value, field, path, depth)
    elif field.is_repeated:
        if not isinstance(value, (list, tuple)):
            yield _not_a(list, value, path)
            return
        for index, one in enumerate(cast("Sequence[object]", value)):
            yield from _in_value(one, field, f"{path}[{index}]", depth)
    elif value is not None or not field.has_presence:
        yield from _in_value(value, field, path, depth)


def _in_map(entries: object, field: FieldDescriptor, path: str, depth: int) -> Iterator[Violation]:
    if not isinstance(entries, dict):
        yield _not_a(dict, entries, path)
        return
    key_field, value_field = map_parts(field)
    for key, value in cast("dict[object, object]", entries).items():
        wrong = list(_in_scalar(key, key_field, path))
        yield from (Violation(one.field, f"a key {one.description}") for one in wrong)
        if not wrong:
            yield from _in_value(value, value_field, f"{path}[{_key(key)}]", depth)


def _in_value(value: object, field: FieldDescriptor, path: str, depth: int) -> Iterator[Violation]:
    if field.message_type is None:
        yield from _in_scalar(value, field, path)
    elif field.message_type.full_name in scalars.WELL_KNOWN:
        yield from _in_time(value, field.message_type, path)
    else:
        deeper = depth + 1 if is_recursive(field.message_type) else depth
        yield from _in_object(value, field.message_type, path, deeper)


def _in_time(value: object, kind: Descriptor, path: str) -> Iterator[Violation]:
    special = scalars.WELL_KNOWN[kind.full_name]
    try:
        getattr(scalars, f"write_{special}")(message_class(kind.full_name)(), value)
    except (TypeError, ValueError):
        wanted = "a datetime with a time zone" if special == "time" else "a timedelta"
        yield Violation(path, f"must be {wanted}, not {type(value).__name__}")


def _in_scalar(value: object, field: FieldDescriptor, path: str) -> Iterator[Violation]:
    wanted = python_type(field)
    try:
        scalars.check(value, wanted)
        if isinstance(value, str):
            value.encode()
        elif wanted is float:
            float(cast("float", value))
    except TypeError:
        yield _not_a(wanted, value, path)
    except UnicodeEncodeError:
        yield Violation(path, "is not valid Unicode: a surrogate stands alone")
    except OverflowError:
        yield Violation(path, "is too large for a float")
    else:
        yield from _in_range(value, field, path)


def _in_range(value: Any, field: FieldDescriptor, path: str) -> Iterator[Violation]:  # noqa: ANN401 - checked before
    low, high = _BITS.get(field.cpp_type, (None, None))
    if low is not None and high is not None and python_type(field) is int and not low <= value < high:
        yield Violation(path, f"must be at least {low} and less than {high}")


def _in_unknown(raw: object, kind: Descriptor, path: str) -> Iterator[Violation]:
    if not raw:
        return
    try:
        message_class(kind.full_name)().MergeFromString(cast("bytes", raw))
    except (DecodeError, TypeError):
        yield Violation(path, "its unknown fields are not in the wire format")


def _in_wire(wire: Message, at: At, depth: int) -> Iterator[Violation | None]:
    kind = cast("Descriptor", wire.DESCRIPTOR)
    special = scalars.WELL_KNOWN.get(kind.full_name)
    yield None
    if special is not None:
        try:
            getattr(scalars, f"read_{special}")(wire)
        except (ValueError, OverflowError):
            yield Violation(path_of(at), _TIME_WORDS[special])
    elif depth > MAX_RECURSION:
        yield Violation(path_of(at), _TOO_DEEP)
    else:
        deeper = depth + 1 if is_recursive(kind) else 0
        for field in _fallible_fields(kind):
            if not field.is_repeated:
                if wire.HasField(field.name):
                    yield from _in_wire(getattr(wire, field.name), (at, field.name, None), deeper)
                continue
            value: Any = getattr(wire, field.name)
            for key in value if is_map(field) else range(len(value)):
                yield from _in_wire(value[key], (at, field.name, key), deeper)


@cache
def _fallible_fields(kind: Descriptor) -> tuple[FieldDescriptor, ...]:
    """The fields in which there can be a message that no object holds: a time, or one that contains its own type."""
    return tuple(field for field in kind.fields if any(map(_is_fallible, _value_types(field))))


@cache
def _is_fallible(kind: Descriptor) -> bool:
    return kind.full_name in scalars.WELL_KNOWN or is_recursive(kind) or bool(_fallible_fields(kind))


def _value_types(field: FieldDescriptor) -> list[Descriptor]:
    """The type of the messages in a field; none for scalars."""
    kind = map_parts(field)[1].message_type if is_map(field) else field.message_type
    return [kind] if kind is not None else []


def _not_a(wanted: type, value: object, path: str) -> Violation:
    return Violation(path, f"must be {wanted.__name__}, not {type(value).__name__}")


def _key(key: object) -> str:
    return json.dumps(key, ensure_ascii=False)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
