"""Compressed messages: requests inflated within bounds, large replies packed where that pays.

`stream.Stream` calls it. What takes more than a moment is done on a thread, for one request and one reply at once: zlib
lets go of Python's lock meanwhile.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from stigmer import errors
from stigmer.errors import clip
from stigmer.server.memory import SMALL_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.server.inbound import Inbound

ACCEPTED = "identity,deflate,gzip"
"""The encodings that are taken, as `grpc-accept-encoding` names them."""

PLENTY_BYTES = 2**20
RATIO = 200
"""A message may inflate to PLENTY_BYTES, or to so many times what it came as."""
USUAL_RATIO = 10
"""So many times what it came as is what it gets room for at first."""

_LEAST_BYTES = 16 * 1024  # replies smaller than this go out as they are
_INLINE_BYTES = 64 * 1024  # larger ones are packed on a thread, at some 70 MB/s

_WBITS = {"gzip": 31, "deflate": 15}  # gRPC's deflate is zlib's format
_inflating = RunVar[CapacityLimiter]("stigmer_inflating")  # one request at once; the others wait
_packing = asyncio.Lock()  # one reply at once; nobody ever waits for it


def checked(encoding: str) -> str:
    """The encoding of a message that is flagged as compressed.

    Raises:
        Unimplemented: it is not taken.
        Relayed: INTERNAL, as gRPC says, where there is none.
    """
    if encoding in ("", "identity"):
        raise errors.Relayed(
            errors.Code.INTERNAL,
            "a message is flagged as compressed, but grpc-encoding names no way",
            callers_fault=True,
        )
    if encoding not in _WBITS:
        raise errors.Unimplemented(f"messages compressed as {clip(encoding)!r} are not taken: use {ACCEPTED}")
    return encoding


def most(size: int, limit: int) -> int:
    """How many bytes a message of `size` compressed bytes may inflate to, where `limit` holds for all messages."""
    return min(limit, max(PLENTY_BYTES, RATIO * size))


def usual(size: int, limit: int) -> int:
    """What it gets room for at first."""
    return min(most(size, limit), USUAL_RATIO * size)


async def inflated(data: bytes, encoding: str, limit: int, buffer: Inbound) -> bytes:
    """The message in `data`, as long as `most` at most; larger ones wait for room in the budget first.

    Raises:
        InvalidArgument: it cannot be inflated, ends early, or goes on behind its end.
        ResourceExhausted: it is too long, or there was no room for too long.
    """
    work, size, whole = zlib.decompressobj(_WBITS[checked(encoding)]), len(data), b""
    bound = most(size, limit)
    if size <= SMALL_BYTES:
        whole, data = _some(work.decompress, data, SMALL_BYTES + 1), work.unconsumed_tail
    for room in (usual(size, limit), bound):
        if not work.eof and len(whole) <= room:
            await buffer.grow(room)
            more = room + 1 - len(whole)
            whole += await to_thread.run_sync(_some, work.decompress, data, more, limiter=_limiter())
            data = work.unconsumed_tail
    if len(whole) > bound:
        raise errors.ResourceExhausted(
            f"the compressed message inflates to more than {bound} bytes: send less, or send it uncompressed"
        )
    if not work.eof or work.unused_data:
        raise _broken()
    buffer.settle(len(whole))
    return whole


def _some(decompress: Callable[[bytes, int], bytes], data: bytes, size: int) -> bytes:
    try:
        return decompress(data, size)
    except zlib.error:
        raise _broken() from None


def _broken() -> errors.InvalidArgument:
    return errors.InvalidArgument.of("", "the compressed message cannot be inflated")


def wanted(accepted: str, size: int) -> bool:
    """Whether a reply of `size` bytes may be packed, for a client whose `grpc-accept-encoding` is `accepted`."""
    return size >= _LEAST_BYTES and "gzip" in (part.strip() for part in accepted.split(","))


async def packed(body: bytes) -> bytes | None:
    """The reply as gzip; None where that saves less than a quarter, or another large one is being packed."""
    if len(body) <= _INLINE_BYTES:
        return _if_less(_gzip(body), len(body))
    if _packing.locked() or _if_less(_gzip(body[:_LEAST_BYTES]), _LEAST_BYTES) is None:
        return None
    async with _packing:
        return _if_less(await to_thread.run_sync(_gzip, body), len(body))


def _gzip(body: bytes) -> bytes:
    work = zlib.compressobj(1, zlib.DEFLATED, 31)
    return work.compress(body) + work.flush()


def _if_less(made: bytes, size: int) -> bytes | None:
    return made if len(made) * 4 <= size * 3 else None


def _limiter() -> CapacityLimiter:
    try:
        return _inflating.get()
    except LookupError:
        limiter = CapacityLimiter(1)
        _inflating.set(limiter)
        return limiter
