"""Hypothesis strategies for wire messages of any type, made from descriptors alone."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from stigmer.wire import descriptors
from stigmer.wire.scalars import varint
from stigmer.wire.shapes import is_map, map_parts, message_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
TEXT = st.text(max_size=8)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: INT32,
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_ENUM: st.one_of(st.integers(0, 6), INT32),  # open: numbers without a name too
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
}


def unknown_fields(numbers: st.SearchStrategy[int], depth: int = 2) -> st.SearchStrategy[bytes]:
    """One field of each wire type, groups included, on the wire."""
    payloads = [
        st.tuples(st.just(0), st.integers(0, (1 << 64) - 1).map(varint)),
        st.tuples(st.just(1), st.binary(min_size=8, max_size=8)),
        st.tuples(st.just(2), st.binary(max_size=6).map(lambda data: varint(len(data)) + data)),
        st.tuples(st.just(5), st.binary(min_size=4, max_size=4)),
    ]
    one = st.builds(lambda number, rest: varint(number << 3 | rest[0]) + rest[1], numbers, st.one_of(payloads))
    if not depth:
        return one
    inner = st.lists(unknown_fields(numbers, depth - 1), max_size=2).map(b"".join)
    group = st.builds(lambda n, body: varint(n << 3 | 3) + body + varint(n << 3 | 4), numbers, inner)
    return st.one_of(one, group)


UNKNOWN = st.lists(unknown_fields(st.integers(5000, 5005)), max_size=2).map(b"".join)


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=8)
    return TEXT if field.type == FieldDescriptor.TYPE_STRING else SCALARS[field.cpp_type]


@st.composite
def messages(draw: Callable[..., Any], kind: Descriptor, depth: int = 4) -> Message:
    """A message with any of its fields set, unknown ones included; Timestamps have whole microseconds."""
    wire: Any = descriptors.message_class(kind.full_name)()
    if kind.full_name == "google.protobuf.Timestamp":
        wire.seconds = draw(st.integers(-62_135_596_800, 253_402_300_799))
        wire.nanos = draw(st.integers(0, 999_999)) * 1000
        return wire  # type: ignore[no-any-return]  # the runtime makes the class
    wire.MergeFromString(draw(UNKNOWN))
    usable = [field for field in kind.fields if depth or _holds_no_messages(field)]
    for field in draw(st.lists(st.sampled_from(usable), unique_by=lambda one: one.name)) if usable else ():
        _fill(draw, wire, field, depth)
    return wire  # type: ignore[no-any-return]  # the runtime makes the class


def _holds_no_messages(field: FieldDescriptor) -> bool:
    return (map_parts(field)[1] if is_map(field) else field).message_type is None


def _fill(draw: Callable[..., Any], wire: Any, field: FieldDescriptor, depth: int) -> None:
    target = getattr(wire, field.name)
    if is_map(field):
        key, value = map_parts(field)
        for name in draw(st.lists(scalars(key), max_size=2)):
            if value.message_type is None:
                target[name] = draw(scalars(value))
            else:
                target[name].MergeFrom(draw(messages(message_type(value), depth - 1)))
    elif field.message_type is None:
        strategy = scalars(field)
        if field.is_repeated:
            target.extend(draw(st.lists(strategy, max_size=3)))
        else:
            setattr(wire, field.name, draw(strategy))
    elif field.is_repeated:
        target.extend(draw(st.lists(messages(message_type(field), depth - 1), max_size=2)))
    else:
        target.SetInParent()
        target.MergeFrom(draw(messages(message_type(field), depth - 1)))


def _with_nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for inner in message.nested_types:
        if not inner.GetOptions().map_entry:
            yield from _with_nested(inner)


@cache
def message_names() -> tuple[str, ...]:
    """The full names of all messages that our own protos declare, nested ones included, map entries not."""
    files = map(descriptors.POOL.FindFileByName, descriptors._FILES)
    tops = (top for file in files for top in file.message_types_by_name.values())
    return tuple(message.full_name for top in tops for message in _with_nested(top))


def any_message() -> st.SearchStrategy[Message]:
    return st.sampled_from(message_names()).flatmap(lambda name: messages(descriptors.descriptor(name)))


def stable(wire: Message) -> bytes:
    """The bytes by which two messages are compared."""
    return wire.SerializeToString(deterministic=True)
