"""Which Python classes stand for a message type, an enum or a scalar: found in the generated code, kept in no table."""

from __future__ import annotations

import dataclasses
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from betterproto2.message_pool import get_type_url
from google.protobuf.descriptor import FieldDescriptor

from stigmer._gen.message_pool import default_message_pool
from stigmer.wire import descriptors, shapes

if TYPE_CHECKING:
    import betterproto2
    from google.protobuf.descriptor import Descriptor

_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


@cache
def object_class(full_name: str) -> type[betterproto2.Message]:
    """The generated class of a message; raises KeyError where the protos have no such message."""
    file = descriptors.descriptor(full_name).file
    import_module(f"stigmer._gen.{file.package}")  # importing it registers its classes
    return default_message_pool.url_to_type[get_type_url(file.package, full_name.removeprefix(f"{file.package}."))]


@cache
def full_name_of(cls: type[betterproto2.Message]) -> str:
    """The name that the protos give a generated class; raises TypeError for any other class."""
    try:
        return default_message_pool.type_to_url[cls].rpartition("/")[2]
    except KeyError:
        raise TypeError(f"{cls.__qualname__} is not a message class of stigmer._gen") from None


@cache
def python_names(cls: type[betterproto2.Message]) -> dict[int, str]:
    """The attribute names of a generated class by field number."""
    fields = dataclasses.fields(cast("Any", cls))  # each generated class is a dataclass; their base is none
    return {cast("int", field.metadata["betterproto"].number): field.name for field in fields}


def enum_class(cls: type[betterproto2.Message], attribute: str) -> type[betterproto2.Enum]:
    """The generated enum class of an attribute, or of its values where it is a map."""
    found: dict[str, Any] = cast("Any", cls)._betterproto.cls_by_field  # noqa: SLF001 - there is no public way
    return cast("type[betterproto2.Enum]", found.get(f"{attribute}.value", found[attribute]))


def python_type(field: FieldDescriptor) -> type:
    """The Python class that values of a scalar or enum field have."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return str
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes
    if field.type == FieldDescriptor.TYPE_BOOL:
        return bool
    return float if field.cpp_type in _FLOATS else int


@cache
def is_recursive(kind: Descriptor) -> bool:
    """Whether messages of the type can contain messages of the same type."""
    return kind.full_name in {one.full_name for one in shapes.reachable(kind)}
