"""Messages inflated within their bounds, replies packed where it pays."""

from __future__ import annotations

import asyncio
import gzip
import random
import threading
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from server_wire import connect, message

from stigmer import errors
from stigmer.server import compression
from stigmer.server.memory import SMALL_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from server_rig import Serve

LIMIT = 3 * 2**20
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
NOISE = random.Random(1).randbytes(LIMIT + 1)


class Buffer:
    """Stands in for a call's Inbound: notes the room that is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.settled = 0

    async def grow(self, size: int) -> None:
        self.asked.append(size)

    def settle(self, size: int) -> None:
        self.settled = size


async def inflated(data: bytes, encoding: str = "gzip", buffer: Any = None) -> bytes:
    room: Any = buffer or Buffer()
    return await compression.inflated(data, encoding, LIMIT, room)


def thin(size: int) -> bytes:
    """Bytes that shrink to a quarter, and not to less."""
    return b"".join(NOISE[at : at + 20] + bytes(80) for at in range(0, size, 100))[:size]


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("size", [0, 1, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1, 2**20, LIMIT - 1, LIMIT])
async def test_every_size_comes_out_as_it_went_in(encoding: str, size: int) -> None:
    for body in (NOISE[:size], thin(size)):
        assert await inflated(PACK[encoding](body), encoding) == body


async def test_only_what_is_large_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = Buffer(), Buffer()
    await inflated(gzip.compress(thin(SMALL_BYTES)), buffer=small)
    dense = gzip.compress(NOISE[:1000] * 100)
    await inflated(dense, buffer=large)
    assert (small.asked, small.settled) == ([], SMALL_BYTES)
    assert (large.asked, large.settled) == ([compression.PLENTY_BYTES], 100_000)


async def test_room_for_what_is_usual_is_asked_for_first() -> None:
    """An honest client's large requests do not each take the room of the largest."""
    buffer, packed = Buffer(), gzip.compress(thin(200_000))
    await inflated(packed, buffer=buffer)
    assert (buffer.asked, buffer.settled) == ([10 * len(packed)], 200_000)


@pytest.mark.parametrize("encoding", PACK)
async def test_more_than_the_limit_is_refused(encoding: str) -> None:
    for body in (NOISE, bytes(LIMIT + 1)):
        with pytest.raises(errors.ResourceExhausted):
            await inflated(PACK[encoding](body), encoding)


async def test_a_ratio_that_no_message_has_is_refused_before_the_limit() -> None:
    plenty = compression.PLENTY_BYTES
    assert len(await inflated(gzip.compress(bytes(plenty)))) == plenty
    with pytest.raises(errors.ResourceExhausted, match=f"more than {plenty} bytes"):
        await inflated(gzip.compress(bytes(plenty + 1)))


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda packed: b"",
    "cut short": lambda packed: packed[:-1],
    "cut in the middle": lambda packed: packed[: len(packed) // 2],
    "with a tail": lambda packed: packed + b"x",
    "twice": lambda packed: packed * 2,
    "a flipped bit": lambda packed: packed[:-3] + bytes([packed[-3] ^ 1]) + packed[-2:],
    "noise": lambda packed: NOISE[: len(packed)],
}


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("size", [100, 300_000])
async def test_what_is_broken_is_an_invalid_argument(encoding: str, broken: str, size: int) -> None:
    with pytest.raises(errors.InvalidArgument, match="cannot be inflated"):
        await inflated(BROKEN[broken](PACK[encoding](NOISE[:size])), encoding)


async def test_only_small_pieces_are_worked_on_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_loop: list[int] = []
    some, gzip_ = compression._some, compression._gzip

    def note(size: int) -> None:
        if threading.current_thread() is threading.main_thread():
            in_the_loop.append(size)

    def noted_some(decompress: Any, data: bytes, size: int) -> bytes:
        note(size)
        return some(decompress, data, size)

    def noted_gzip(body: bytes) -> bytes:
        note(len(body))
        return gzip_(body)

    monkeypatch.setattr(compression, "_some", noted_some)
    monkeypatch.setattr(compression, "_gzip", noted_gzip)
    for size in (1000, 50_000, 100_000, LIMIT):
        assert await inflated(gzip.compress(thin(size))) == thin(size)
        assert await compression.packed(thin(size)) is not None
    assert len(in_the_loop) >= 6
    assert max(in_the_loop) <= SMALL_BYTES + 1


async def test_replies_wait_for_no_thread() -> None:
    """One at a time is packed: others go out as they are."""
    both = await asyncio.gather(compression.packed(thin(LIMIT)), compression.packed(thin(LIMIT)))
    assert [packed is None for packed in both] == [False, True]


async def test_what_does_not_shrink_by_a_quarter_goes_out_as_it_is() -> None:
    for size in (20_000, 200_000, 2_000_000):
        assert await compression.packed(NOISE[:size]) is None
        packed = await compression.packed(thin(size))
        assert packed is not None
        assert gzip.decompress(packed) == thin(size)


@pytest.mark.parametrize("accepted", ["gzip", "identity,deflate,gzip", "identity, gzip"])
def test_replies_are_packed_for_who_takes_gzip_where_they_are_large(accepted: str) -> None:
    assert compression.wanted(accepted, 16 * 1024)
    assert not compression.wanted(accepted, 16 * 1024 - 1)
    assert not compression.wanted("identity,deflate", 2**20)
    assert not compression.wanted("", 2**20)


async def test_nothing_stays_in_the_budget(serve: Serve) -> None:
    """Whether the message was good, broken or a bomb."""
    bodies = (NOISE[:300_000], bytes(500_000), bytes(20_000_000))
    async with serve() as server, connect(server) as wire:
        (protocol,) = server.shared.live
        for body in bodies:
            for packed in (gzip.compress(body), gzip.compress(body)[:-1]):
                sent = message(packed, compressed=True)
                await wire.status(await wire.large_request(sent, headers={"grpc-encoding": "gzip"}))
        assert await wire.status(wire.request(message(b"hello"))) == "0"
        assert protocol.connection.memory.held == 0
