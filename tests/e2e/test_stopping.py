"""How `stigmer serve` ends: by a signal at whatever moment, whatever its clients do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import samples
from child_process import child
from edge_sockets import dial
from served_process import served
from server_rig import PEER
from server_wire import connect, message

from stigmer._gen.ai.stigmer.agentic.environment import v1 as environments
from stigmer.wire import codec

if TYPE_CHECKING:
    from pathlib import Path

GET = "/ai.stigmer.agentic.environment.v1.EnvironmentQueryController/get"
REPLIES = 30
"""Of a megabyte each: more than fits into the sockets' buffers, and less than a connection may have waiting."""


@pytest.mark.parametrize("moment", ["insecure_allow_anonymous is set", "stigmer serves"])
async def test_a_signal_while_the_server_starts_drains_it_too(tmp_path: Path, moment: str) -> None:
    async with served(tmp_path, "--insecure-allow-anonymous", signalled=moment, ends=True) as server:
        assert await server.ended() == 0
        assert [line["event"] for line in server.lines][-3:] == [
            "stigmer serves",
            "Draining; a second signal ends at once",
            "stigmer stops",
        ]


async def test_who_watches_the_health_hears_of_the_end_before_the_watch_ends(tmp_path: Path) -> None:
    async with served(tmp_path, ends=True) as server, child(PEER, "watch", str(server.address[1])) as watcher:
        assert await watcher.line() == "SERVING"
        server.process.terminate()
        assert await watcher.lines() == ["NOT_SERVING", "UNAVAILABLE"]
        assert await server.ended() == 0


async def test_it_ends_within_the_grace_while_a_caller_does_not_read_its_replies(tmp_path: Path) -> None:
    grace_s = 3.0
    async with served(tmp_path, "--grace-s", str(grace_s), ends=True) as server, connect(server) as wire:
        big = samples.environment(id=f"env-{samples.NOBODY}")
        big.spec.description = "x" * 1_000_000
        channel = dial(server)
        await environments.EnvironmentCommandControllerStub(channel).create(big)
        channel.close()
        wire.h2.increment_flow_control_window(2**30)
        for _ in range(REPLIES):
            request = message(codec.encode(environments.EnvironmentId(value=big.metadata.id)))
            stream_id = wire.request(request, path=GET, end=False)
            wire.h2.increment_flow_control_window(2**30, stream_id)
            wire.h2.end_stream(stream_id)
        wire.flush()
        await wire.reader.readexactly(2**16)  # the replies come
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        server.process.terminate()
        assert await server.ended() == 0
        assert server.took_s() < grace_s + 4  # what a loaded machine may add; it took for ever
        assert server.lines[-1]["cancelled_calls"] > 0
