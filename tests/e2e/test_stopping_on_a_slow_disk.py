"""A stop keeps within the grace whatever the disk does: an fsync of 12 s made 33 s of a grace of 3 s."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import samples
from edge_rig import Stubs, id_of, sessions
from edge_sockets import dial
from served_process import SIGNALLED, Served, served
from server_wire import connect, message
from slow_disk import SlowDisk

from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

CREATE = "/ai.stigmer.agentic.session.v1.SessionCommandController/create"
GRACE_S = 2.0
AT_MOST_S = GRACE_S + 4
"""Of the server's own clock, from the signal to its last line; a loaded machine is given what it adds."""


@pytest.fixture
def disk(tmp_path: Path) -> SlowDisk:
    return SlowDisk(tmp_path / "disk")


@asynccontextmanager
async def serving(tmp_path: Path, disk: SlowDisk, *flags: str) -> AsyncGenerator[tuple[Served, Stubs]]:
    async with served(tmp_path / "data", "--grace-s", str(GRACE_S), *flags, env=disk.env, ends=True) as server:
        channel = dial(server)
        try:
            yield server, Stubs(channel)
        finally:
            channel.close()


async def stopped(server: Served, number: int = signal.SIGTERM) -> int:
    """Its exit status."""
    server.process.send_signal(number)
    return await server.ended()


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
async def test_a_disk_that_hangs_does_not_hold_it_up_and_nothing_acknowledged_is_lost(
    tmp_path: Path, disk: SlowDisk, loop: str
) -> None:
    async with serving(tmp_path, disk, loop) as (server, stubs), connect(server) as wire:
        kept = await stubs.sessions.create(samples.session())
        disk.hang()
        create = message(codec.encode(samples.session()))
        calls = [wire.request(create, path=CREATE, flush=False) for _ in range(5)]
        wire.flush()  # in one segment: none of them comes after the signal
        await disk.waits()
        ending = asyncio.ensure_future(stopped(server))
        for call in calls:
            assert (await wire.status(call)).startswith("14 the server is stopping")
        assert await ending == 1
        assert server.took_s() < AT_MOST_S
        *_, stops, left = server.lines
        assert (stops["event"], stops["cancelled_calls"]) == ("stigmer stops", 5)
        assert left["event"] == "stigmer stops and leaves the disk behind"
        assert "does not close, because the disk does not answer" in left["error"]
    async with served(tmp_path / "data") as server:
        channel = dial(server)
        assert await Stubs(channel).find_sessions.get(sessions.SessionId(value=id_of(kept))) == kept
        channel.close()


async def test_a_disk_that_is_slow_lets_running_calls_finish(tmp_path: Path, disk: SlowDisk) -> None:
    async with serving(tmp_path, disk, "--grace-s", "60") as (server, stubs), connect(server) as wire:
        await stubs.sessions.create(samples.session())
        disk.delay(200)
        call = wire.request(message(codec.encode(samples.session())), path=CREATE)
        await disk.waits()
        ending = asyncio.ensure_future(stopped(server))
        assert await wire.status(call) == "0"
        assert await ending == 0
        assert server.took_s() < 60


async def test_a_disk_that_hangs_while_nothing_is_asked_does_not_hold_up_the_close(
    tmp_path: Path, disk: SlowDisk
) -> None:
    async with serving(tmp_path, disk) as (server, stubs):
        await stubs.sessions.create(samples.session())
        disk.hang()
        assert await stopped(server) == 1
        assert server.took_s() < AT_MOST_S


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
async def test_a_disk_that_hangs_does_not_hold_up_the_stop_of_a_start(
    tmp_path: Path, disk: SlowDisk, loop: str
) -> None:
    disk.hang()
    flags = ("--grace-s", str(GRACE_S), loop)
    async with served(tmp_path / "data", *flags, env=disk.env, until="stigmer starts", ends=True) as server:
        await disk.waits()
        assert await stopped(server) == 1
        assert server.lines[-1]["error"] == "the start was given up, and the disk does not answer"


async def test_a_second_signal_ends_it_at_once_while_the_disk_hangs(tmp_path: Path, disk: SlowDisk) -> None:
    async with serving(tmp_path, disk) as (server, _), connect(server) as wire:
        disk.hang()
        wire.request(message(codec.encode(samples.session())), path=CREATE)
        await disk.waits()
        server.process.terminate()
        await server.logged("Draining; a second signal ends at once")
        assert await stopped(server, signal.SIGINT) == 128 + signal.SIGINT


@pytest.mark.parametrize("moment", ["insecure_allow_anonymous is set", "stigmer serves"])
async def test_a_disk_that_is_well_needs_no_grace(tmp_path: Path, moment: str) -> None:
    """The least that it gets is a minute here: a loaded machine's disk may take more than the real quarter second."""
    flags = ("--grace-s", "0", "--insecure-allow-anonymous", "--listen", "0.0.0.0:0")
    program = f"from stigmer.store import lifetime; lifetime.LEAST_S = 60\n{SIGNALLED.format(event=moment)}"
    async with served(tmp_path, *flags, program=program, until="stigmer starts", ends=True) as server:
        assert await server.ended() == 0
