"""What `stigmer.Client` costs over the bare stub: the same gets by both, over TCP and in process."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from benchmarks import local, servers
from benchmarks.rounds import Row, interleave
from stigmer import rpc
from stigmer.app import assembly
from stigmer.client import Client
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import Any

    from grpclib.client import Channel

    from benchmarks.load import Sample
    from benchmarks.scenarios import Bench
    from benchmarks.servers import Running

LIMITS = {"tcp": 1.15, "near": 1.5}
"""How many times a get by the stub one by the client may cost."""


def client(bench: Bench) -> dict[str, Row]:
    """Gets of one context, by one caller."""
    data, ids = bench.filled("client", bench.size.few)
    near = shutil.copytree(data, bench.directory / "client-near")
    with servers.stigmer(data) as server:
        taken = interleave(
            bench.size,
            {
                "tcp client": lambda: bench.sample(over_tcp, server, ids[0], True, bench.size.seconds),
                "tcp stub": lambda: bench.sample(over_tcp, server, ids[0], False, bench.size.seconds),
                "near client": lambda: bench.sample(in_process, near, ids[0], True, bench.size.seconds),
                "near stub": lambda: bench.sample(in_process, near, ids[0], False, bench.size.seconds),
            },
        )
    return {
        f"client {where}": Row(
            f"get by stigmer.Client, {words}, 1 caller",
            "calls",
            "the bare stub",
            taken[f"{where} client"],
            taken[f"{where} stub"],
        )
        for where, words in (("tcp", "over TCP"), ("near", "in process"))
    }


def over_tcp(server: Running, id_: str, by_client: bool, seconds: float) -> Sample:  # noqa: FBT001 - one of a plan
    """A round of gets on a connection of their own."""

    async def main() -> Sample:
        address = f"127.0.0.1:{server.address[1]}"
        if by_client:
            async with Client(address) as client:
                return await local.repeat(_getting(client, id_), seconds)
        async with rpc.channel(address) as channel:
            return await local.repeat(local.getting(channel, id_), seconds)

    return asyncio.run(main())


def in_process(directory: Path, id_: str, by_client: bool, seconds: float) -> Sample:  # noqa: FBT001 - as above
    """A round of gets on the loopback."""

    async def main() -> Sample:
        async with SqliteStore(directory) as store:
            channel: Channel = assembly.assemble(store).loopback
            get = _getting(Client(channel, max_retries=0), id_) if by_client else local.getting(channel, id_)
            return await local.repeat(get, seconds)

    return asyncio.run(main())


def _getting(client: Client, id_: str) -> Callable[[], Awaitable[Any]]:
    return lambda: client.contexts.get(id_)
