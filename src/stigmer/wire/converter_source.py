"""The source of a type's converter functions, written from its descriptor. `converters` compiles and keeps them."""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING, cast

from stigmer.wire import scalars
from stigmer.wire.message_types import is_recursive, python_type
from stigmer.wire.shapes import is_map, map_parts, message_type, value_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor


class Source:
    """Writes the source of one type's functions: `g` is the wire message, `o` the object, `d` its attributes."""

    def __init__(self, kind: Descriptor, names: dict[int, str], identify: Callable[[Descriptor], str]) -> None:
        self.kind, self.names, self.identify = kind, names, identify
        self.name = identify(kind)
        self.guard = "if depth > MAX_RECURSION: raise BadValue(TOO_DEEP)" if is_recursive(kind) else None
        self.oneofs = [oneof for oneof in kind.oneofs if len(oneof.fields) > 1]

    def functions(self) -> Iterator[str]:
        """All of them."""
        yield from self.reader()
        yield from self.writer()
        if not self.guard:
            yield from self.filler()

    def reader(self) -> Iterator[str]:
        """`read_X(g)`: one dict display with all attributes becomes the new object's own."""
        yield f"def read_{self.name}(g{', depth=0' if self.guard else ''}):"
        if self.guard:
            yield f" {self.guard}"
        yield f" o = new(class_{self.name})"
        yield from self._attributes("o.__dict__", "read")
        yield " return o"

    def filler(self) -> Iterator[str]:
        """`fill_X(g)` gives the attributes of an object; `later_X(g)` an object that is filled so when touched.

        What they get may be bytes as well.
        """
        yield f"def fill_{self.name}(g):"
        yield f" if g.__class__ is bytes: g = parse_{self.name}(g)"
        yield from self._attributes("d", "later")
        yield " return d"
        yield f"def later_{self.name}(g):"
        yield f" o = new(class_{self.name})"
        yield " o.__dict__ = {SOURCE: g}"
        yield f" o.__class__ = lazy_{self.name}"
        yield " return o"

    def _attributes(self, target: str, verb: str) -> Iterator[str]:
        yield from (f" which_{number} = g.WhichOneof({oneof.name!r})" for number, oneof in enumerate(self.oneofs))
        yield f" {target} = {{"
        yield from (f"  {self.names[field.number]!r}: {self._read(field, verb)}," for field in self.kind.fields)
        yield "  '_unknown_fields': unknown_bytes(g) if len(UnknownFieldSet(g)) else b'',"
        yield " }"

    def writer(self) -> Iterator[str]:
        """`write_X(g, o)`: checks each value's class, then lets the C runtime check the rest.

        Comments name the fields: `faults` reads them where the function fails.
        """
        yield f"def write_{self.name}(g, o{', depth=0' if self.guard else ''}):"
        if self.guard:
            yield f" {self.guard}"
        else:
            yield f" if type(o) is lazy_{self.name}: merge(g, o); return"
        yield f" if o.__class__ is not class_{self.name}: check(o, class_{self.name})"
        yield " d = o.__dict__"
        for oneof in self.oneofs:
            count = " + ".join(f"(d[{self.names[member.number]!r}] is not None)" for member in oneof.fields)
            members = ", ".join(member.name for member in oneof.fields)
            yield f" if {count} > 1: raise BadValue('only one of {members} may be set')  # {oneof.name}"
        for field in self.kind.fields:
            yield f" v = d[{self.names[field.number]!r}]  # {field.name}"
            yield from (f" {line}" for line in self._write(field))
        yield " if d.get('_unknown_fields'): g.MergeFromString(d['_unknown_fields'])  # "

    def _read(self, field: FieldDescriptor, verb: str) -> str:
        """The expression for the value of an attribute; the functions for the messages in it begin with `verb`."""
        wire = _wire(field)
        if is_map(field):
            value = self._read_one(value_field(field), "m[k]", verb)  # quicker than the C runtime's items()
            return f"{{k: {value} for k in m}} if (m := {wire}) else {{}}"
        if field.is_repeated:
            value = self._read_one(field, "v", verb)
            return f"{wire}[:]" if value == "v" else f"[{value} for v in {wire}]"
        value = self._read_one(field, wire, verb)
        return f"{value} if {self._is_set(field)} else None" if field.has_presence else value

    def _is_set(self, field: FieldDescriptor) -> str:
        oneof = field.containing_oneof
        for number, one in enumerate(self.oneofs):
            if oneof is not None and one.name == oneof.name:
                return f"which_{number} == {field.name!r}"
        return f"g.HasField({field.name!r})"

    def _read_one(self, field: FieldDescriptor, wire: str, verb: str) -> str:
        """The expression for one value; `wire` itself where nothing is to be done."""
        if field.enum_type is not None:
            return f"{members_name(field)}[{wire}]"
        return wire if field.message_type is None else f"{self._function(verb, field)}({wire}{self._deeper(field)})"

    def _function(self, verb: str, field: FieldDescriptor) -> str:
        kind = message_type(field)
        if verb == "later" and (kind.full_name in scalars.WELL_KNOWN or is_recursive(kind)):
            verb = "read"
        return f"{verb}_{scalars.WELL_KNOWN.get(kind.full_name) or self.identify(kind)}"

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
        usual = _exact(field) if field.enum_type is None else enum_name(field)
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
        yield f" m = {_wire(field)}; all_checked(v, {_exact(key)}, 'a key ')"
        if value.message_type is None:
            yield f" all_checked(v.values(), {_exact(value)}); m.update(v)"
        else:
            yield f" for k, e in v.items(): {self._function('write', value)}(m[k], e{self._deeper(value)})"


def _exact(field: FieldDescriptor) -> str:
    """The name of the Python class that values of a scalar field have."""
    return python_type(field).__name__


def enum_name(field: FieldDescriptor) -> str:
    """The global name of the class of a field's enum."""
    return f"enum_{cast('EnumDescriptor', field.enum_type).full_name.replace('.', '_')}"


def members_name(field: FieldDescriptor) -> str:
    """The global name of the members of a field's enum."""
    return f"members_of_{enum_name(field)}"


def _wire(field: FieldDescriptor) -> str:
    """The expression for a field of the wire message; some names are words of Python."""
    return f"getattr(g, {field.name!r})" if keyword.iskeyword(field.name) else f"g.{field.name}"


def _set(field: FieldDescriptor, value: str) -> str:
    """The statement that sets a scalar field of the wire message."""
    if keyword.iskeyword(field.name):
        return f"setattr(g, {field.name!r}, {value})"
    return f"g.{field.name} = {value}"
