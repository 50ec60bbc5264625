"""Attacks on the memory of a served process: what is not finished, or not read, is bounded and given back."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_sockets import dial
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from h2.events import ResponseReceived, StreamReset
from served_process import Served, served
from server_wire import Wire, connect, message

from stigmer._gen.ai.stigmer.agentic.environment import v1 as environments
from stigmer._gen.ai.stigmer.agentic.session import v1 as sessions
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

MB = 1_000_000
QUERY = "/ai.stigmer.agentic.environment.v1.EnvironmentQueryController"
CREATE = "/ai.stigmer.agentic.environment.v1.EnvironmentCommandController/create"
LIST = "/ai.stigmer.agentic.session.v1.SessionQueryController/list"
SMALL = (
    "--max-message-bytes",
    str(MB),
    "--max-connection-memory-bytes",
    str(3 * MB),
    "--max-memory-bytes",
    str(6 * MB),
)
UNCOLLECTED = "import gc; gc.disable(); gc.enable = lambda: None; from stigmer.cli import main; main()"


FIRST = 1_000


def half_sent(wire: Wire, size: int) -> int:
    """Begin a message of that size."""
    return wire.request(message(b"\x0a" * FIRST, size=size), path=CREATE, end=False)


async def send_on(wire: Wire, left: dict[int, int], least: int) -> None:
    """Send what the windows allow of messages of which so much is left, all but a byte of each; `least` are allowed."""
    total = 0
    while True:
        sent = 0
        for stream_id, size in left.items():
            room = min(wire.h2.local_flow_control_window(stream_id), size - 1, 16_384)
            if room > 0:
                wire.h2.send_data(stream_id, b"\x0a" * room)
                left[stream_id] -= room
                sent += room
        total += sent
        wire.flush()
        await wire.writer.drain()
        try:
            await asyncio.wait_for(wire.read(), 0.001 if sent else 0.5)
        except TimeoutError:
            if not sent and total > least:
                return


@asynccontextmanager
async def unread(server: Served, *, window: int = 0) -> AsyncGenerator[Wire]:
    """A connection whose calls have no window for their replies."""
    async with connect(server, hello=False) as wire:
        wire.h2.initiate_connection()
        wire.h2.update_settings({4: window})  # INITIAL_WINDOW_SIZE
        wire.flush()
        yield wire


async def stored(server: Served, size: int) -> bytes:
    """The request that gets a resource of that size."""
    made = samples.environment(id=f"env-{samples.NOBODY}")
    made.spec.description = "x" * size
    channel = dial(server)
    try:
        await environments.EnvironmentCommandControllerStub(channel).create(made)
    finally:
        channel.close()
    return message(codec.encode(ApiResourceId(value=made.metadata.id)))


async def works(server: Served) -> bool:
    async with connect(server) as wire:
        return (await wire.status(wire.request(message(b"\x0a\x01x"), path=f"{QUERY}/get"))).startswith("5 ")


async def test_announced_requests_that_are_never_whole_stay_within_the_budget(tmp_path: Path) -> None:
    async with served(tmp_path) as server, connect(server) as one, connect(server) as two:
        assert await works(server)
        before = server.forget_peak()
        for wire in (one, two):
            left = {half_sent(wire, 9_900_000): 9_900_000 - FIRST for _ in range(30)}
            await send_on(wire, left, 20 * MB)
        assert server.memory_bytes("VmHWM") - before < 110 * MB  # 290 MB without a budget
        assert await works(server)


async def test_requests_that_find_no_room_wait_and_are_refused_and_told_when_to_come_back(tmp_path: Path) -> None:
    async with served(tmp_path, *SMALL, "--memory-wait-s", "0.5") as server, connect(server) as wire:
        streams = [half_sent(wire, MB) for _ in range(5)]
        answers = [await asyncio.wait_for(wire.status(one), 60) for one in streams[3:]]
        assert [answer.split()[0] for answer in answers] == ["8", "8"]
        raw = wire.trailers(streams[4])["grpc-status-details-bin"]
        status = Status.FromString(base64.b64decode(raw + "=" * (-len(raw) % 4)))
        info = RetryInfo()
        assert status.details[0].Unpack(info)
        assert info.retry_delay == Duration(seconds=1)
        assert await works(server)


async def test_requests_that_are_too_many_at_once_pass_one_after_another(tmp_path: Path) -> None:
    async with served(tmp_path, *SMALL) as server:
        channel = dial(server)
        stub = environments.EnvironmentCommandControllerStub(channel)
        many = [samples.environment() for _ in range(10)]
        for one in many:
            one.spec.description = "x" * 900_000
        made = await asyncio.gather(*(stub.create(one) for one in many))
        channel.close()
        assert len(made) == 10


async def test_what_one_connection_holds_for_too_long_is_refused_for_the_sake_of_others(tmp_path: Path) -> None:
    """The server's bytes are taken by two connections that never finish: the next caller waits, and is served."""
    flags = ("--max-message-bytes", str(MB), "--max-connection-memory-bytes", str(2 * MB), "--max-memory-bytes")
    async with (
        served(tmp_path, *flags, str(4 * MB), "--memory-wait-s", "0.5") as server,
        connect(server) as one,
        connect(server) as two,
    ):
        held = [half_sent(wire, MB) for wire in (one, one, two)]
        await stored(server, 900_000)
        assert (await one.status(held[0])).startswith("8 ")


async def test_one_byte_frames_cost_a_byte_each(tmp_path: Path) -> None:
    async with served(tmp_path) as server, connect(server) as wire:
        assert await works(server)
        before = server.forget_peak()
        for _ in range(4):
            stream_id = wire.request(message(b"", size=40_000), path=CREATE, end=False)
            frame = b"\x00\x00\x01\x00\x00" + stream_id.to_bytes(4, "big") + b"\x0a"
            wire.writer.write(frame * 20_000)
        wire.writer.write(b"\x00\x00\x08\x06\x00\x00\x00\x00\x00complete")
        await wire.writer.drain()
        while not any(getattr(event, "ping_data", b"") == b"complete" for event in wire.events):
            await wire.read()
        assert server.memory_bytes("VmHWM") - before < 6 * MB  # 15 MB at 180 bytes a frame


async def test_unread_replies_of_one_row_share_its_bytes(tmp_path: Path) -> None:
    async with served(tmp_path) as server, unread(server) as one, unread(server) as two:
        get = await stored(server, 2 * MB)
        assert await works(server)
        before = server.forget_peak()
        for wire in (one, two):
            for _ in range(300):
                wire.request(get, path=f"{QUERY}/get")
            await wire.writer.drain()
        assert await works(server)
        assert server.memory_bytes("VmHWM") - before < 40 * MB  # over 1,100 MB where each has its own


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
async def test_what_a_closed_connection_held_is_free_without_a_collection(tmp_path: Path, loop: str) -> None:
    """300 unread lists of 2 MB, of which a connection holds 32 MiB; with no collection of garbage."""
    async with served(tmp_path, loop, program=UNCOLLECTED) as server:
        channel = dial(server)
        for _ in range(4):
            one = samples.session()
            one.spec.subject = "x" * 500_000
            await sessions.SessionCommandControllerStub(channel).create(one)
        channel.close()
        assert await works(server)
        before = server.memory_bytes()
        async with unread(server) as wire:
            listed = [wire.request(message(b""), path=LIST) for _ in range(300)]
            await wire.writer.drain()
            while not any(
                isinstance(event, ResponseReceived) and event.stream_id == listed[10] for event in wire.events
            ):
                await wire.read()
            assert server.memory_bytes() > before + 20 * MB
        await fallen(server, before + 12 * MB)


async def fallen(server: Served, to: int) -> None:
    """Wait until no more than that is in memory."""
    async with asyncio.timeout(60):
        while server.memory_bytes() > to:  # noqa: ASYNC110  # another process's memory
            await asyncio.sleep(0.05)  # the system tells, and says nothing by itself


async def test_a_request_without_a_byte_for_too_long_ends_and_one_that_we_hold_back_does_not(tmp_path: Path) -> None:
    flags = ("--request-timeout-s", "0.4", "--memory-wait-s", "1.2")
    async with served(tmp_path, *SMALL, *flags) as server, connect(server) as wire:
        nothing = wire.request(path=CREATE, end=False)
        begun = wire.request(message(b"abc", size=9), path=CREATE, end=False)
        assert (await wire.status(nothing)).startswith("4 ")
        assert (await wire.status(begun)).startswith("4 ")
        held: list[Any] = [half_sent(wire, MB) for _ in range(4)]
        answers = [(await wire.status(one)).split()[0] for one in held]
        assert answers[:3] == ["4", "4", "4"]
        assert answers[3] in {"4", "8"}  # it waited for the others, then had its own time


async def test_a_reply_that_nobody_reads_ends_its_call_and_no_other(tmp_path: Path) -> None:
    async with served(tmp_path, "--reply-timeout-s", "0.4") as server, unread(server) as wire:
        get = await stored(server, MB)
        stream_id = wire.request(get, path=f"{QUERY}/get")
        while not any(isinstance(event, StreamReset) and event.stream_id == stream_id for event in wire.events):
            assert await wire.read()
        assert (await wire.status(wire.request(message(b"\x0a\x01x"), path=f"{QUERY}/get"))).startswith("5 ")


async def test_a_socket_that_nobody_reads_is_closed(tmp_path: Path) -> None:
    async with served(tmp_path, "--reply-timeout-s", "0.4") as server, unread(server, window=2**30) as wire:
        get = await stored(server, 3 * MB - 10_000)
        wire.h2.increment_flow_control_window(2**30)
        for _ in range(10):
            wire.request(get, path=f"{QUERY}/get")
        await wire.reader.readexactly(1000)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        lines = [await asyncio.wait_for(server.logged("call"), 60) for _ in range(11)]
        assert {line["code"] for line in lines} > {"CANCELLED"}
        assert await works(server)
