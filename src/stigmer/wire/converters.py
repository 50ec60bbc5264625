"""For each message type the functions that copy between a wire message and a betterproto2 object.

They are written as Python source from the descriptors, a few lines a field, and compiled when a type is first asked
for: some twenty times as fast as betterproto2's own codec (2.3 KB: 50 us in, 40 us out). A write function refuses, with
whatever exception is at hand, what the wire cannot hold; `codec` calls the functions and lets `faults` find the
words for a refusal. A third function fills in an object of the type's lazy class: it copies the message's own fields
and makes lazy objects of the messages in it. Types that contain themselves have no lazy class, since each function
counts how deep they are nested.
"""

from __future__ import annotations

import linecache
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stigmer.wire import descriptors, scalars, shapes
from stigmer.wire.converter_source import Source, enum_name, members_name
from stigmer.wire.lazy import SOURCE, lazy_class, merge
from stigmer.wire.message_types import enum_class, is_recursive, object_class, python_names

if TYPE_CHECKING:
    from collections.abc import Callable

    import betterproto2
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

MAX_RECURSION = 60
"""How deep messages of types that contain themselves (Struct) may nest.

Runtimes parse 100 levels, of which such a one takes up to three for two of ours; the rest is for what stands around.
"""
FILENAME = "<converter of "
"""What the names of the files begin with that tracebacks tell of the functions."""
TOO_DEEP = f"is nested more than {MAX_RECURSION} levels deep"


@dataclass(frozen=True, slots=True)
class Converter:
    """A message type with its classes and the functions between them.

    Attributes:
        full_name: the type's name in the protos.
        wire_class: the C runtime's class, of the private pool.
        object_class: the generated betterproto2 class.
        lazy_class: its subclass whose objects are filled in when touched; the class itself for types in themselves.
        read: a new object with all that a wire message holds; ValueError or OverflowError where Python cannot hold it.
        write: copies an object into an empty wire message; any exception where the wire cannot hold it.
    """

    full_name: str
    wire_class: type[Message]
    object_class: type[betterproto2.Message]
    lazy_class: type[betterproto2.Message]
    read: Callable[[Message], betterproto2.Message]
    write: Callable[[Message, betterproto2.Message], None]


class Converters:
    """The converters built so far. Safe to share between threads."""

    def __init__(self) -> None:
        self._built: dict[str, Converter] = {}
        self._lock = threading.RLock()
        # What the compiled functions see: each other, classes, and the helpers of scalars.
        self._names: dict[str, Any] = {name: getattr(scalars, name) for name in scalars.__all__}
        self._names |= {"new": object.__new__, "MAX_RECURSION": MAX_RECURSION, "SOURCE": SOURCE, "merge": merge}
        self._names["TOO_DEEP"] = TOO_DEEP
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
        for one in (*shapes.reachable(kind), kind):
            needless = one.full_name in scalars.WELL_KNOWN or one.GetOptions().map_entry
            if one.full_name not in self._built and (one is kind or not needless):
                self._built[one.full_name] = self._compile(one)

    def _compile(self, kind: Descriptor) -> Converter:
        name, cls = self._identifier(kind), object_class(kind.full_name)
        source = Source(kind, python_names(cls), self._identifier)
        self._names[f"class_{name}"] = lazy = cls
        for field in kind.fields:
            value = shapes.value_field(field)
            if value.enum_type is not None:
                enum = enum_class(cls, python_names(cls)[field.number])
                self._names[enum_name(value)] = enum
                self._names[members_name(value)] = scalars.Members(enum)
        filename, lines = f"{FILENAME}{kind.full_name}>", [f"{line}\n" for line in source.functions()]
        linecache.cache[filename] = (len(lines), None, lines, filename)  # for tracebacks, and for `faults`
        code = compile("".join(lines), filename, "exec")
        # The source is made of descriptors that ship with this package, never of anything that a caller sent.
        exec(code, self._names)  # noqa: S102
        read, write = self._names[f"read_{name}"], self._names[f"write_{name}"]
        wire_class = descriptors.message_class(kind.full_name)
        if not is_recursive(kind):
            self._names[f"parse_{name}"] = wire_class.FromString
            lazy = self._names[f"lazy_{name}"] = lazy_class(cls, self._names[f"fill_{name}"])
        return Converter(kind.full_name, wire_class, cls, lazy, read, write)

    def _identifier(self, kind: Descriptor) -> str:
        """A Python name for a type, unique and readable in a traceback."""
        return self._identifiers.setdefault(kind.full_name, f"{kind.name}_{len(self._identifiers)}")
