"""What no well-behaved client sends: it ends that call or that connection, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import AltSvcFrame, GoAwayFrame, PingFrame
from server_wire import Wire, connect, message

from stigmer.server.limits import Limits

if TYPE_CHECKING:
    from server_rig import Serve, Service

    from stigmer.server.server import Server


async def works(wire: Wire) -> bool:
    return await wire.status(wire.request(message(b"hello"))) == "0"


async def still_serves(server: Server) -> bool:
    async with connect(server) as wire:
        return await works(wire)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00" * 50,
        bytes(range(256)) * 200,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"nonsense" * 9,
    ],
    ids=["http1", "tls", "garbage", "garbage after the preface"],
)
async def test_foreign_bytes_end_their_connection_alone(serve: Serve, data: bytes) -> None:
    async with serve() as server, connect(server) as other:
        async with connect(server, hello=False) as wire:
            wire.writer.write(data)
            assert await wire.ended()
        assert await works(other)


async def test_unknown_frames_are_ignored(serve: Serve) -> None:
    async with serve() as server, connect(server) as wire:
        stream_id = wire.request(message(b"hello")[:3], end=False)
        for at in (0, stream_id):
            wire.writer.write(b"\0\0\1\xee\0" + at.to_bytes(4, "big") + b"?")
        wire.writer.write(AltSvcFrame(stream_id, field=b"h2=':1'").serialize())
        wire.h2.send_data(stream_id, message(b"hello")[3:], end_stream=True)
        wire.flush()
        assert await wire.status(stream_id) == "0"


@pytest.mark.parametrize("sizes", [[0], [100, 100], [0, 4096], [100, 8192, 100]])
async def test_a_client_may_change_its_header_table_as_it_likes(serve: Serve, sizes: list[int]) -> None:
    async with serve() as server, connect(server) as wire:
        assert await works(wire)
        for size in sizes:
            wire.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: size})
        assert await works(wire)
        assert await works(wire)


async def test_a_client_that_goes_away_gets_the_answers_to_its_open_calls(serve: Serve, service: Service) -> None:
    goaway = GoAwayFrame(0, last_stream_id=0, error_code=ErrorCodes.NO_ERROR).serialize()
    async with serve() as server, connect(server) as wire:
        running = wire.request(message(b""), path="/t.T/Wait")
        half_sent = wire.request(message(b"hello")[:3], end=False)
        await service.entered.wait()
        wire.writer.write(goaway)
        wire.h2.send_data(half_sent, message(b"hello")[3:], end_stream=True)
        wire.flush()
        assert await wire.status(half_sent) == "0"
        service.go.set()
        assert await wire.status(running) == "0"


async def test_a_client_that_goes_away_over_an_error_is_hung_up_on(serve: Serve) -> None:
    async with serve() as server, connect(server) as wire:
        wire.writer.write(GoAwayFrame(0, last_stream_id=0, error_code=ErrorCodes.PROTOCOL_ERROR).serialize())
        assert await wire.ended()


async def test_an_empty_data_frame_is_not_the_end(serve: Serve) -> None:
    async with serve() as server, connect(server) as wire:
        stream_id = wire.request(message(b"hello")[:6], end=False)
        wire.h2.send_data(stream_id, b"")
        wire.h2.send_data(stream_id, b"", pad_length=9)
        wire.h2.send_data(stream_id, message(b"hello")[6:], end_stream=True)
        wire.flush()
        assert await wire.status(stream_id) == "0"


@pytest.mark.parametrize("data", [message(b"hello")[:3], message(b"", size=9), message(b"hello", size=9)])
async def test_a_truncated_message_is_an_invalid_argument(serve: Serve, data: bytes) -> None:
    async with serve() as server, connect(server) as wire:
        assert await wire.status(wire.request(data)) == "3 the request ended in the middle of a message"
        assert await works(wire)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"grpc-timeout": "soon"}, "3"),
        ({"grpc-timeout": "9" * 400 + "H"}, "3"),
        ({"x-key": "a\0b"}, "3"),
        ({"x-k\u00e9y": "a"}, "3"),
        ({"x-bin": "A"}, "3"),
        ({":path": None}, "3"),
        ({":method": None}, "3"),
        ({":path": "/t.T/Nothing"}, "12"),
        ({"content-type": "text/plain"}, "3"),
        ({"te": None}, "3"),
    ],
)
async def test_bad_headers_are_answered_and_the_connection_lives(
    serve: Serve, headers: dict[str, str | None], status: str
) -> None:
    async with serve() as server, connect(server) as wire:
        answer = await wire.status(wire.request(message(b"hello"), headers=headers))
        assert answer.split()[0] == status
        assert await works(wire)


async def test_headers_over_the_limit_end_the_connection(serve: Serve) -> None:
    async with serve() as server, connect(server) as wire:
        wire.request(message(b"hello"), headers={f"x-{n}": "x" * 15_000 for n in range(3)})
        assert await wire.ended()
        assert await still_serves(server)


async def test_a_call_opened_and_cancelled_in_one_breath_leaves_nothing_behind(serve: Serve) -> None:
    async with serve() as server, connect(server) as wire:
        for _ in range(50):
            wire.h2.reset_stream(wire.request(message(b"hello"), end=False, flush=False))
        wire.flush()
        assert await works(wire)
        (live,) = server.shared.live
        assert not live.dispatcher.streams
        assert len(live.connection.h2.streams) == 0


async def test_no_task_is_kept_of_a_call_that_is_over(serve: Serve, service: Service) -> None:
    async with serve() as server, connect(server) as wire:
        waiting = wire.request(message(b""), path="/t.T/Wait")
        await service.entered.wait()
        (live,) = server.shared.live
        assert await works(wire)
        assert await wire.status(wire.request(path="/t.T/Nothing")) == "12 unknown method /t.T/Nothing"
        assert len(live.dispatcher.streams) == len(live.dispatcher.running()) == 1
        wire.h2.reset_stream(waiting)
        assert await works(wire)
        assert not live.dispatcher.streams


async def test_the_calls_of_a_lost_client_end_some_in_each_turn(serve: Serve, service: Service) -> None:
    async with serve() as server:
        async with connect(server) as wire:
            for _ in range(60):
                wire.request(message(b""), path="/t.T/Wait", flush=False)
            wire.flush()
            await service.entered.wait()
            (live,) = server.shared.live
            while len(tasks := live.dispatcher.running()) < 60:  # noqa: ASYNC110  # no event says so
                await asyncio.sleep(0)
        left = list[int]()
        while not all(task.done() for task in tasks):
            left.append(sum(not task.done() for task in tasks))
            await asyncio.sleep(0)
        assert len(set(left)) > 3
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        assert await still_serves(server)


async def test_cancelling_without_end_ends_the_connection(serve: Serve) -> None:
    async with serve(limits=Limits(max_streams=5)) as server, connect(server) as wire:
        for _ in range(10):
            await works(wire)
        for _ in range(30):
            wire.h2.reset_stream(wire.request(message(b"hello"), end=False, flush=False))
            wire.flush()
        assert await wire.ended()
        assert await still_serves(server)


async def test_streams_over_the_limit_are_refused_one_by_one(serve: Serve, service: Service) -> None:
    async with serve(limits=Limits(max_streams=2)) as server, connect(server) as wire:
        opened = [wire.request(message(b""), flush=False, path="/t.T/Wait") for _ in range(4)]
        wire.flush()
        assert await wire.status(opened[2]) == await wire.status(opened[3]) == "ended 7"
        service.go.set()
        assert await wire.status(opened[0]) == await wire.status(opened[1]) == "0"


async def test_an_answered_call_that_the_client_does_not_end_is_forgotten(serve: Serve) -> None:
    async with serve() as server, connect(server) as wire:
        stream_id = wire.request(message(b"hello"), end=False)
        assert await wire.status(stream_id) == "0"
        assert await works(wire)
        (live,) = server.shared.live
        assert len(live.connection.h2.streams) == 0


async def test_a_peer_that_makes_us_answer_and_never_reads_is_dropped(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigmer.server.connection.BACKLOG_BYTES", 100_000)
    monkeypatch.setattr("stigmer.server.connection.LINGER_S", 0.05)
    async with serve() as server, connect(server) as wire:
        assert await works(wire)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (live,) = server.shared.live
        live.connection._socket.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with contextlib.suppress(ConnectionError):
            while server.shared.live:
                wire.writer.write(PingFrame(0, b"answer!!").serialize() * 5000)
                await wire.writer.drain()
        assert await still_serves(server)


async def test_a_large_reply_is_cut_to_the_client_s_windows(serve: Serve, service: Service) -> None:
    async with serve() as server, connect(server) as wire:
        stream_id = wire.request(message(b""), path="/t.T/Flood")
        await service.entered.wait()
        for _ in range(200):
            await wire.read()
        wire.h2.reset_stream(stream_id)
        wire.flush()
        await service.ended.wait()
        assert await works(wire)


async def test_a_flood_of_tiny_frames_leaves_turns_to_others(serve: Serve) -> None:
    unknown = b"\x00\x00\x01\xee\x00\x00\x00\x00\x00?"
    async with serve() as server, connect(server) as flooding:
        assert await works(flooding)
        (protocol,) = server.shared.live
        turns, size = 0, 0
        for _ in range(20):  # as one read of a fast client may bring it
            protocol.get_buffer(0)[size : size + len(unknown) * 30] = unknown * 30
            size += len(unknown) * 30
        server.shared.scheduler.charge(protocol._account, 1.0)  # this turn of the loop is used up
        protocol.buffer_updated(size)
        while len(protocol._frames):
            assert not protocol._socket.is_reading()
            await asyncio.sleep(0)
            turns += 1
        assert turns
        assert protocol._socket.is_reading()
        assert await works(flooding)
