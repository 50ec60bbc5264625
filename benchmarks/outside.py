"""A usual client, grpcio.aio, to check what the `wire` measures. Run in a process of its own."""

from __future__ import annotations

import asyncio
import time
from itertools import cycle
from typing import TYPE_CHECKING

import grpc.aio

from benchmarks.load import WARM_UP_S, Meter

if TYPE_CHECKING:
    from benchmarks.load import Calls, Sample
    from benchmarks.servers import Running


def unary(server: Running, calls: Calls) -> Sample:
    """As `load.unary`, for requests that may be repeated."""
    return asyncio.run(_unary(server, calls))


async def _unary(server: Running, calls: Calls) -> Sample:
    async with grpc.aio.insecure_channel(f"{server.address[0]}:{server.address[1]}") as channel:
        call = channel.unary_unary(calls.path)
        bodies = cycle(calls.bodies)

        async def caller(end: float) -> int:
            done = 0
            while not done or time.perf_counter() < end:
                await call(next(bodies))
                done += 1
            return done

        async def all_for(seconds: float) -> int:
            end = time.perf_counter() + seconds
            return sum(await asyncio.gather(*(caller(end) for _ in range(calls.callers))))

        await all_for(WARM_UP_S)
        meter = Meter(server)
        return meter.sample(await all_for(calls.seconds))
