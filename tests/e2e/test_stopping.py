"""How `stigmer serve` ends: by a signal at whatever moment, whatever its clients do."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from served_process import Served, served
from transport_rig import PEER, Peer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@asynccontextmanager
async def peer(job: str, server: Served) -> AsyncGenerator[Peer]:
    """A grpcio client; see transport_peer.py."""
    command, pipe = (sys.executable, str(PEER), job, str(server.address[1])), asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        yield Peer(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("moment", ["Listening beyond this machine", "stigmer serves"])
async def test_a_signal_while_the_server_starts_drains_it_too(tmp_path: Path, moment: str) -> None:
    async with served(tmp_path, "--listen", "0.0.0.0:0", signalled=moment) as server:
        assert await server.ended() == 0
        assert [line["event"] for line in server.lines][-3:] == [
            "stigmer serves",
            "Draining; a second signal ends at once",
            "stigmer stops",
        ]


async def test_who_watches_the_health_hears_of_the_end_before_the_watch_ends(tmp_path: Path) -> None:
    async with served(tmp_path) as server, peer("watch", server) as watcher:
        assert await watcher.line() == "SERVING"
        server.process.terminate()
        assert await watcher.lines() == ["NOT_SERVING", "UNAVAILABLE"]
        assert await server.ended() == 0
