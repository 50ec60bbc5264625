"""Floods of frames and calls that cost a client nothing: they end their own connection, and hold up no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated
from hyperframe.frame import PingFrame, SettingsFrame, WindowUpdateFrame
from server_wire import Wire, connect, message

if TYPE_CHECKING:
    from served_process import Listening

GET = "/ai.stigmer.agentic.environment.v1.EnvironmentQueryController/get"
WATCH = "/grpc.health.v1.Health/Watch"


async def calmed(wire: Wire, flood: bytes) -> bool:
    """Send it; whether the connection ended because of it."""
    wire.writer.write(flood)
    try:
        while await wire.read():
            pass
    except ConnectionResetError:
        pass
    ends = [event.error_code for event in wire.events if isinstance(event, ConnectionTerminated)]
    return ends == [ErrorCodes.ENHANCE_YOUR_CALM]


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"stigmer?"),
        WindowUpdateFrame(0, 1),
        SettingsFrame(0, {SettingsFrame.HEADER_TABLE_SIZE: 4096}),
    ],
    ids=["pings", "window updates", "settings"],
)
async def test_frames_that_a_client_need_not_send_end_its_connection(
    server: Listening, frame: PingFrame | WindowUpdateFrame | SettingsFrame
) -> None:
    async with connect(server) as wire, connect(server) as other:
        assert await calmed(wire, frame.serialize() * 3000)
        assert await other.status(other.request(message(b"\x0a\x01x"), path=GET)) == "5 Environment not found: x"


async def test_window_tricks_with_many_open_calls_end_their_connection_soon(server: Listening) -> None:
    """Each change of INITIAL_WINDOW_SIZE walks over all open calls: it is paid for by their number."""
    up, down = (SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: size}).serialize() for size in (1, 0))
    async with connect(server) as wire:
        for _ in range(900):
            wire.request(message(b""), path=WATCH, flush=False)
        wire.flush()
        assert await calmed(wire, (up + down) * 20)


async def test_a_client_that_pings_with_each_reply_is_welcome(server: Listening) -> None:
    """As grpc-go and C-core measure the way to the server."""
    async with connect(server) as wire:
        for number in range(700):
            wire.writer.write(PingFrame(0, b"measure!").serialize() + WindowUpdateFrame(0, 10).serialize())
            stream_id = wire.request(message(b"\x0a\x01x"), path=GET)
            if number % 10 == 0:
                assert (await wire.status(stream_id)).startswith("5 ")
                wire.events.clear()
        assert (await wire.status(stream_id)).startswith("5 ")


async def test_refused_calls_in_a_flood_leave_no_task_and_are_each_answered(server: Listening) -> None:
    async with connect(server) as wire, connect(server) as other:
        for _ in range(20):
            opened = [wire.request(path="/no.such/Method", flush=False) for _ in range(50)]
            wire.flush()
            assert await other.status(other.request(message(b"\x0a\x01x"), path=GET)) == "5 Environment not found: x"
            assert [(await wire.status(one)).split()[0] for one in opened] == ["12"] * 50
            wire.events.clear()


async def test_a_client_may_cancel_all_its_calls_at_once(server: Listening) -> None:
    async with connect(server) as wire:
        opened = [wire.request(message(b""), path=WATCH, flush=False) for _ in range(900)]
        wire.flush()
        answered = wire.request(message(b"\x0a\x01x"), path=GET)
        assert (await wire.status(answered)).startswith("5 ")
        for number in opened:
            wire.h2.reset_stream(number, ErrorCodes.CANCEL)
        assert (await wire.status(wire.request(message(b"\x0a\x01x"), path=GET))).startswith("5 ")


async def test_calls_whose_deadline_is_over_as_they_come_end_alone(server_on_each_loop: Listening) -> None:
    async with connect(server_on_each_loop) as wire:
        late = [
            wire.request(message(b"\x0a\x01x")[:3], path=GET, headers={"grpc-timeout": timeout}, end=False, flush=False)
            for timeout in ("1n", "0n", "1n")
        ]
        answered = wire.request(message(b"\x0a\x01x"), path=GET)
        assert await wire.status(answered) == "5 Environment not found: x"
        assert {(await wire.status(one)).split()[0] for one in late} == {"4"}


async def test_a_status_message_has_no_space_at_its_ends(server: Listening) -> None:
    """HTTP/2 allows none around a header's value: a strict client hangs up on it."""
    async with connect(server) as wire:
        call = wire.request(message(b"\x0a\x02x "), path=GET)
        assert await wire.status(call) == "5 Environment not found: x%20"
        assert await wire.status(wire.request(path="")) == "12 unknown method%20"
