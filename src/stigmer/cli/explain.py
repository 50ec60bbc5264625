"""`stigmer explain`: what a kind or a field of it means, in the words of the protos."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stigmer.errors import StartupError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

_WIDTH = 100


def explain(
    what: Annotated[str, typer.Argument(metavar="KIND[.FIELD]...", help="Such as agent, or agent.spec.mcpServers.")],
) -> None:
    """Tell what a kind or a field of it means.

    With the fields that there are in it; no server is asked.
    """
    from stigmer.cli.kinds import kind_of  # noqa: PLC0415  # not wanted for the command's help
    from stigmer.cli.printing import say  # noqa: PLC0415  # as above
    from stigmer.client.resources import about  # noqa: PLC0415  # as above
    from stigmer.wire import descriptors  # noqa: PLC0415  # as above
    from stigmer.wire.message_types import full_name_of  # noqa: PLC0415  # as above

    word, *path = what.split(".")
    named = kind_of(word)
    kind: Any = descriptors.descriptor(full_name_of(about(named.kind).message))
    field: Any = None
    for name in path:
        field, kind = _step(kind, name, what)
    heading = f"{named.kind} ({named.api_version})" if field is None else f"{'.'.join(path)}  <{_type(field)}>"
    said = filter(None, (_comment(one) for one in (field, kind) if one is not None))
    lines = [heading, *(textwrap.fill(one, _WIDTH, initial_indent="  ", subsequent_indent="  ") for one in said)]
    for one in kind.fields if kind is not None else ():
        lines += ["", f"  {one.camelcase_name}  <{_type(one)}>"]
        if text := _comment(one):
            lines.append(textwrap.fill(text, _WIDTH, initial_indent="    ", subsequent_indent="    "))
    say("\n".join(lines) + "\n")


def _step(kind: Descriptor | None, name: str, what: str) -> tuple[FieldDescriptor, Descriptor | None]:
    """The field of a name, and the type of the messages in it, None for a scalar's. Raises StartupError."""
    from stigmer.cli.manifest_faults import hint  # noqa: PLC0415  # as above
    from stigmer.wire.shapes import value_field  # noqa: PLC0415  # as above

    fields = {} if kind is None else {one.camelcase_name: one for one in kind.fields}
    found = fields.get(name) or next((one for one in fields.values() if one.name == name), None)
    if found is None:
        raise StartupError(f"{what}: no field {name!r}{hint(name, fields) if fields else '; a single value has none'}")
    return found, value_field(found).message_type


def _type(field: FieldDescriptor) -> str:
    """What it holds, as people say it."""
    from stigmer.wire.shapes import is_map, value_field  # noqa: PLC0415  # as above

    value = value_field(field)
    if value.enum_type is not None:
        name = "|".join(one.name for one in value.enum_type.values if one.number)
    else:
        name = value.message_type.name if value.message_type is not None else _SCALARS.get(value.cpp_type, "text")
    if is_map(field):
        return f"map of {name}"
    return f"list of {name}" if field.is_repeated else name


_SCALARS = {1: "number", 2: "number", 3: "number", 4: "number", 5: "number", 6: "number", 7: "true or false"}
"""By FieldDescriptor.CPPTYPE_*: all others are texts."""


def _comment(of: Any) -> str:  # noqa: ANN401 - a descriptor; the stubs of those of fields lack `file`
    """The comment before a message or field in its proto; empty where there is none."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415  # as above

    from stigmer.wire import descriptors  # noqa: PLC0415  # as above

    file = FileDescriptorProto.FromString(descriptors.file_bytes(of.file.name))
    wanted = of.full_name.removeprefix(f"{file.package}.").split(".")
    for location in file.source_code_info.location:
        match list(location.path):
            case [4, number]:
                name = [file.message_type[number].name]
            case [4, number, 2, field]:
                message = file.message_type[number]
                name = [message.name, message.field[field].name]
            case _:
                continue
        if name == wanted:
            return " ".join(location.leading_comments.split())
    return ""
