"""YAML's nodes as values that protobuf's JSON mapping reads, checked field by field against the descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from google.protobuf.descriptor import FieldDescriptor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from stigmer.cli.manifest_faults import Faults, hint
from stigmer.client import naming
from stigmer.wire.shapes import is_map, map_parts, message_type, path_part

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

_TAG = "tag:yaml.org,2002:"
_REFERENCE = "ai.stigmer.commons.apiresource.ApiResourceReference"
_MAX_INT = 2**31 - 1
_WORDS = {"int": "a number", "float": "a fraction", "bool": "true or false", "timestamp": "a date", "str": "a text"}
_WANTED = {**_WORDS, "int": "a whole number", "float": "a number"}


class Reader:
    """Reads the nodes of one document.

    Args:
        faults: where faults are noted.

    Attributes:
        marks: where each field stands, by its path as servers write it.
        references: what fields `x_id` of the spec name, by `x`: an id, or a slug.
        scalars: the paths of single values that could be read.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.marks: dict[str, yaml.Mark] = {}
        self.references: dict[str, str] = {}
        self.scalars: set[str] = set()

    def message(self, node: Node, kind: Descriptor, path: str) -> Any:  # noqa: ANN401 - a dict, or what a text stands for
        """What a message of that type is given."""
        if isinstance(node, ScalarNode) and (text := self._for_text(node, kind, path)) is not None:
            return text
        found: dict[str, Any] = {}
        for name, key, value in self.entries(node, path):
            if not path and name == "status":
                continue  # the server's own, as `get -o json` prints it
            field = self._field(kind, name, key, path)
            if field is None or is_null(value):
                continue
            if field.name in found:
                self._faults.add(key.start_mark, _under(path, field.name), "is given twice")
            within = _under(path, field.name)
            self.marks[within] = value.start_mark
            found[field.name] = self._value(value, field, within)
        return found

    def entries(self, node: Node, path: str) -> list[tuple[str, Node, Node]]:
        """Keys and values of a mapping; a fault, and none, where the node is no mapping."""
        if not isinstance(node, MappingNode):
            self._faults.add(node.start_mark, path, "must be a mapping of fields")
            return []
        yaml.constructor.SafeConstructor().flatten_mapping(node)  # `<<`
        found: dict[str, tuple[str, Node, Node]] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._faults.add(key.start_mark, path, "a key must be a text")
            elif key.value in found:
                self._faults.add(key.start_mark, _under(path, key.value), "is given twice")
            else:
                found[key.value] = (key.value, key, value)
        return list(found.values())

    def _field(self, kind: Descriptor, name: str, key: Node, path: str) -> FieldDescriptor | None:
        """The field of a name in either case, and of `x` where it is `x_id`; a fault where there is none."""
        for field in kind.fields:
            names = (field.name, field.camelcase_name, field.json_name)
            if name in names or (field.name.endswith("_id") and name in [one[: -len(_tail(one))] for one in names]):
                return field
        self._faults.add(key.start_mark, _under(path, name), "is no field here" + hint(name, _spelled(kind)))
        return None

    def _value(self, node: Node, field: FieldDescriptor, path: str) -> Any:  # noqa: ANN401 - of the field's type
        if is_map(field):
            inner = map_parts(field)[1]
            entries = {
                name: self._single(value, inner, self._marked(path_part(path, name), value), field)
                for name, _, value in self.entries(node, path)
                if not is_null(value)
            }
            return {name: value for name, value in entries.items() if value is not None}
        if not field.is_repeated:
            return self._single(node, field, path, field)
        if not isinstance(node, SequenceNode):
            self._faults.add(node.start_mark, path, "must be a list")
            return []
        found = [
            self._single(one, field, self._marked(path_part(path, number), one), field)
            for number, one in enumerate(node.value)
        ]
        return [one for one in found if one is not None]

    def _single(self, node: Node, field: FieldDescriptor, path: str, named: FieldDescriptor) -> Any:  # noqa: ANN401 - as above
        if field.message_type is not None:
            kind = message_type(field)
            if kind.full_name == _REFERENCE and isinstance(node, ScalarNode):
                org, slug = naming.slug_of(node.value) or ("", "")
                return {"org": org, "slug": slug, "kind": naming.number_of_field(named.name)}
            return self.message(node, kind, path)
        if not isinstance(node, ScalarNode):
            self._faults.add(node.start_mark, path, "must be a single value")
            return None
        value = self._scalar(node, field, path)
        if value is not None:
            self.scalars.add(path)
        if path == f"spec.{field.name}" and field.name.endswith("_id") and naming.kinds_of_field(field.name):
            self.references[field.name.removesuffix("_id")] = node.value
        return value

    def _scalar(self, node: ScalarNode, field: FieldDescriptor, path: str) -> Any:  # noqa: ANN401 - as above
        sort = node.tag.removeprefix(_TAG)
        if field.enum_type is not None:
            names = field.enum_type.values_by_name
            if node.value not in names:
                self._faults.add(
                    node.start_mark, path, f"{node.value!r} is none of its values{hint(node.value, names)}"
                )
            return node.value if node.value in names else None
        wanted = _wanted(field)
        if sort == wanted:
            return self._plain(node, sort, path)
        if wanted == "float" and sort == "int":
            return node.value
        quote = ": put it in quotes" if wanted == "str" else ""
        self._faults.add(node.start_mark, path, f"is {_WORDS.get(sort, sort)}, and must be {_WANTED[wanted]}{quote}")
        return None

    def _plain(self, node: ScalarNode, sort: str, path: str) -> Any:  # noqa: ANN401 - as above
        """A scalar as Python has it; a fault where a number is beyond its field."""
        value = yaml.safe_load(node.value) if sort != "str" else node.value
        if sort == "int" and abs(value) > _MAX_INT:
            self._faults.add(node.start_mark, path, f"must be between -{_MAX_INT} and {_MAX_INT}")
            return None
        return value

    def _for_text(self, node: ScalarNode, kind: Descriptor, path: str) -> dict[str, Any] | None:
        """What a text stands for where a message is above all one: in its first field, `value`; else None."""
        first = kind.fields_by_number.get(1)
        if first is None or first.name != "value" or first.type != FieldDescriptor.TYPE_STRING:
            return None
        return {"value": self._scalar(node, first, path)}

    def _marked(self, path: str, node: Node) -> str:
        self.marks[path] = node.start_mark
        return path


def is_null(node: Node) -> bool:
    """Whether nothing is given."""
    return node.tag == f"{_TAG}null"


def _wanted(field: FieldDescriptor) -> str:
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return "str"
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "bool"
    return "float" if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE) else "int"


def _spelled(kind: Descriptor) -> list[str]:
    return [field.camelcase_name for field in kind.fields]


def _tail(name: str) -> str:
    return "_id" if name.endswith("_id") else "Id"


def _under(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
