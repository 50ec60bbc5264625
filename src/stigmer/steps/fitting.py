"""A resource that no reply has room for, made to fit: it goes without the longest fields of its status.

Bytes are copied as they stand; nothing is parsed, so that a long transcript costs little.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from stigmer.wire.scalars import varint
from stigmer.wire.scan import fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STEP = 500  # fields between two points where the work can be left
_LENGTH_BYTES = 5  # no length takes more


class _Part(NamedTuple):
    """Bytes of the resource; `field` is the number of the field of the status that they are, 0 for what is no such."""

    field: int
    start: int
    end: int


def without_longest(data: bytes, status: int, limit_bytes: int) -> Iterator[bytes | None]:
    """The resource with as many fields of its status left out, the longest first, as must go for it to fit.

    Args:
        data: the resource.
        status: the number of the field `status`.
        limit_bytes: how long it may be.

    Returns:
        gives None from time to time (see `slices`), then the resource; as it is, where that is not enough.
    """
    parts: list[_Part] = []
    for part in _parts(data, status):
        parts.append(part)
        if not len(parts) % _STEP:
            yield None
    sizes = Counter[int]()
    for part in parts:
        sizes[part.field] += part.end - part.start
    excess, gone = len(data) + _LENGTH_BYTES - limit_bytes, set[int]()
    for field, size in sizes.most_common():
        if excess > 0 and field:
            gone.add(field)
            excess -= size
    yield data if excess > 0 else _joined(data, status, [part for part in parts if part.field not in gone])


def _parts(data: bytes, status: int) -> Iterator[_Part]:
    """The resource in pieces, in order."""
    for field in fields(data, 0, len(data)):
        if field.number != status:
            yield _Part(0, field.start, field.end)
        else:
            for inner in fields(data, field.body, field.end):
                yield _Part(inner.number, inner.start, inner.end)


def _joined(data: bytes, status: int, parts: Sequence[_Part]) -> bytes:
    """The pieces as one resource, its status last."""
    outside = [data[part.start : part.end] for part in parts if not part.field]
    body = b"".join(data[part.start : part.end] for part in parts if part.field)
    return b"".join((*outside, varint(status << 3 | 2), varint(len(body)), body))
