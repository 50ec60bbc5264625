"""The protos keep to the wire contract: the text files beside this one, which were not made from the protos.

Each file lists the packages of one API group: messages with their fields and rules, enums, extensions, services with
their options. Fields, values and methods may be added, here and in the protos; what is listed is never changed.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
GROUPS = [
    *("admin", "agent", "agentexecution", "agentinstance", "caller", "commons", "environment", "executioncontext"),
    "session",
]
TYPES = {value.number: value.name[5:].lower() for value in FieldDescriptorProto.Type.DESCRIPTOR.values}


def compiled() -> Any:
    """The descriptor set, parsed with its own pool's classes, so that its options are known."""
    kind = descriptors.POOL.FindMessageTypeByName("google.protobuf.FileDescriptorSet")
    raw = (files("stigmer._gen") / "descriptors.binpb").read_bytes()
    return message_factory.GetMessageClass(kind).FromString(raw)


def group_of(package: str) -> str:
    parts = package.split(".")
    if parts[2] in ("admin", "commons"):
        return parts[2]
    return "commons" if parts[3] == "iampolicy" else parts[3]


def facts() -> dict[str, str]:
    """What the descriptor set says, for each group in the form of its file."""
    packages: dict[str, list[str]] = {}
    for file in compiled().file:
        if file.package.startswith("ai.stigmer."):
            packages.setdefault(file.package, []).extend(in_file(file))
    groups: dict[str, list[str]] = {}
    for package, entries in sorted(packages.items()):
        text = f"package {package}\n\n" + "\n\n".join(sorted(entries)) + "\n"
        groups.setdefault(group_of(package), []).append(text)
    return {group: "\n".join(texts) for group, texts in groups.items()}


def in_file(file: Any) -> Iterator[str]:
    where = f"in {file.name.rpartition('/')[2]}"
    for message in file.message_type:
        assert all(nested.options.map_entry for nested in message.nested_type)
        assert not message.enum_type
        fields = sorted(message.field, key=lambda field: field.number)
        yield "\n".join([f"message {message.name} {where}", *(in_field(file, message, one) for one in fields)])
    for enum in file.enum_type:
        values = (line(f"  {value.number} {value.name}", value.options) for value in enum.value)
        yield "\n".join([f"enum {enum.name} {where}", *values])
    for one in file.extension:
        says = f"  {one.number} of {one.extendee.lstrip('.')}: {spelled(file, one)}"
        yield f"extension {one.name} {where}\n{says}"
    for service in file.service:
        methods = sorted(
            (in_method(file, method) for method in service.method), key=lambda text: text.partition("(")[0]
        )
        yield "\n".join([line(f"service {service.name} {where}", service.options), *methods])


def in_field(file: Any, message: Any, field: Any) -> str:
    entries = {f".{file.package}.{message.name}.{nested.name}": nested for nested in message.nested_type}
    label = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
    if field.type_name in entries:
        key, value = (spelled(file, part) for part in entries[field.type_name].field)
        said = f"map<{key}, {value}>"
    else:
        said = ("optional " if field.proto3_optional else label) + spelled(file, field)
    if field.HasField("oneof_index") and not field.proto3_optional:
        said += f" of {message.oneof_decl[field.oneof_index].name}"
    return line(f"  {field.number} {field.name}: {said}", field.options)


def in_method(file: Any, method: Any) -> str:
    assert not method.client_streaming
    stream = "stream " if method.server_streaming else ""
    reply = short(file, method.output_type)
    return line(f"  {method.name}({short(file, method.input_type)}) -> {stream}{reply}", method.options)


def spelled(file: Any, field: Any) -> str:
    return short(file, field.type_name) if field.type_name else TYPES[field.type]


def short(file: Any, name: str) -> str:
    """A type by its name alone within its own package, in full elsewhere."""
    package, _, last = name.lstrip(".").rpartition(".")
    return last if package == file.package else name.lstrip(".")


def line(text: str, options: Any) -> str:
    found = sorted(notes(options, ""))
    return f"{text} | {'; '.join(found)}" if found else text


def notes(options: Any, prefix: str) -> Iterator[str]:
    """Each option that is set, with its path; a CEL rule by its id and expression, whatever its message says."""
    for field, value in options.ListFields():
        path = prefix if field.full_name == "buf.validate.field" else f"{prefix}{field.name}."
        if field.full_name.endswith("Rules.cel"):
            yield from (f"{path}{rule.id}={rule.expression}" for rule in value)
        elif field.message_type is not None:
            yield from notes(value, path)
        elif field.enum_type is not None:
            yield f"{path[:-1]}={field.enum_type.values_by_number[value].name}"
        else:
            yield f"{path[:-1]}={json.dumps(value)}"


@pytest.mark.parametrize("group", GROUPS)
def test_the_protos_say_what_the_contract_says(group: str) -> None:
    assert facts()[group].splitlines() == (HERE / f"{group}.txt").read_text().splitlines()


def test_no_group_is_without_its_contract() -> None:
    assert sorted(facts()) == GROUPS == sorted(path.stem for path in HERE.glob("*.txt"))


def test_every_rule_tells_its_breaker_something() -> None:
    for file in compiled().file:
        for message in file.message_type if file.name.startswith("ai/") else ():
            for field in message.field:
                rules = next((value for one, value in field.options.ListFields() if one.name == "field"), None)
                for rule in (*rules.cel, *rules.repeated.items.cel) if rules is not None else ():
                    assert rule.message.startswith("must "), (message.name, field.name)
