"""A server with a small service, and grpcio peers in processes of their own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from child_process import child
from server_rig import PEER, BytesCodec, Door, Serve, Service, Start

from stigmer.address import TcpAddress
from stigmer.edge.running import RunningCalls
from stigmer.server.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from child_process import Child

    from stigmer.server.limits import Limits


@pytest.fixture
async def peer() -> AsyncIterator[Start]:
    """Start a grpcio client; see server_peer.py."""
    async with AsyncExitStack() as stack:

        async def start(job: str, server: Server, argument: str = "") -> Child:
            return await stack.enter_async_context(child(PEER, job, str(server.address[1]), argument))

        yield start


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def serve(service: Service) -> Serve:
    """Make a server of the service, to be entered; keywords go to Server."""

    def make(*more: Any, limits: Limits | None = None, **settings: Any) -> Server:
        calls = RunningCalls()
        handlers = [Door(one, calls) for one in (service, *more)]
        settings = {"listen": [TcpAddress("127.0.0.1", 0)], "codec": BytesCodec(), **settings}
        return Server(handlers, limits=limits, calls=calls, **settings)

    return make


@pytest.fixture(autouse=True)
async def nothing_reaches_the_loop(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """No exception comes to the event loop's handler, and none is logged above debug."""
    seen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: seen.append(context))
    yield
    assert not seen
    assert not [r.getMessage() for r in caplog.records if r.exc_info and r.levelname != "DEBUG"]
