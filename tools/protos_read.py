"""What the generators of the client read out of the compiled protos: comments, options, fields, flat names."""

from __future__ import annotations

import keyword
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

COMMONS = "ai.stigmer.commons.apiresource"
_MESSAGE, _FIELD, _SERVICE, _METHOD, _NESTED = 4, 2, 6, 2, 3


class Protos:
    """The compiled protos of the project.

    Args:
        described: every file, with comments.
        ours: what the names of our own files begin with.
        flat: the flat name of each class, by its package and its own name.
    """

    def __init__(self, described: FileDescriptorSet, ours: str, flat: Mapping[str, Mapping[str, str]]) -> None:
        self.pool = DescriptorPool()
        self._described, self._flat = described, flat
        for file in described.file:
            self.pool.AddSerializedFile(file.SerializeToString())
        self._ours = [file.name for file in described.file if file.name.startswith(ours)]

    def services(self) -> Iterator[ServiceDescriptor]:
        """Every service of ours."""
        for name in self._ours:
            yield from self.pool.FindFileByName(name).services_by_name.values()

    def comment(self, full_name: str) -> str:
        """What stands before a message, field, service or method; empty where nothing does."""
        return self._comments.get(full_name, "")

    def class_name(self, message: Any) -> str:  # noqa: ANN401 - a message's descriptor, or an enum's
        """The name of a class in `stigmer.types`."""
        package = message.file.package
        own = message.full_name.removeprefix(f"{package}.").replace(".", "")
        return self._flat[package][own]

    def option(self, options: Any, extension: str) -> Any:  # noqa: ANN401 - whatever the option holds
        """The value of a custom option; None where it is not set."""
        known = message_factory.GetMessageClass(self.pool.FindMessageTypeByName(options.DESCRIPTOR.full_name))
        parsed: Any = known.FromString(options.SerializeToString())
        field: Any = self.pool.FindExtensionByName(extension)
        return parsed.Extensions[field] if parsed.HasExtension(field) else None

    def kind_of(self, service: ServiceDescriptor) -> Any:  # noqa: ANN401 - the enum's value
        """The value of the kind that a service is about; None where it is about none."""
        number = self.option(service.GetOptions(), f"{COMMONS}.api_resource_kind")
        kinds = self.pool.FindEnumTypeByName(f"{COMMONS}.apiresourcekind.ApiResourceKind")
        return None if number is None else kinds.values_by_number[number]

    def meta(self, kind: Any) -> Any:  # noqa: ANN401 - an ApiResourceKindMeta of the pool
        """What is fixed about a kind."""
        return self.option(kind.GetOptions(), f"{COMMONS}.apiresourcekind.kind_meta")

    def allowed_scopes(self, resource: Descriptor) -> set[int]:
        """The owner scopes that a kind's rule names; all of them where it has no such rule."""
        rules = self.option(resource.fields_by_name["metadata"].GetOptions(), "buf.validate.field")
        for rule in rules.cel if rules is not None else ():
            if rule.id == "owner_scope.allowed":
                return {int(one) for one in re.findall(r"\d+", rule.expression.partition(" in ")[2])}
        return {1, 2, 3}

    def api_version(self, resource: Descriptor) -> str:
        """What the field `api_version` must hold."""
        rules = self.option(resource.fields_by_name["api_version"].GetOptions(), "buf.validate.field")
        return str(getattr(rules.string, "const"))  # noqa: B009 - a keyword in other languages, odd in this one

    @cached_property
    def _comments(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for file in self._described.file:
            for location in file.source_code_info.location:
                name = _name_at(file, list(location.path))
                if name and location.leading_comments:
                    found[f"{file.package}.{name}"] = " ".join(location.leading_comments.split())
        return found


def _name_at(file: Any, path: list[int]) -> str:  # noqa: ANN401 - a FileDescriptorProto
    """The name of what a path of source_code_info leads to, within its package; empty for what has no comment here."""
    match path:
        case [kind, number, *rest] if kind == _SERVICE:
            service = file.service[number]
            return f"{service.name}.{service.method[rest[1]].name}" if rest else service.name
        case [kind, number, *rest] if kind == _MESSAGE:
            names, message = [file.message_type[number].name], file.message_type[number]
            while rest and rest[0] == _NESTED:
                message, rest = message.nested_type[rest[1]], rest[2:]
                names.append(message.name)
            if len(rest) == 2 and rest[0] == _FIELD:
                names.append(message.field[rest[1]].name)
            return ".".join(names)
        case _:
            return ""


def snake(name: str) -> str:
    """`getByReference` and `AgentExecution` as Python names methods and attributes."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def plural(name: str) -> str:
    """`agents`, `policies`."""
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}es" if name.endswith(("s", "x")) else f"{name}s"


def attribute(name: str) -> str:
    """A field's name as an attribute."""
    return f"{name}_" if keyword.iskeyword(name) else name


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def with_imports(head: str, parts: list[str]) -> list[str]:
    """A module's head, without those of its typing imports that none of the parts uses, and the parts."""
    used = set(re.findall(r"\w+", "\n".join(parts)))
    lines: list[str] = []
    for line in head.split("\n"):
        names = line.partition("import ")[2].split(", ") if line.startswith("    ") and "import " in line else []
        kept = [name for name in names if name in used]
        if kept or not names:
            lines.append(f"{line.partition('import ')[0]}import {', '.join(kept)}" if names else line)
    return ["\n".join(lines), *parts]


def pages(method: MethodDescriptor) -> FieldDescriptor | None:
    """The field of a page's entries, where a method answers pages; else None."""
    reply = method.output_type
    lists = [one for one in reply.fields if one.is_repeated and one.message_type is not None]
    return lists[0] if lists and "next_page_token" in reply.fields_by_name else None
