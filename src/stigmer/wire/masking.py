"""Messages made fit for printing and logging: secret values show as `***`, whatever the kind.

Found by the descriptors, not by a list: the `value` of every message with a true `is_secret`, and every field named
`callback_token` or with the option `debug_redact`. `logs` runs `mask_messages` on each line; whoever prints a message
calls `masked`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import betterproto2
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from stigmer.wire import codec
from stigmer.wire.shapes import is_map

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

MARK = "***"

_TOKEN = "callback_token"  # noqa: S105  # a field's name
_ANY = "google.protobuf.Any"
_PLAIN = (str, int, float, bool, type(None))
_MAX_DEPTH = 20


def masked(message: Message | betterproto2.Message) -> Any:  # noqa: ANN401 - a dict; of a Timestamp and the like a string
    """The message's set fields in the form that JSON gives them: proto names, enums by name, bytes in base64.

    A secret text shows as `***` even where it is empty. Left out are other secrets, unknown fields and what an Any
    packs.
    """
    wire = message if isinstance(message, Message) else codec.wire_of(message)
    copy = type(wire)()
    copy.CopyFrom(wire)
    _redact(copy)
    return json_format.MessageToDict(copy, preserving_proto_field_name=True)


def mask(value: object, depth: int = _MAX_DEPTH) -> object:
    """The value with every message in it masked, through dicts, lists, tuples, sets and dataclasses.

    Bytes show as their number, since they may be a message on the wire.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Message | betterproto2.Message):
        return _masked_or_named(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(cast('bytes', value))} bytes>"
    return _mask_inside(value, depth - 1) if depth else "…"


def mask_messages(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """A structlog processor: `mask` for every value of the line."""
    for key, value in event_dict.items():
        event_dict[key] = mask(value)
    return event_dict


def _redact(wire: Message) -> None:
    """Take all secrets out of a message that is nobody else's."""
    if wire.DESCRIPTOR.full_name == _ANY:
        wire.Clear()
    for field, value in wire.ListFields():
        if field.name == _TOKEN:
            wire.ClearField(_TOKEN)
        elif field.has_options and field.GetOptions().debug_redact:
            setattr(wire, field.name, MARK)
        for inner in _messages(field, value):
            _redact(inner)
    if getattr(wire, "is_secret", False) is True:
        wire.ClearField("value")
        if wire.DESCRIPTOR.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING:
            wire.value = MARK  # type: ignore[attr-defined]  # the descriptor has it


def _messages(field: FieldDescriptor, value: Any) -> Iterable[Message]:  # noqa: ANN401 - whatever ListFields holds
    if is_map(field):
        value = value.values()
    elif not field.is_repeated:
        value = (value,)
    return (one for one in value if isinstance(one, Message)) if field.message_type is not None else ()


def _mask_inside(value: object, depth: int) -> object:
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        return {str(mask(key, depth)): mask(item, depth) for key, item in entries.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(item, depth) for item in cast("Iterable[object]", value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = (field.name for field in dataclasses.fields(value) if field.repr)
        return {"type": type(value).__name__, **{name: mask(getattr(value, name, None), depth) for name in shown}}
    return value


def _masked_or_named(message: Message | betterproto2.Message) -> object:
    try:
        return masked(message)
    except Exception:  # noqa: BLE001  # an ill-formed message must not break the call that logs it, nor show itself
        return f"<{type(message).__name__}>"
