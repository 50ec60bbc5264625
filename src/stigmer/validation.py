"""The rules that the protos state, checked on wire messages: every broken field by its path from the root.

`steps` and the edge call `violations`. The rules are buf.validate options; protovalidate's native engine reads them
from the descriptors that a message of `descriptors.POOL` carries. What the protos cannot say is checked by the steps.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from protovalidate import Validator

from stigmer.descriptors import is_map, map_parts, message_class
from stigmer.errors import Violation
from stigmer.wire_elements import has_more_elements

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message
    from protovalidate import FieldPathElementPb, ViolationPb
    from protovalidate import Violation as BrokenRule

_VALIDATOR = Validator()

MAX_PARTS = 4000
"""Of messages with more submessages, list elements and map entries, one broken field is told: each costs 20 us."""


def violations(wire: Message) -> list[Violation]:
    """Every broken rule, in the order of the fields; an empty list for a valid message. See MAX_PARTS for the bound.

    A CEL rule whose id begins with the name of a field of the value that it stands on is about that field:
    "owner_scope.allowed" on `metadata` reports `metadata.owner_scope`. Descriptions are the rules' own words and
    never hold a value of the message.
    """
    root = cast("Descriptor", wire.DESCRIPTOR)  # the stubs also admit the C runtime's name for the same class
    return [_violation(found.proto, root) for found in _found(wire)]


def _found(wire: Message) -> list[BrokenRule]:
    """The broken rules; only the first one of a message with so many parts that to collect all would take long."""
    if wire.ByteSize() <= 2 * MAX_PARTS:
        return _VALIDATOR.collect_violations(wire)
    first = _VALIDATOR.collect_violations(wire, fail_fast=True)
    if not first or has_more_elements(wire, MAX_PARTS):
        return first
    return _VALIDATOR.collect_violations(wire)


def warm_up(full_names: Iterable[str]) -> None:
    """Compile the rules of these messages now, so that no call pays for it (about 10 ms for the first one)."""
    for name in full_names:
        _VALIDATOR.collect_violations(message_class(name)())


def _violation(broken: ViolationPb, root: Descriptor) -> Violation:
    path, value = _locate(broken.field.elements if broken.field is not None else (), root)
    topic = broken.rule_id.partition(".")[0]
    if value is not None and not broken.for_key and topic in value.fields_by_name:
        path = f"{path}.{topic}" if path else topic
    return Violation(path, broken.message or f"breaks the rule {broken.rule_id}")


def _locate(elements: Iterable[FieldPathElementPb], root: Descriptor) -> tuple[str, Descriptor | None]:
    """The path in words, and the type of the message that stands there; None where something else does."""
    steps: list[str] = []
    value: Descriptor | None = root
    for element in elements:
        subscript = element.subscript.value if element.subscript is not None else None
        steps.append(_words(element, subscript))
        value = _type_at(value, element.field_name, whole=subscript is None)
    return ".".join(steps), value


def _words(element: FieldPathElementPb, subscript: object) -> str:
    """`name`, `name[0]` or `name["key"]`; the number stands in for a name that is not known."""
    name = element.field_name or str(element.field_number)
    return name if subscript is None else f"{name}[{json.dumps(subscript, ensure_ascii=False)}]"


def _type_at(parent: Descriptor | None, name: str, *, whole: bool) -> Descriptor | None:
    """The message type of a field, or of one of its entries; None for scalars, for whole lists, maps and oneofs."""
    field = parent.fields_by_name.get(name) if parent is not None else None
    if field is None or field.message_type is None or (whole and field.is_repeated):
        return None
    return map_parts(field)[1].message_type if is_map(field) else field.message_type
