"""The rules that the protos state, checked on wire messages: every broken field by its path from the root.

`steps` and the edge call `violations`. The rules are buf.validate options; protovalidate's native engine reads them
from the descriptors that a message of `descriptors.POOL` carries. What the protos cannot say is checked by the steps.
A transcript is checked in pieces, since the engine takes about 1 us for each part and lets nobody else run meanwhile.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, TypeAlias, cast

from protovalidate import Validator

from stigmer.errors import Violation
from stigmer.wire.bounds import TRANSCRIPT, holds_transcript
from stigmer.wire.scan import has_more_parts
from stigmer.wire.shapes import is_map, map_parts, path_part, reachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message
    from protovalidate import FieldPathElementPb, ViolationPb
    from protovalidate import Violation as BrokenRule

_VALIDATOR = Validator()
broken = _VALIDATOR.collect_violations
"""All rules that a small message breaks, in the engine's words."""
_List: TypeAlias = "tuple[str, FieldDescriptor, Message]"  # the path of what holds it, its field, and that holder

MAX_PARTS = 500
"""Of messages with more submessages, list elements and map entries, one broken field is told: each costs 20 us."""
MAX_VIOLATIONS = 1_000
"""When so many fields of a transcript are broken, the rest is not looked at."""
SMALL_BYTES = 2 * MAX_PARTS
"""Messages up to this size cannot have more parts than that."""
PIECE_BYTES = 4_096
"""How much of a transcript is checked at once; messages up to this size are checked whole."""
PIECE_ENTRIES = 200


def violations(
    wire: Message, size: int | None = None, unchanged: Mapping[str, int] | None = None
) -> Iterator[Violation | None]:
    """Every broken rule, in the order of the fields; see MAX_PARTS for the bound.

    How many bytes the message has is asked of the C runtime, which writes all of it, unless it is known. Of the lists
    of a transcript that `unchanged` names, so many first entries are known to break no rule.

    Gives None at each point where the work could be left (see `slices`). A CEL rule whose id begins with the name of a
    field of the value that it stands on is about that field: "owner_scope.allowed" on `metadata` reports
    `metadata.owner_scope`. Descriptions are the rules' own words and never hold a value of the message.
    """
    if (wire.ByteSize() if size is None else size) <= PIECE_BYTES:
        yield from _told(wire)
        return
    rest, lists = type(wire)(), list[_List]()
    _split(wire, rest, "", lists)
    yield from _told(rest)
    count = 0
    for prefix, field, holder in lists:
        for violation in _in_pieces(holder, field, prefix, (unchanged or {}).get(field.name, 0)):
            yield violation
            count += violation is not None
            if count > MAX_VIOLATIONS:
                return


def _split(wire: Message, rest: Message, prefix: str, lists: list[_List]) -> None:
    """Copy all but what a transcript is made of, which is added to `lists`; it stands in the root or right in it."""
    for field, value in wire.ListFields():
        if field.full_name in TRANSCRIPT:
            lists.append((prefix, field, wire))
        elif field.is_repeated:
            getattr(rest, field.name).MergeFrom(value)
        elif field.message_type is None:
            setattr(rest, field.name, value)
        elif holds_transcript(field.message_type.full_name):
            getattr(rest, field.name).SetInParent()
            _split(value, getattr(rest, field.name), f"{prefix}{field.name}.", lists)
        else:
            getattr(rest, field.name).CopyFrom(value)


def _in_pieces(holder: Message, field: FieldDescriptor, prefix: str, start: int) -> Iterator[Violation | None]:
    """What is broken in a transcript's list from there on; its own field has no rule, and a map of it none at all."""
    if is_map(field) or not _has_rules(cast("Descriptor", field.message_type)):
        return
    whole: Sequence[Message] = getattr(holder, field.name)
    while start < len(whole):
        yield None
        piece = type(holder)()
        elements = _piece(whole, start)
        getattr(piece, field.name).extend(elements)
        if len(elements) == 1:
            _prune(getattr(piece, field.name)[0])
        for found in _found(piece):
            violation = _violation(found.proto, cast("Descriptor", holder.DESCRIPTOR), start)
            if violation.field.startswith(field.name):
                yield Violation(prefix + violation.field, violation.description)
        start += len(elements)


def _piece(whole: Sequence[Message], start: int) -> Sequence[Message]:
    """At least one of the elements from there on, and else no more than a piece may have."""
    elements, size = whole[start : start + PIECE_ENTRIES], 0
    for number, element in enumerate(elements):
        size += element.ByteSize()
        if size > PIECE_BYTES and number:
            return elements[:number]
    return elements


def _prune(wire: Message) -> None:
    """Take out what has no rules, such as a Struct: one element of a transcript may be large."""
    for field, value in wire.ListFields():
        if field.message_type is None or is_map(field):
            continue
        if not _has_rules(field.message_type):
            wire.ClearField(field.name)
        else:
            for one in value if field.is_repeated else (value,):
                _prune(one)


@cache
def _has_rules(kind: Descriptor) -> bool:
    """Whether the protos may state a rule for messages of the type, or for what is in them: any option counts."""
    return any(_has_options(one) for one in (kind, *reachable(kind)))


def _has_options(kind: Descriptor) -> bool:
    parts = (*kind.fields, *kind.oneofs, *(() if kind.GetOptions().map_entry else (kind,)))
    return any(part.GetOptions().ByteSize() for part in parts)


def _told(wire: Message) -> list[Violation]:
    root = cast("Descriptor", wire.DESCRIPTOR)  # the stubs also admit the C runtime's name for the same class
    return [_violation(found.proto, root) for found in _found(wire)]


def _found(wire: Message) -> list[BrokenRule]:
    """The broken rules; only the first one of a message with so many parts that to collect all would take long."""
    if wire.ByteSize() <= SMALL_BYTES:
        return _VALIDATOR.collect_violations(wire)
    first = _VALIDATOR.collect_violations(wire, fail_fast=True)
    if not first or has_more_parts(wire.DESCRIPTOR.full_name, wire.SerializeToString(), MAX_PARTS):
        return first
    return _VALIDATOR.collect_violations(wire)


def _violation(broken: ViolationPb, root: Descriptor, start: int = 0) -> Violation:
    """In our words; `start` is the index that the first element of the first list in the path really has."""
    path, value = _locate(broken.field.elements if broken.field is not None else (), root, start)
    topic = broken.rule_id.partition(".")[0]
    if value is not None and not broken.for_key and topic in value.fields_by_name:
        path = f"{path}.{topic}" if path else topic
    return Violation(path, broken.message or f"breaks the rule {broken.rule_id}")


def _locate(elements: Iterable[FieldPathElementPb], root: Descriptor, start: int) -> tuple[str, Descriptor | None]:
    """The path in words, and the type of the message that stands there; None where something else does."""
    steps: list[str] = []
    value: Descriptor | None = root
    for element in elements:
        subscript = element.subscript.value if element.subscript is not None else None
        if isinstance(subscript, int) and not steps:
            subscript += start
        name = element.field_name or str(element.field_number)  # the number where the name is not known
        steps.append(path_part(name, subscript))
        value = _type_at(value, element.field_name, whole=subscript is None)
    return ".".join(steps), value


def _type_at(parent: Descriptor | None, name: str, *, whole: bool) -> Descriptor | None:
    """The message type of a field, or of one of its entries; None for scalars, for whole lists, maps and oneofs."""
    field = parent.fields_by_name.get(name) if parent is not None else None
    if field is None or field.message_type is None or (whole and field.is_repeated):
        return None
    return map_parts(field)[1].message_type if is_map(field) else field.message_type
