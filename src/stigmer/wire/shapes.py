"""What a field holds, what there can be in a type of messages, and where a field stands in a message, in words."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message


At: TypeAlias = "tuple[At, str, object] | None"
"""Where a field stands: what it is in, its name, the index or key where it is an entry; None is the request itself.

Cheap to make on the way through a message; `path_of` puts it in words.
"""


_JSON = json.JSONEncoder(ensure_ascii=False)  # made once: `json.dumps` would make one each time


def path_of(at: At) -> str:
    """The path of a field from the request's root: `spec.sub_agents[0].name`, `metadata.labels["key"]`."""
    pieces: list[str] = []
    while at is not None:
        at, name, entry = at
        pieces.append(path_part(name, entry))
    return ".".join(reversed(pieces))


def path_part(name: str, entry: object) -> str:
    """`name`, `name[0]` or `name["key"]`; an entry of None is none. A surrogate, which no text can hold, is escaped."""
    if entry is None:
        return name
    key = _JSON.encode(entry).encode(errors="backslashreplace").decode()
    return f"{name}[{key}]"


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map; its message type then has the fields `key` and `value`."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def map_parts(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor]:
    """What a map's keys and values are; raises TypeError for any other field."""
    if field.message_type is None or not is_map(field):
        raise TypeError(f"{field.full_name} is no map")
    parts = field.message_type.fields_by_name
    return parts["key"], parts["value"]


def value_field(field: FieldDescriptor) -> FieldDescriptor:
    """The field that says what the values are: a map's own, else the field itself."""
    return map_parts(field)[1] if is_map(field) else field


def entries_of(field: FieldDescriptor, value: Any) -> Iterable[tuple[Any, Any]]:  # noqa: ANN401 - a list or a map
    """The entries of a list by their numbers, or of a map by their keys."""
    if is_map(field):
        return ((key, value[key]) for key in value)
    return enumerate(cast("Iterable[Any]", value))


def has_any(fields: Iterable[FieldDescriptor]) -> Callable[[Message], bool]:
    """Whether a message has any of these fields of messages, lists and maps; to be made once for all of a type."""
    lists = tuple(field.name for field in fields if field.is_repeated)
    singles = tuple(field.name for field in fields if not field.is_repeated)

    def found(wire: Message) -> bool:
        for name in lists:
            if getattr(wire, name):
                return True
        for name in singles:  # noqa: SIM110 - quicker than `any` over a generator
            if wire.HasField(name):
                return True
        return False

    return found


@cache
def reachable(kind: Descriptor) -> tuple[Descriptor, ...]:
    """The types of the messages that there can be in a message of the type, at any depth; maps' entries included."""
    found: dict[str, Descriptor] = {}
    waiting = [kind]
    while waiting:
        inner = {one.full_name: one for field in waiting.pop().fields if (one := field.message_type) is not None}
        waiting += [one for name, one in inner.items() if name not in found]
        found |= inner
    return tuple(found.values())


def message_type(field: FieldDescriptor) -> Descriptor:
    """The type of a field that holds messages; raises TypeError for any other field."""
    if field.message_type is None:
        raise TypeError(f"{field.full_name} holds no messages")
    return field.message_type
