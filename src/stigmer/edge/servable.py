"""Services as grpclib has them: what takes them apart, and what is one again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from grpclib import const
    from grpclib._typing import IServable
    from grpclib.server import Stream


class Shape(NamedTuple):
    """grpclib's `Handler`, with types."""

    func: Callable[[Stream[Any, Any]], Awaitable[None]]
    cardinality: Any
    request_type: type[Any]
    reply_type: type[Any]


def shapes_of(servable: IServable) -> list[tuple[str, Shape]]:
    """Its methods by path."""
    return [(path, Shape(*handler)) for path, handler in servable.__mapping__().items()]


class Mapped:
    """What grpclib takes for a service."""

    def __init__(self, mapping: Mapping[str, const.Handler]) -> None:
        self._mapping = dict(mapping)

    def __mapping__(self) -> dict[str, const.Handler]:
        return self._mapping
