"""What becomes of running calls when a whole server stops: who may finish, who is told, and how long it takes."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import samples
from edge_rig import Around, said, turns
from edge_sockets import listening
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpclib.metadata import decode_bin_value
from server_rig import open_unread_stream
from server_wire import Wire, connect, message

from stigmer.server import server as server_module
from stigmer.wire import codec

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from server_rig import Serve, Service

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call

CREATE = "/ai.stigmer.agentic.session.v1.SessionCommandController/create"
WATCH = "/grpc.health.v1.Health/Watch"
LONG_S = 60
SOON_S = 10  # far less than LONG_S, far more than anything here takes


class Held(Around):
    """A host's interceptor that holds Session.create until it is let go."""

    def __init__(self) -> None:
        super().__init__(CREATE, self._hold)
        self.entered, self.go = asyncio.Event(), asyncio.Event()

    async def _hold(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
        self.entered.set()
        await self.go.wait()
        return await proceed(call, request)


def codes(caplog: pytest.LogCaptureFixture, method: str) -> list[str]:
    return [line["code"] for line in said(caplog, "call") if line["method"] == method]


async def unavailable(wire: Wire, stream_id: int) -> bool:
    """Whether the call ends so, with word of when to come back."""
    said_so = (await wire.status(stream_id)).startswith("14 the server is stopping")
    status = Status.FromString(decode_bin_value(wire.trailers(stream_id)["grpc-status-details-bin"].encode()))
    return said_so and status.details[0].Is(RetryInfo.DESCRIPTOR)


async def test_a_unary_call_cut_when_the_grace_is_over_says_unavailable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stigmer")
    held = Held()
    async with listening(tmp_path, held) as (server, _), connect(server) as wire:
        create = wire.request(message(codec.encode(samples.session())), path=CREATE)
        await held.entered.wait()
        assert await server.drain(0.2) == 1
        assert await unavailable(wire, create)
    assert codes(caplog, CREATE) == ["UNAVAILABLE"]


async def test_a_request_that_is_half_sent_does_not_hold_it_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stigmer")
    async with listening(tmp_path) as (server, _), connect(server) as wire:
        half_sent = wire.request(path=CREATE, end=False)
        whole = wire.request(message(codec.encode(samples.session())), path=CREATE)
        assert await wire.status(whole) == "0"
        started = time.monotonic()
        assert await server.drain(LONG_S) == 0
        assert time.monotonic() - started < SOON_S
        assert await unavailable(wire, half_sent)
    assert codes(caplog, CREATE) == ["OK", "UNAVAILABLE"]


async def test_running_calls_finish_and_a_watch_that_comes_late_does_not_hold_it_up(tmp_path: Path) -> None:
    held = Held()
    async with listening(tmp_path, held) as (server, _), connect(server) as wire:
        create = wire.request(message(codec.encode(samples.session())), path=CREATE)
        await held.entered.wait()
        drained = asyncio.ensure_future(server.drain(LONG_S))
        await turns(1)
        assert await unavailable(wire, wire.request(message(b""), path=WATCH))
        held.go.set()
        assert await wire.status(create) == "0"
        assert await asyncio.wait_for(drained, SOON_S) == 0


async def test_an_ended_stream_whose_caller_does_not_read_does_not_hold_it_up(
    serve: Serve, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "ENDED_S", 0.05)
    monkeypatch.setattr(server_module, "STOP_S", 0.05)
    async with serve() as server, connect(server) as wire:
        await open_unread_stream(wire, server, service)
        started = time.monotonic()
        assert await server.drain(LONG_S) == 1
        assert time.monotonic() - started < SOON_S


async def test_a_call_refused_while_connections_close_says_when_to_come_back(serve: Serve) -> None:
    async with serve() as server, connect(server) as wire:
        assert await wire.status(wire.request(message(b"hello"))) == "0"
        (live,) = server.shared.live
        live.dispatcher.close()
        stream_id = wire.request(message(b"hello"))
        assert await unavailable(wire, stream_id)
