"""For each message type the two functions that copy between a wire message and a betterproto2 object.

They are written as Python source from the descriptors, a few lines a field, and compiled when a type is first asked
for: some twenty times as fast as betterproto2's own codec (2.3 KB: 50 us in, 40 us out). A write function refuses, with
whatever exception is at hand, what the wire cannot hold; `codec` calls both functions and lets `codec_faults` find the
words for a refusal.
"""

from __future__ import annotations

import keyword
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from stigmer import descriptors, wire_values
from stigmer.descriptors import is_map, map_parts, message_type
from stigmer.message_types import enum_class, is_recursive, object_class, python_names, python_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import betterproto2
    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message

MAX_RECURSION = 60
"""How deep messages of types that contain themselves (Struct) may nest.

Runtimes parse 100 levels, of which such a one takes up to three for two of ours; the rest is for what stands around.
"""


@dataclass(frozen=True, slots=True)
class Converter:
    """A message type with its two classes and the functions between them.

    Attributes:
        full_name: the type's name in the protos.
        wire_class: the C runtime's class, of the private pool.
        object_class: the generated betterproto2 class.
        read: a new object with all that a wire message holds; ValueError or OverflowError where Python cannot hold it.
        write: copies an object into an empty wire message; any exception where the wire cannot hold it.
    """

    full_name: str
    wire_class: type[Message]
    object_class: type[betterproto2.Message]
    read: Callable[[Message], betterproto2.Message]
    write: Callable[[Message, betterproto2.Message], None]


class Converters:
    """The converters built so far. Safe to share between threads."""

    def __init__(self) -> None:
        self._built: dict[str, Converter] = {}
        self._lock = threading.RLock()
        # What the compiled functions see: each other, classes, and the helpers of wire_values.
        self._names: dict[str, Any] = {name: getattr(wire_values, name) for name in wire_values.__all__}
        self._names |= {"new": object.__new__, "MAX_RECURSION": MAX_RECURSION}
        self._identifiers: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Converters: {len(self._built)} types>"

    def of(self, full_name: str) -> Converter:
        """The converter of a type, built on first use; raises KeyError for a type that is not in the protos."""
        found = self._built.get(full_name)
        if found is None:
            with self._lock:
                self._build(descriptors.descriptor(full_name))
                found = self._built[full_name]
        return found

    def _build(self, kind: Descriptor) -> None:
        """Compile this type and all that it refers to."""
        missing = {kind.full_name: kind}
        while missing:
            _, one = missing.popitem()
            if one.full_name not in self._built:
                self._built[one.full_name] = self._compile(one)
                missing |= {inner.full_name: inner for inner in _referred(one)}

    def _compile(self, kind: Descriptor) -> Converter:
        name, cls = self._identifier(kind), object_class(kind.full_name)
        source = _Source(kind, python_names(cls), self._identifier)
        self._names[f"class_{name}"] = cls
        for field in kind.fields:
            value = _value_field(field)
            if value.enum_type is not None:
                enum = enum_class(cls, python_names(cls)[field.number])
                self._names[_enum_name(value)] = enum
                self._names[_members_name(value)] = wire_values.Members(enum)
        code = compile("\n".join((*source.reader(), *source.writer())), f"<converter of {kind.full_name}>", "exec")
        # The source is made of descriptors that ship with this package, never of anything that a caller sent.
        exec(code, self._names)  # noqa: S102
        read, write = self._names[f"read_{name}"], self._names[f"write_{name}"]
        return Converter(kind.full_name, descriptors.message_class(kind.full_name), cls, read, write)

    def _identifier(self, kind: Descriptor) -> str:
        """A Python name for a type, unique and readable in a traceback."""
        return self._identifiers.setdefault(kind.full_name, f"{kind.name}_{len(self._identifiers)}")


class _Source:
    """Writes the source of one type's functions: `g` is the wire message, `o` the object, `d` its attributes."""

    def __init__(self, kind: Descriptor, names: dict[int, str], identify: Callable[[Descriptor], str]) -> None:
        self.kind, self.names, self.identify = kind, names, identify
        self.name = identify(kind)
        self.guard = "if depth > MAX_RECURSION: raise ValueError" if is_recursive(kind) else None
        self.oneofs = [oneof for oneof in kind.oneofs if len(oneof.fields) > 1]

    def reader(self) -> Iterator[str]:
        """`read_X(g)`: one dict display with all attributes becomes the new object's own."""
        yield f"def read_{self.name}(g{', depth=0' if self.guard else ''}):"
        if self.guard:
            yield f" {self.guard}"
        yield from (f" which_{number} = g.WhichOneof({oneof.name!r})" for number, oneof in enumerate(self.oneofs))
        yield f" o = new(class_{self.name})"
        yield " o.__dict__ = {"
        yield from (f"  {self.names[field.number]!r}: {self._read(field)}," for field in self.kind.fields)
        yield "  '_unknown_fields': unknown_bytes(g) if len(UnknownFieldSet(g)) else b'',"
        yield " }"
        yield " return o"

    def writer(self) -> Iterator[str]:
        """`write_X(g, o)`: checks each value's class, then lets the C runtime check the rest."""
        yield f"def write_{self.name}(g, o{', depth=0' if self.guard else ''}):"
        if self.guard:
            yield f" {self.guard}"
        yield f" if o.__class__ is not class_{self.name}: check(o, class_{self.name})"
        yield " d = o.__dict__"
        for oneof in self.oneofs:
            count = " + ".join(f"(d[{self.names[member.number]!r}] is not None)" for member in oneof.fields)
            yield f" if {count} > 1: raise ValueError"
        for field in self.kind.fields:
            yield f" v = d[{self.names[field.number]!r}]"
            yield from (f" {line}" for line in self._write(field))
        yield " if d.get('_unknown_fields'): g.MergeFromString(d['_unknown_fields'])"

    def _read(self, field: FieldDescriptor) -> str:
        """The expression for the value of an attribute."""
        wire = _wire(field)
        if is_map(field):
            value = self._read_one(_value_field(field), "m[k]")  # quicker than the C runtime's items()
            return f"{{k: {value} for k in m}} if (m := {wire}) else {{}}"
        if field.is_repeated:
            value = self._read_one(field, "v")
            return f"{wire}[:]" if value == "v" else f"[{value} for v in {wire}]"
        value = self._read_one(field, wire)
        return f"{value} if {self._is_set(field)} else None" if field.has_presence else value

    def _is_set(self, field: FieldDescriptor) -> str:
        oneof = field.containing_oneof
        for number, one in enumerate(self.oneofs):
            if oneof is not None and one.name == oneof.name:
                return f"which_{number} == {field.name!r}"
        return f"g.HasField({field.name!r})"

    def _read_one(self, field: FieldDescriptor, wire: str) -> str:
        """The expression for one value; `wire` itself where nothing is to be done."""
        if field.enum_type is not None:
            return f"{_members_name(field)}[{wire}]"
        return wire if field.message_type is None else f"{self._function('read', field)}({wire}{self._deeper(field)})"

    def _function(self, verb: str, field: FieldDescriptor) -> str:
        kind = message_type(field)
        return f"{verb}_{wire_values.WELL_KNOWN.get(kind.full_name) or self.identify(kind)}"

    def _deeper(self, field: FieldDescriptor) -> str:
        return ", depth + 1" if self.guard and is_recursive(message_type(field)) else ""

    def _write(self, field: FieldDescriptor) -> Iterator[str]:
        """The statements that copy the value `v` of an attribute."""
        if is_map(field):
            yield from self._write_map(field)
        elif field.is_repeated:
            yield from self._write_list(field)
        elif field.message_type is not None:
            yield "if v is not None:"
            yield f" m = {_wire(field)}; m.SetInParent()"
            yield f" {self._function('write', field)}(m, v{self._deeper(field)})"
        else:
            yield from self._write_scalar(field)

    def _write_scalar(self, field: FieldDescriptor) -> Iterator[str]:
        usual = _exact(field) if field.enum_type is None else _enum_name(field)
        check = f"if v.__class__ is not {usual}: check(v, {_exact(field)})"
        if field.has_presence:
            yield "if v is not None:"
            yield f" {check}"
            yield f" {_set(field, 'v')}"
        else:
            yield check
            # Zero is the default and need not be set; a float's negative zero equals it and must be.
            yield _set(field, "v") if _exact(field) == "float" else f"if v: {_set(field, 'v')}"

    def _write_list(self, field: FieldDescriptor) -> Iterator[str]:
        yield "if v.__class__ is not list: check(v, (list, tuple))"
        yield "if v:"
        if field.message_type is None:
            yield f" {_wire(field)}.extend(all_checked(v, {_exact(field)}))"
        else:
            yield f" m = {_wire(field)}"
            yield f" for e in v: {self._function('write', field)}(m.add(), e{self._deeper(field)})"

    def _write_map(self, field: FieldDescriptor) -> Iterator[str]:
        key, value = map_parts(field)
        yield "if v.__class__ is not dict: check(v, dict)"
        yield "if v:"
        yield f" m = {_wire(field)}; all_checked(v, {_exact(key)})"
        if value.message_type is None:
            yield f" all_checked(v.values(), {_exact(value)}); m.update(v)"
        else:
            yield f" for k, e in v.items(): {self._function('write', value)}(m[k], e{self._deeper(value)})"


def _value_field(field: FieldDescriptor) -> FieldDescriptor:
    """The field that says what the values are: a map's own, else the field itself."""
    return map_parts(field)[1] if is_map(field) else field


def _referred(kind: Descriptor) -> Iterator[Descriptor]:
    """The message types that converters of `kind` call."""
    for field in kind.fields:
        inner = _value_field(field).message_type
        if inner is not None and inner.full_name not in wire_values.WELL_KNOWN:
            yield inner


def _exact(field: FieldDescriptor) -> str:
    """The name of the Python class that values of a scalar field have."""
    return python_type(field).__name__


def _enum_name(field: FieldDescriptor) -> str:
    """The global name of the class of a field's enum."""
    return f"enum_{cast('EnumDescriptor', field.enum_type).full_name.replace('.', '_')}"


def _members_name(field: FieldDescriptor) -> str:
    """The global name of the members of a field's enum."""
    return f"members_of_{_enum_name(field)}"


def _wire(field: FieldDescriptor) -> str:
    """The expression for a field of the wire message; some names are words of Python."""
    return f"getattr(g, {field.name!r})" if keyword.iskeyword(field.name) else f"g.{field.name}"


def _set(field: FieldDescriptor, value: str) -> str:
    """The statement that sets a scalar field of the wire message."""
    if keyword.iskeyword(field.name):
        return f"setattr(g, {field.name!r}, {value})"
    return f"g.{field.name} = {value}"
