"""Messages of plain values: dicts for messages, names for enum values, `org/slug` for references, text for a value.

What does not fit is told of by the paths of its fields, as the server tells of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, cast

from google.protobuf.descriptor import FieldDescriptor

from stigmer.client import naming
from stigmer.errors import InvalidArgument, Violation
from stigmer.types import ApiResourceReference
from stigmer.wire import descriptors
from stigmer.wire.message_types import enum_class, object_class, python_names
from stigmer.wire.shapes import is_map, map_parts, message_type, path_of

if TYPE_CHECKING:
    import betterproto2

    from stigmer.wire.shapes import At

_REFERENCE = "ai.stigmer.commons.apiresource.ApiResourceReference"
_JSON = ("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue")
_TIMES = ("google.protobuf.Timestamp", "google.protobuf.Duration")


def fill(message: betterproto2.Message, full_name: str, given: Mapping[str, Any], at: At = None) -> None:
    """Set fields of a message that is the caller's own.

    Args:
        message: of a generated class.
        full_name: its type's.
        given: values by their fields' names; None leaves a field as it is.
        at: where the message stands in what is made of it.

    Raises:
        InvalidArgument: a field is not there, or its value is of no use; every such field is named.
    """
    attributes = python_names(type(message))
    fields = {attributes[field.number]: field for field in descriptors.descriptor(full_name).fields}
    violations: list[Violation] = []
    for name, value in given.items():
        try:
            if name not in fields:
                raise _refused((at, str(name), None), f"is no field here{_hint(str(name), fields)}")
            if value is not None:
                setattr(message, name, _value(_Place(type(message), fields[name], name), value, (at, name, None)))
        except InvalidArgument as error:
            violations += error.violations
    if violations:
        raise InvalidArgument(*violations)


class _Place(NamedTuple):
    """An attribute of a generated class."""

    cls: type[betterproto2.Message]
    field: FieldDescriptor
    name: str


def _value(place: _Place, value: Any, at: At) -> Any:  # noqa: ANN401 - whatever the field holds
    """What the attribute is to hold."""
    field, (around, name, _) = place.field, cast("Any", at)
    if is_map(field):
        if not _is_mapping(value):
            raise _refused(at, "must be a dict")
        inner = map_parts(field)[1]
        return {key: _single(place, inner, one, (around, name, key)) for key, one in value.items()}
    if not field.is_repeated:
        return _single(place, field, value, at)
    if not _is_list(value):
        raise _refused(at, "must be a list")
    return [_single(place, field, one, (around, name, number)) for number, one in enumerate(value)]


def _single(place: _Place, field: FieldDescriptor, value: Any, at: At) -> Any:  # noqa: ANN401 - as above
    if field.message_type is not None:
        return _message(message_type(field).full_name, place, value, at)
    if field.enum_type is not None and isinstance(value, str):
        values = enum_class(place.cls, place.name)
        if value not in values.__members__:
            raise _refused(at, f"{value!r} is none of its values{_hint(value, values.__members__)}")
        return values[value]
    return value  # the codec tells of what does not fit


def _message(full_name: str, place: _Place, value: Any, at: At) -> Any:  # noqa: ANN401 - as above
    cls: Any = object_class(full_name)
    if isinstance(value, cls) or full_name in _TIMES:
        return value
    if full_name in _JSON:
        return cls.from_dict(value)
    if _is_mapping(value):
        made = cls()
        fill(made, full_name, value, at)
        return made
    if full_name == _REFERENCE:
        return _reference(place, value, at)
    if isinstance(value, str) and _is_one_text(full_name):
        return cls(value=value)
    raise _refused(at, f"must be of type {cls.__name__}, or a dict")


def _reference(place: _Place, value: Any, at: At) -> ApiResourceReference:  # noqa: ANN401 - a resource, or its slug
    """A reference by `org/slug` or to a resource; of the kind that the field is named for."""
    found = naming.slug_of(value)
    if found is None or naming.is_none_of(value, naming.kinds_of_field(place.name)):
        raise _refused(at, "must be a reference: 'org/slug', a resource that has a slug, or a dict")
    org, slug = found
    return ApiResourceReference(org=org, slug=slug, kind=cast("Any", naming.number_of_field(place.name)))


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_list(value: object) -> TypeGuard[Iterable[Any]]:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _is_one_text(full_name: str) -> bool:
    """Whether a message is above all a text: one in its first field, `value`."""
    first = descriptors.descriptor(full_name).fields_by_number.get(1)
    return first is not None and first.name == "value" and first.type == FieldDescriptor.TYPE_STRING


def _refused(at: At, why: str) -> InvalidArgument:
    return InvalidArgument.of(path_of(at), why)


def _hint(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(words)}"
