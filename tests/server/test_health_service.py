from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from edge_rig import said
from server_wire import connect

from stigmer.server import health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest
    from server_rig import Serve, Start


class Probe:
    """A probe that fails or hangs on demand."""

    failing = False
    hanging = False
    calls = 0

    async def __call__(self) -> None:
        self.calls += 1
        if self.failing:
            raise RuntimeError("the store is out of reach")
        if self.hanging:
            await asyncio.get_running_loop().create_future()


@contextlib.asynccontextmanager
async def monitored(probe: Probe) -> AsyncIterator[health.Monitor]:
    async with health.Monitor(probe, ["t.T"], interval_s=0.01, timeout_s=0.5) as monitor:
        yield monitor


async def test_check_and_watch_tell_every_change(serve: Serve, peer: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stigmer")
    probe = Probe()
    async with monitored(probe) as monitor, serve(monitor) as server:
        client = await peer("health", server, "t.T")
        assert [await client.line() for _ in range(4)] == ["SERVING", "SERVING", "NOT_FOUND", "SERVING"]
        client.tell()
        probe.failing = True
        assert await client.line() == "NOT_SERVING"
        client.tell()
        probe.failing, probe.hanging = False, False
        assert await client.line() == "SERVING"
        client.tell()
        probe.hanging = True
        assert await client.line() == "NOT_SERVING"
    assert [len(said(caplog, event)) for event in ("Not serving", "Serving again")] == [2, 1]


async def test_watching_an_unknown_service_says_so(serve: Serve, peer: Start) -> None:
    async with monitored(Probe()) as monitor, serve(monitor) as server:
        client = await peer("health", server, "nobody")
        assert [await client.line() for _ in range(4)][-1] == "SERVICE_UNKNOWN"


async def test_a_failing_probe_is_known_before_anyone_asks(serve: Serve, peer: Start) -> None:
    probe = Probe()
    probe.failing = True
    async with monitored(probe) as monitor, serve(monitor) as server:
        client = await peer("health", server)
        assert await client.line() == "NOT_SERVING"


async def test_draining_is_not_serving_for_good_and_probes_no_more(serve: Serve, peer: Start) -> None:
    probe = Probe()
    async with monitored(probe) as monitor, serve(monitor) as server:
        monitor.drain()
        asked = probe.calls
        for _ in range(20):  # far more turns of the loop than a poll that went on would need
            await asyncio.sleep(0)
        assert probe.calls == asked
        client = await peer("health", server)
        assert await client.line() == "NOT_SERVING"


async def test_a_check_without_a_request_is_an_invalid_argument(serve: Serve) -> None:
    async with monitored(Probe()) as monitor, serve(monitor) as server, connect(server) as wire:
        status = await wire.status(wire.request(path=f"/{health.NAME}/Check"))
        assert status == "3 the call has no request message"
        status = await wire.status(wire.request(b"\0\0\0\0\1\xff", path=f"/{health.NAME}/Check"))
        assert status == "3 the bytes are no grpc.health.v1.HealthCheckRequest"
