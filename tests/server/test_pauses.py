"""Small messages from very many connections: whoever sends more while the server is over its memory is not read."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from h2.events import PingAckReceived
from served_process import Served, served
from server_wire import Wire, connect, message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

MB = 1_000_000
LIMITS = (
    "--max-message-bytes",
    str(MB),
    "--max-connection-memory-bytes",
    str(3 * MB),
    "--max-memory-bytes",
    str(6 * MB),
)
GET = "/ai.stigmer.agentic.environment.v1.EnvironmentQueryController/get"
CREATE = "/ai.stigmer.agentic.environment.v1.EnvironmentCommandController/create"
SMALL = 60_000
"""A message that needs no announcement: with its call it counts as 76 KB."""
OTHERS = 77
"""Connections with a small message each, which come to 5.88 of 6 MB: there is room for one more, not for two."""


def begun(wire: Wire) -> int:
    """A call whose small message lacks its last byte."""
    stream_id = wire.request(path=CREATE, end=False)
    data = message(b"\x0a" * (SMALL - 1), size=SMALL)
    for at in range(0, len(data), wire.h2.max_outbound_frame_size):
        wire.h2.send_data(stream_id, data[at : at + wire.h2.max_outbound_frame_size])
    wire.flush()
    return stream_id


def ping(wire: Wire) -> None:
    wire.h2.ping(b"are you?")
    wire.flush()


async def answers(wire: Wire) -> bool:
    while not any(isinstance(event, PingAckReceived) for event in wire.events):
        assert await wire.read()
    return True


async def has_answered(wire: Wire) -> bool:
    """Whether the answer is among what has come so far."""
    while wire.reader._buffer:  # type: ignore[attr-defined]  # there is no public way to see it
        assert await wire.read()
    return any(isinstance(event, PingAckReceived) for event in wire.events)


async def serves(wire: Wire) -> bool:
    return (await wire.status(wire.request(message(b"\x0a\x01x"), path=GET))).startswith("5 ")


@asynccontextmanager
async def nearly_full(server: Served) -> AsyncGenerator[AsyncExitStack]:
    """Many connections, each with a little of the server's memory; all were read."""
    async with AsyncExitStack() as others:
        wires = [await others.enter_async_context(connect(server)) for _ in range(OTHERS)]
        for wire in wires:
            begun(wire)
            ping(wire)
            assert await answers(wire)
        yield others


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
async def test_one_that_sends_more_is_not_read_until_there_is_room_and_one_that_holds_little_is(
    tmp_path: Path, loop: str
) -> None:
    async with served(tmp_path, loop, *LIMITS) as server, connect(server) as more, connect(server) as little:
        assert await serves(more)
        async with nearly_full(server) as others:
            calls = [begun(more) for _ in range(3)]
            for _ in range(5):
                assert await serves(little)  # again and again, though the server stays full
            ping(more)
            for _ in range(5):
                assert await serves(little)
            assert not await has_answered(more)
            await others.aclose()
        assert await answers(more)
        for call in calls:
            more.h2.send_data(call, b"\x0a", end_stream=True)
        more.flush()
        assert [(await more.status(call)).split()[0] for call in calls] == ["3"] * 3


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
async def test_one_that_is_not_read_for_too_long_has_its_calls_refused_and_is_read_again(
    tmp_path: Path, loop: str
) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(served(tmp_path, loop, *LIMITS, "--memory-wait-s", "0.3"))
        more = await stack.enter_async_context(connect(server))
        assert await serves(more)
        await stack.enter_async_context(nearly_full(server))
        for call in [begun(more) for _ in range(2)]:
            assert (await more.status(call)).startswith("8 ")
        ping(more)
        assert await answers(more)
