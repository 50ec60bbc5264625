"""Whoever reads the log slowly, or not at all, holds up nobody.

The attack: a full pipe on stderr; each time its reader took a little the loop waited 50 ms for the next room.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from edge_rig import Stubs, sessions
from edge_sockets import dial

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

LINES_IN_THE_PIPE = 400
"""More than 64 KiB have room for; a call's line has some 300 bytes."""
READS, CALLS_A_READ = 20, 25


class Piped:
    """A server whose stderr is a pipe that the test reads as it likes."""

    def __init__(self, process: asyncio.subprocess.Process, source: int) -> None:
        self.process, self.source = process, source
        self.address = ("127.0.0.1", 0)

    async def read(self, size: int = 4096) -> bytes:
        return await asyncio.to_thread(os.read, self.source, size)

    async def stopped(self) -> int:
        """Its status after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 60)


@asynccontextmanager
async def piped(directory: Path) -> AsyncGenerator[tuple[Piped, Stubs]]:
    source, sink = os.pipe()
    settings = ("--listen", "127.0.0.1:0", "--data-dir", str(directory), "--log-format", "json")
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "stigmer", "serve", *settings, stderr=sink)
    os.close(sink)
    server, said = Piped(process, source), b""
    try:
        while (told := re.search(rb'"stigmer serves","listen":"127.0.0.1:(\d+)', said)) is None:
            said += await server.read()
        server.address = ("127.0.0.1", int(told[1]))
        channel = dial(server)
        try:
            yield server, Stubs(channel)
        finally:
            channel.close()
    finally:
        os.close(source)
        if process.returncode is None:
            process.kill()
        await process.wait()


async def called(stubs: Stubs, times: int) -> list[float]:
    """Calls one after another; how long each took, in seconds."""
    durations = []
    for _ in range(times):
        started = time.perf_counter()
        await stubs.find_sessions.list(sessions.ListSessionsRequest())
        durations.append(time.perf_counter() - started)
    return durations


def quarter(durations_s: list[float]) -> float:
    """The lower quartile: what a loaded machine adds to some of them does not reach it."""
    return sorted(durations_s)[len(durations_s) // 4]


async def test_a_slow_reader_costs_the_callers_nothing(tmp_path: Path) -> None:
    async with piped(tmp_path) as (server, stubs):
        await called(stubs, LINES_IN_THE_PIPE)
        alone_s, beside_s = [], []
        for _ in range(READS):
            alone_s.append(max(await called(stubs, CALLS_A_READ)))
            await server.read()
            beside_s.append(max(await called(stubs, CALLS_A_READ)))
    assert quarter(beside_s) < quarter(alone_s) + 0.03  # one call waited 50 ms after each read


async def test_a_reader_that_reads_no_more_keeps_no_server_from_stopping(tmp_path: Path) -> None:
    async with piped(tmp_path) as (server, stubs):
        await called(stubs, LINES_IN_THE_PIPE)
        assert await server.stopped() == 0


async def test_a_reader_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    async with piped(tmp_path) as (server, stubs):
        with open(os.devnull) as nothing:  # noqa: ASYNC230, PTH123 - the pipe has no reader from now on
            os.dup2(nothing.fileno(), server.source)
        await called(stubs, LINES_IN_THE_PIPE)
        assert await server.stopped() == 0
