"""Calls over real sockets, from grpcio clients."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from stigmer.server.limits import Limits

if TYPE_CHECKING:
    from server_rig import Serve, Start


def peak_rss_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


async def test_a_message_over_the_limit_is_refused_unread_and_the_channel_goes_on(serve: Serve, peer: Start) -> None:
    async with serve() as server:
        assert await (await peer("sizes", server, "9")).lines() == ["OK 64", "OK 5"]
        before = peak_rss_mib()
        lines = await (await peer("sizes", server, "3,11,200")).lines()
        assert lines[0] == "OK 64"
        assert lines[1].startswith("RESOURCE_EXHAUSTED received message larger than max (11534336 vs. 10485760 bytes)")
        assert lines[2].startswith("RESOURCE_EXHAUSTED")
        assert lines[3] == "OK 5"
        assert peak_rss_mib() - before < 20


async def test_a_compressed_message_is_taken(serve: Serve, peer: Start) -> None:
    async with serve() as server:
        assert await (await peer("gzip", server)).lines() == ["OK 64"]


async def test_an_unknown_method_is_unimplemented(serve: Serve, peer: Start) -> None:
    async with serve() as server:
        assert await (await peer("call", server, "/t.T/Nothing")).lines() == [
            "UNIMPLEMENTED unknown method /t.T/Nothing"
        ]


async def test_the_deadline_is_ours_alone(serve: Serve, peer: Start) -> None:
    async with serve() as server:
        assert await (await peer("deadline", server, "70")).lines() == ["OK 70"]


async def test_hundreds_of_streams_leave_room_for_calls_on_their_connection(serve: Serve, peer: Start) -> None:
    async with serve() as server:
        assert await (await peer("streams", server, "400")).lines() == [str(400 * len("first")), "OK 5", "OK 5"]


async def test_streams_over_the_limit_wait_and_the_connection_lives(serve: Serve, peer: Start) -> None:
    async with serve(limits=Limits(max_streams=5)) as server:
        assert await (await peer("streams", server, "4")).lines() == ["20", "OK 5", "OK 5"]
