"""The end of a server, whatever its clients do."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from child_process import Child, child
from h2.events import ConnectionTerminated
from measured import MEASURED
from server_rig import open_unread_stream
from server_wire import connect, message

from stigmer.server.connection import Connection
from stigmer.server.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from h2.events import Event
    from server_rig import Serve, Service, Start

LONG_S = 60  # a grace that no test waits for


async def test_running_calls_finish_and_open_streams_are_ended(serve: Serve, service: Service, peer: Start) -> None:
    async with serve() as server:
        subscriber = await peer("subscribe", server)
        assert await subscriber.line() == "first"
        await service.entered.wait()
        service.entered.clear()
        caller = await peer("call", server, "/t.T/Wait")
        await service.entered.wait()
        drained = asyncio.ensure_future(server.drain(LONG_S))
        await service.ended.wait()
        assert (await subscriber.line()).startswith("UNAVAILABLE the server is stopping")
        assert not drained.done()
        service.go.set()
        assert await drained == 0
        assert await caller.lines() == ["OK 4"]


async def test_clients_that_stay_connected_do_not_hold_it_up(serve: Serve) -> None:
    async with serve() as server, connect(server) as wire:
        assert await wire.status(wire.request(message(b"hello"))) == "0"
        started = time.monotonic()
        assert await server.drain(LONG_S) == 0
        assert time.monotonic() - started < LONG_S / 2  # it did not wait for them
        while await wire.read():
            pass
        first, last = [e for e in wire.events if isinstance(e, ConnectionTerminated)]
        assert (first.last_stream_id, last.last_stream_id) == (2**31 - 1, 1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*server.address)


async def test_what_outlives_the_grace_is_cancelled_and_counted(serve: Serve, service: Service) -> None:
    async with serve() as server, connect(server) as wire:
        wire.request(message(b""), path="/t.T/Wait")
        await service.entered.wait()
        assert await server.drain(0.05) == 1
        assert service.ended.is_set()


async def test_a_peer_that_does_not_read_is_cut(serve: Serve, service: Service) -> None:
    async with serve() as server, connect(server) as wire:
        await open_unread_stream(wire, server, service)
        assert await server.drain(0.05) == 1
        assert not server.shared.live


async def test_calls_that_come_after_the_goaway_are_still_served(serve: Serve, service: Service) -> None:
    async with serve() as server, connect(server) as wire:
        wire.request(message(b""), path="/t.T/Wait")
        await service.entered.wait()
        drained = asyncio.ensure_future(server.drain(LONG_S))
        late = wire.request(message(b"hello"))
        assert await answered(wire.reader)
        assert late == 3
        service.go.set()
        assert await drained == 0


async def answered(reader: asyncio.StreamReader) -> bool:
    """h2 takes nothing in after a GOAWAY, so look at the bytes: the echo and its status."""
    seen = b""
    while b"hello" not in seen or b"grpc-status\x010" not in seen:
        seen += await asyncio.wait_for(reader.read(65536), 60)
    return True


async def test_a_silent_peer_loses_its_calls_and_a_living_one_does_not(
    serve: Serve, service: Service, peer: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(limits=Limits(keepalive_s=0.2, keepalive_timeout_s=2)) as server:
        subscriber = await peer("subscribe", server)
        assert await subscriber.line() == "first"
        (live,) = server.shared.live
        answers: asyncio.Queue[None] = asyncio.Queue()

        def feed(data: bytes) -> list[Event]:
            answers.put_nowait(None)
            return Connection.feed(live.connection, data)

        monkeypatch.setattr(live.connection, "feed", feed)
        for _ in range(3):
            await asyncio.wait_for(answers.get(), 60)
        assert not service.ended.is_set()
        os.kill(subscriber.process.pid, signal.SIGSTOP)
        await asyncio.wait_for(service.ended.wait(), 60)
        os.kill(subscriber.process.pid, signal.SIGCONT)


PROGRAM = """
import asyncio, signal, sys
sys.path[:0] = {path!r}
from server_rig import BytesCodec, Door, Service
from stigmer.cli.process import stop_signals
from stigmer.address import TcpAddress
from stigmer.edge.running import RunningCalls
from stigmer.server.server import Server

async def main():
    mine = lambda *_: None
    signal.signal(signal.SIGTERM, mine)
    service = Service()
    told = lambda: print("draining", flush=True)
    calls = RunningCalls()
    where = dict(listen=[TcpAddress("127.0.0.1", 0)])
    async with Server([Door(service, calls)], **where, calls=calls, codec=BytesCodec(), draining=told) as server:
        async def tell():
            print(server.address[1], flush=True)
            await service.entered.wait()
            print("entered", flush=True)
        task = asyncio.create_task(tell())
        with stop_signals() as stop:
            await stop
            left = await server.drain(float(sys.argv[1]))
        print(left, signal.getsignal(signal.SIGTERM) is mine, flush=True)
        task.cancel()

asyncio.run(main())
"""


class Program:
    """A server in a process of its own, with one call running."""

    def __init__(self, process: Child, port: int) -> None:
        self.process, self.line = process.process, process.line
        self.address = ("127.0.0.1", port)


@asynccontextmanager
async def program(grace_s: float) -> AsyncGenerator[Program]:
    async with child("-c", PROGRAM.format(path=sys.path), str(grace_s), env={**os.environ, **MEASURED}) as started:
        yield Program(started, int(await started.line()))


async def test_a_signal_drains_and_the_former_handlers_come_back() -> None:
    async with program(0.1) as server, connect(server) as wire:
        wire.request(message(b""), path="/t.T/Wait")
        assert await server.line() == "entered"
        server.process.terminate()
        assert await server.line() == "draining"
        assert await server.line() == "1 True"
        assert await server.process.wait() == 0


async def test_a_second_signal_ends_at_once() -> None:
    async with program(60) as server, connect(server) as wire:
        wire.request(message(b""), path="/t.T/Wait")
        assert await server.line() == "entered"
        server.process.terminate()
        assert await server.line() == "draining"
        server.process.send_signal(signal.SIGINT)
        assert await server.process.wait() == 128 + signal.SIGINT
