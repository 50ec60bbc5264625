"""One control plane, and a client of it by each way there is to call it."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stigmer
import stigmer.app

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from stigmer.edge.interceptors import Interceptor

TRANSPORTS = ("loopback", "tcp", "tls", "unix")


@asynccontextmanager
async def calling(
    transport: str, pems: Path, *interceptors: Interceptor, **options: Any
) -> AsyncGenerator[tuple[stigmer.Client, stigmer.Plane]]:
    """A client of a plane that keeps nothing; a loaded machine has time for its calls.

    Args:
        transport: one of TRANSPORTS.
        pems: a directory of `certificates.make`.
        interceptors: the plane's.
        options: the client's.
    """
    options = {"timeout_s": 60.0, **options}
    files: dict[str, Any] = (
        {"tls_cert": pems / "server.pem", "tls_key": pems / "server.key"} if transport == "tls" else {}
    )
    settings = await asyncio.to_thread(stigmer.Settings, data_dir=Path(":memory:"), grace_s=2.0, **files)
    async with stigmer.embedded(settings, interceptors) as plane:
        if transport == "loopback":
            async with stigmer.Client(plane.channel, **options) as client:
                yield client, plane
            return
        with tempfile.TemporaryDirectory(prefix="st-") as directory:  # pytest's own paths are too long for a socket
            address = f"unix:{directory}/s" if transport == "unix" else "127.0.0.1:0"
            async with plane.listen(address) as server, reached(server, transport, pems, **options) as client:
                yield client, plane


@asynccontextmanager
async def reached(server: Any, transport: str, pems: Path, **options: Any) -> AsyncGenerator[stigmer.Client]:
    """A client of a server that listens."""
    where = server.listens_on.replace("127.0.0.1", "localhost") if transport == "tls" else server.listens_on
    tls = (lambda: stigmer.rpc.tls_context(pems / "ca.pem")) if transport == "tls" else False
    async with stigmer.Client(where, tls=tls, **options) as client:
        yield client
