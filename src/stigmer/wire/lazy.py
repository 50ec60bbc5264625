"""Objects of the generated classes that are filled in when somebody looks.

Most requests and replies only pass through: a stored row goes out as its bytes, and few steps read more than an id. So
`converters` makes, for each generated class, a subclass whose objects know only where they come from (SOURCE). The
first touch of an attribute fills the object in and makes it one of the generated class; the messages in it are made
in the same way. Until then `untouched` tells its source, which is what it is on the wire.

`isinstance` and `__class__` say the generated class from the start. `type(x)` alone tells the difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    import betterproto2
    from google.protobuf.message import Message

Source: TypeAlias = "Message | bytes"
"""A message as it stands on the wire; never changed, so that many objects may come from one."""

SOURCE = "_source"
"""The one attribute that such an object has."""

_HOOKS = ("__new__", "__getattribute__", "__setattr__", "__delattr__", "__eq__", "__hash__")

M = TypeVar("M")


class Lazy:
    """What the subclasses have in common.

    Attributes:
        filled: the generated class.
        attributes: makes an object's `__dict__` of its source.
    """

    __slots__ = ()
    filled: ClassVar[type[betterproto2.Message]]
    attributes: ClassVar[Callable[[Source], dict[str, Any]]]

    def __new__(cls, *args: object, **fields: object) -> Any:  # noqa: ANN401 - `type(x)(…)` is an object of the real class
        return cls.filled(*args, **fields)

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - any attribute
        if name == "__class__":
            return type(self).filled
        _fill(self)
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        _fill(self)
        setattr(self, name, value)

    def __delattr__(self, name: str) -> None:
        _fill(self)
        delattr(self, name)

    def __eq__(self, other: object) -> bool:
        _fill(self)
        return self == other

    __hash__ = None  # type: ignore[assignment]  # as messages have none


def lazy_class(cls: type[M], attributes: Callable[[Source], dict[str, Any]]) -> type[M]:
    """The subclass of a generated class whose objects are filled in by `attributes`."""
    names: dict[str, object] = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    names |= {"filled": cls, "attributes": staticmethod(attributes)}
    # Lazy stands last, or Python would not let objects go over to `cls`; hence its methods are named here once more.
    names |= {name: vars(Lazy)[name] for name in _HOOKS}
    meta = cast("Any", type(cls))  # that of abstract classes
    made: type[M] = meta(cls.__name__, (cls, Lazy), names)
    return made


def later(lazy: type[M], source: Source) -> M:
    """An object of a lazy class."""
    made = object.__new__(lazy)
    object.__getattribute__(made, "__dict__")[SOURCE] = source
    return made


def untouched(message: object) -> Source | None:
    """What a lazy object comes from, as long as nobody has looked at it; None for any other object."""
    return object.__getattribute__(message, "__dict__")[SOURCE] if isinstance(message, Lazy) else None


def merge(wire: Message, message: object) -> None:
    """Write an object that nobody has touched into a wire message."""
    source = untouched(message)
    if isinstance(source, bytes):
        wire.MergeFromString(source)
    elif source is not None:
        wire.MergeFrom(source)


def class_of(message: betterproto2.Message) -> type[betterproto2.Message]:
    """The generated class of a message, lazy or not; quicker than `__class__`, which asks a lazy object."""
    cls = type(message)
    return cls.filled if issubclass(cls, Lazy) else cls


def shallow_copy(message: M) -> M:
    """A copy of a message that can be given other fields; submessages, unknown fields too, are shared."""
    source = untouched(message)
    if source is not None:
        return later(type(message), source)
    copied: M = object.__new__(type(message))
    copied.__dict__.update(message.__dict__)
    return copied


def _fill(message: Lazy) -> None:
    cls = type(message)
    attributes = cls.attributes(object.__getattribute__(message, "__dict__")[SOURCE])
    object.__setattr__(message, "__class__", cls.filled)
    message.__dict__ = attributes
