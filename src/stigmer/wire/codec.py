"""Between bytes, wire messages and betterproto2 objects: the only place where one becomes another.

A wire message is the C runtime's (upb), of the private pool in `descriptors`; handlers see betterproto2 objects. Bytes
are read and written by the C runtime alone, which is strict about UTF-8, wire types and depth; betterproto2's own parse
and bytes are used nowhere. `rpc` plugs this into grpclib, the store keeps what `encode` gives. What only passes
through is not converted at all: `lazily` gives an object that is filled in when somebody touches it.

Two things do not survive a trip through an object: nanoseconds of a Timestamp below the microsecond, and unknown
fields inside a Timestamp.
"""

from __future__ import annotations

from functools import cache
from typing import Generic, NamedTuple, TypeVar, cast

import betterproto2
from google.protobuf.message import DecodeError, Message

from stigmer.errors import InvalidArgument
from stigmer.wire import descriptors
from stigmer.wire.converters import Converter, Converters
from stigmer.wire.faults import object_fault, wire_faults
from stigmer.wire.lazy import class_of, later, untouched
from stigmer.wire.message_types import full_name_of
from stigmer.wire.slices import at_once

M = TypeVar("M", bound=betterproto2.Message)

_CONVERTERS = Converters()
# What a converter meets where an object holds what its type hints forbid, or Python cannot hold what the wire does.
_REFUSALS = (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError, DecodeError)


class Encoded(NamedTuple, Generic[M]):
    """A message that is bytes already, such as a stored row on its way out.

    Attributes:
        type: the generated class of the message.
        data: the message on the wire.
    """

    type: type[M]
    data: bytes

    def decode(self) -> M:
        """A new object with what the bytes hold, filled in when it is touched."""
        return lazily(self.type, self.data)


def to_wire(message: betterproto2.Message) -> Message:
    """A wire message with all that the object holds, unknown fields included.

    Raises:
        InvalidArgument: the wire cannot hold it; the first such field is named. Two members of a oneof are set, a
            value has another type than its field, a number is out of range, a string holds a lone surrogate, a Struct
            is nested too deep.
        TypeError: not an object of a generated class.
    """
    converter = _converter_of(class_of(message))
    wire = converter.wire_class()
    try:
        converter.write(wire, message)
    except _REFUSALS as error:
        raise InvalidArgument(object_fault(error)) from error
    return wire


def from_wire(wire: Message) -> betterproto2.Message:
    """A new object with all that the wire message holds; the two share nothing that can change.

    Raises:
        InvalidArgument: a Timestamp or Duration is out of Python's range, or a Struct is nested too deep; every such
            field is named.
    """
    converter = _CONVERTERS.of(wire.DESCRIPTOR.full_name)
    try:
        return converter.read(wire)
    except _REFUSALS as error:
        raise InvalidArgument(*at_once(wire_faults(wire))) from error


def wire_of(message: betterproto2.Message) -> Message:
    """The object on the wire, not to be changed: what it comes from, where nobody has touched it; else as `to_wire`."""
    source = untouched(message)
    if isinstance(source, bytes):
        return parse(class_of(message), source)
    return source if source is not None else to_wire(message)


def lazily(cls: type[M], source: Message | bytes) -> M:
    """An object that is filled in when it is touched; the source must be valid, and never changes from now on."""
    converter = _converter_of(cls)
    if converter.lazy_class is cls:
        return cast("M", from_wire(source if isinstance(source, Message) else parse(cls, source)))
    return cast("M", later(converter.lazy_class, source))


def parse(kind: type[betterproto2.Message] | str, data: bytes) -> Message:
    """The wire message that the bytes hold; `kind` is a generated class or a full name.

    Raises:
        InvalidArgument: the bytes are not such a message.
    """
    full_name = kind if isinstance(kind, str) else full_name_of(kind)
    try:
        return descriptors.message_class(full_name).FromString(data)
    except DecodeError as error:
        reason = str(error).rpartition("': ")[2]  # after the name, which stands in our own words
        raise InvalidArgument.of("", f"the request is not a valid {full_name}: {reason}") from error


def decode(cls: type[M], data: bytes) -> M:
    """The object that the bytes hold; raises as `parse` and `from_wire` do."""
    return cast("M", from_wire(parse(cls, data)))


def encode(message: betterproto2.Message) -> bytes:
    """The object on the wire, the same bytes for equal objects; raises as `to_wire` does."""
    source = untouched(message)
    return source if isinstance(source, bytes) else serialized(wire_of(message))


def wire_and_bytes(message: betterproto2.Message) -> tuple[Message, bytes]:
    """Both what `wire_of` and what `encode` give."""
    wire, source = wire_of(message), untouched(message)
    return wire, source if isinstance(source, bytes) else serialized(wire)


def serialized(wire: Message) -> bytes:
    """The message as bytes, the same ones for equal messages."""
    return wire.SerializeToString(deterministic=True)


@cache
def _converter_of(cls: type[betterproto2.Message]) -> Converter:
    return _CONVERTERS.of(full_name_of(cls))
