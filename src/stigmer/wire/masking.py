"""Messages made fit for printing and logging: secret values show as `***`, whatever the kind.

Found by the descriptors, not by a list: the `value` of every message with a true `is_secret`, and every bytes field
named `callback_token`. `logs` runs `mask_messages` on each line; whoever prints a message calls `masked`.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import betterproto2
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from stigmer.wire import codec

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

MARK = "***"

_TOKEN = "callback_token"  # noqa: S105  # a field's name
_PLAIN = (str, int, float, bool, type(None))
_MAX_DEPTH = 20


def masked(message: Message | betterproto2.Message) -> dict[str, Any] | str:
    """The message as a dict of its set fields: proto names, enums by name, bytes in base64, secrets as `***`.

    A secret shows as `***` even where it is empty. Well-known types take their JSON form, so a Timestamp is a string;
    of an Any only the type shows, since what it packs cannot be told from here. Unknown fields are left out.
    """
    wire = message if isinstance(message, Message) else codec.to_wire(message)
    if wire.DESCRIPTOR.full_name.startswith("google.protobuf."):
        return _well_known(wire)
    shown = {field.name: _field(field, value) for field, value in wire.ListFields()}
    if _is_secret(wire):
        shown["value"] = MARK
    return shown


def mask(value: object) -> object:
    """The value with every message in it masked, through dicts, lists, tuples, sets and dataclasses.

    Bytes show as their number, since they may be a message on the wire.
    """
    return value if type(value) in _PLAIN else _mask(value, _MAX_DEPTH)


def mask_messages(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """A structlog processor: `mask` for every value of the line."""
    for key, value in event_dict.items():
        if type(value) not in _PLAIN:
            event_dict[key] = _mask(value, _MAX_DEPTH)
    return event_dict


def _mask(value: object, depth: int) -> object:
    if isinstance(value, Message | betterproto2.Message):
        return _masked_or_named(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(cast('bytes', value))} bytes>"
    return _mask_inside(value, depth) if depth else "…"


def _mask_inside(value: object, depth: int) -> object:
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        return {str(_mask(key, depth - 1)): _mask(item, depth - 1) for key, item in entries.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask(item, depth - 1) for item in cast("Iterable[object]", value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = {field.name: _mask(getattr(value, field.name, None), depth - 1) for field in _shown_fields(value)}
        return {"type": type(value).__name__, **shown}
    return value


def _masked_or_named(message: Message | betterproto2.Message) -> object:
    try:
        return masked(message)
    except Exception:  # noqa: BLE001  # an ill-formed message must not break the call that logs it, nor show itself
        return f"<{type(message).__name__}>"


def _shown_fields(value: Any) -> Iterable[dataclasses.Field[Any]]:  # noqa: ANN401  # what is_dataclass narrows to
    return (field for field in dataclasses.fields(value) if field.repr)


def _is_secret(wire: Message) -> bool:
    flag = wire.DESCRIPTOR.fields_by_name.get("is_secret")
    return flag is not None and flag.type == FieldDescriptor.TYPE_BOOL and bool(getattr(wire, flag.name))


def _field(field: FieldDescriptor, value: Any) -> object:  # noqa: ANN401  # whatever ListFields holds
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        of_values = entry.fields_by_name["value"]
        return {str(key): _single(of_values, value[key]) for key in value}
    if field.is_repeated:
        return [_single(field, item) for item in value]
    return _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> object:  # noqa: ANN401  # a message or a scalar of any type
    if field.message_type is not None:
        return masked(value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named is not None else value
    if isinstance(value, bytes):
        return MARK if field.name == _TOKEN else base64.b64encode(value).decode("ascii")
    return value


def _well_known(wire: Message) -> dict[str, Any] | str:
    if wire.DESCRIPTOR.full_name == "google.protobuf.Any":
        return {"@type": getattr(wire, "type_url", "")}
    shown: Any = json_format.MessageToDict(wire, preserving_proto_field_name=True)
    return cast("dict[str, Any]", shown) if isinstance(shown, dict) else str(shown)
