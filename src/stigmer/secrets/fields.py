"""Where secret values stand in a resource, by the descriptors: found, taken out, and put back in.

An entry is the `value` of any message that also has a bool `is_secret`, as those of ExecutionValue and EnvironmentValue
are in their maps, or a `callback_token`, which is always secret. What leads to no entry, such as an execution's
transcript, is never walked. `sealing` keeps what is taken out; everything here is of the C runtime's messages.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.unknown_fields import UnknownFieldSet

from stigmer.errors import DataLoss
from stigmer.wire.descriptors import descriptor
from stigmer.wire.shapes import is_map, path_part, reachable, value_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

MARK = "***REDACTED***"
"""What stands for a secret that the caller may not see."""
MARKED = MARK.encode()
"""The same in UTF-8, as a callback_token has it."""

_VALUE, _FLAG, _TOKEN = "value", "is_secret", "callback_token"
_TEXT = FieldDescriptor.TYPE_STRING
_BYTES = FieldDescriptor.TYPE_BYTES


class Place(NamedTuple):
    """Where a value stands.

    Attributes:
        path: of the field, from the resource's root, such as `spec.data` or `spec.callback_token`.
        key: its key in the map; empty where the field is no map.
    """

    path: str
    key: str


class Entry(NamedTuple):
    """A field that may hold a secret.

    Attributes:
        place: where it stands.
        is_secret: whether it is flagged as one; a callback_token always is.
        holder: the message that the field is in.
        field: its name.
    """

    place: Place
    is_secret: bool
    holder: Message
    field: str

    def read(self) -> bytes:
        """What the field holds, a text in UTF-8; empty for none."""
        return _read(self.holder, self.field)

    def write(self, value: bytes) -> None:
        """Make the field hold that."""
        _write(self.holder, self.field, value)

    @property
    def path(self) -> str:
        """Where it stands, in words: `spec.data["KEY"].value`."""
        return self.place.path if self.field == _TOKEN else _joined(self.place.path, self.place.key, self.field)


class _Inner(NamedTuple):
    """A field that leads to entries; `plain` where they are the messages that it holds, and nothing inside those."""

    name: str
    is_map: bool
    is_repeated: bool
    plain: bool


class _Plan(NamedTuple):
    """What of a type's messages is looked at.

    Attributes:
        has_value: whether they have a value and a flag.
        has_token: whether they have a callback_token.
        inner: the fields that lead to more.
    """

    has_value: bool
    has_token: bool
    inner: tuple[_Inner, ...]


@cache
def may_hold(full_name: str) -> bool:
    """Whether there can be a secret in messages of that type."""
    return _leads_to_entry(descriptor(full_name))


def entries(wire: Message) -> Iterator[Entry]:
    """Every field that may hold a secret, whether it is flagged and whether it holds anything or not."""
    walked = _walk(wire, "", "")
    return (Entry(Place(path, key), is_secret, holder, field) for path, key, is_secret, holder, field in walked)


def where(wire: Message, wanted: Callable[[bool, str | bytes], bool]) -> list[str]:
    """Which of the entries are wanted, by their flag and by what the field holds, in words."""
    walked = _walk(wire, "", "")
    return [
        Entry(Place(path, key), is_secret, holder, field).path
        for path, key, is_secret, holder, field in walked
        if wanted(is_secret, getattr(holder, field))
    ]


def secret_values(wire: Message) -> dict[Place, bytes]:
    """The secret values that a message holds, by their places; one that is empty is none."""
    return {
        Place(path, key): _read(holder, field)
        for path, key, is_secret, holder, field in _walk(wire, "", "")
        if is_secret and getattr(holder, field)
    }


def is_bare(wire: Message) -> bool:
    """Whether `take` would find nothing to take."""
    for _, _, is_secret, holder, field in _walk(wire, "", ""):
        if is_secret and (getattr(holder, field) or _unknown(holder, field)):
            return False
    return True


def take(wire: Message) -> tuple[dict[Place, bytes], int]:
    """Take the secret values out of a message: names, flags and descriptions stay.

    Returns:
        The values, and how many unknown fields stood within secret entries: those are dropped, since nobody can tell
        what they hold.
    """
    taken: dict[Place, bytes] = {}
    dropped = 0
    for path, key, is_secret, holder, field in _walk(wire, "", ""):
        if not is_secret:
            continue
        if value := _read(holder, field):
            taken[Place(path, key)] = value
            holder.ClearField(field)
        if unknown := _unknown(holder, field):
            cast("Any", holder).DiscardUnknownFields()
            dropped += unknown
    return taken, dropped


def put(wire: Message, values: Mapping[Place, bytes]) -> None:
    """Put secret values in their places, in a resource's message that they were taken out of.

    Raises:
        DataLoss: a place is not there or is not flagged as secret, or a secret value stands anywhere: the row is not
            the one that the values were sealed with.
    """
    by_place = cast("Mapping[tuple[str, str], bytes]", values)  # a plain tuple finds what a Place does
    found = 0
    for path, key, is_secret, holder, field in _walk(wire, "", ""):
        value, now = by_place.get((path, key)), getattr(holder, field)
        if (now and is_secret) or (value is not None and not is_secret):
            found = -1
            break
        if value is not None:
            setattr(holder, field, value.decode() if isinstance(now, str) else value)
            found += 1
    if found != len(values):
        metadata = cast("Any", wire).metadata
        raise DataLoss(wire.DESCRIPTOR.name, metadata.id)


def mark(wire: Message, places: Iterable[Place]) -> None:
    """Put the mark where sealed values stand; raises as `put` does."""
    put(wire, dict.fromkeys(places, MARKED))


def _walk(wire: Message, at: str, key: str) -> Iterator[tuple[str, str, bool, Message, str]]:
    """Path, key, flag, holder and field of the entries of the message at a path, under a key where it is a map's value.

    Most calls that handle a resource with secrets walk it several times: a tuple costs less than an Entry.
    """
    plan = _plan(wire.DESCRIPTOR)
    if plan.has_value:
        yield at, key, getattr(wire, _FLAG), wire, _VALUE
    if plan.has_token:
        yield _joined(at, key, _TOKEN), "", True, wire, _TOKEN
    for inner in plan.inner:
        held: Any = getattr(wire, inner.name)
        path = _joined(at, key, inner.name)
        if inner.is_map:
            yield from _in_map(held, path, plain=inner.plain)
        elif inner.is_repeated:
            for number, one in enumerate(held):
                yield from _walk(one, path_part(path, number), "")
        elif wire.HasField(inner.name):
            yield from _walk(held, path, "")


def _in_map(held: Any, path: str, *, plain: bool) -> Iterator[tuple[str, str, bool, Message, str]]:  # noqa: ANN401 - a map of messages
    for key in held:  # quicker than over `items()`, which is Python's own for such maps
        value = held[key]
        if plain:
            yield path, str(key), value.is_secret, value, _VALUE
        else:
            yield from _walk(value, path, str(key))


def _read(holder: Message, field: str) -> bytes:
    value: str | bytes = getattr(holder, field)
    return value.encode() if isinstance(value, str) else value


def _write(holder: Message, field: str, value: bytes) -> None:
    is_text = isinstance(getattr(holder, field), str)
    setattr(holder, field, value.decode() if is_text else value)


def _unknown(holder: Message, field: str) -> int:
    """How many unknown fields stand in a flagged value's own message."""
    return 0 if field == _TOKEN else len(cast("Any", UnknownFieldSet)(holder))


def _joined(at: str, key: str, name: str) -> str:
    """The path of a field of the message at a path."""
    inside = path_part(at, key) if key else at
    return f"{inside}.{name}" if inside else name


@cache
def _plan(kind: Descriptor) -> _Plan:
    inner: list[_Inner] = []
    for field in kind.fields:
        of = value_field(field).message_type
        if of is not None and _leads_to_entry(of):
            plain = _is_value(of) and not _is_token(of) and not any(map(_leads_to_entry, reachable(of)))
            inner.append(_Inner(field.name, is_map(field), field.is_repeated, plain))
    return _Plan(_is_value(kind), _is_token(kind), tuple(inner))


@cache
def _leads_to_entry(kind: Descriptor) -> bool:
    return any(_is_value(one) or _is_token(one) for one in (kind, *reachable(kind)))


def _is_value(kind: Descriptor) -> bool:
    value, flag = kind.fields_by_name.get(_VALUE), kind.fields_by_name.get(_FLAG)
    if value is None or flag is None:
        return False
    return _is_plain(value, _TEXT, _BYTES) and _is_plain(flag, FieldDescriptor.TYPE_BOOL)


def _is_token(kind: Descriptor) -> bool:
    token = kind.fields_by_name.get(_TOKEN)
    return token is not None and _is_plain(token, _BYTES)


def _is_plain(field: FieldDescriptor, *types: int) -> bool:
    return field.type in types and not field.is_repeated
