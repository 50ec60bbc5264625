"""Attacks by connections that say nothing, or are too many: others come in all the same, on both loops."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import certificates
import pytest
from edge_sockets import dial
from grpclib.exceptions import GRPCError
from served_process import Served, served
from server_wire import connect

from stigmer._gen.ai.stigmer.agentic.environment import v1 as environments
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

LOOPS = pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])


class Caller:
    """A well-behaved client with a connection that it keeps."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._stub = environments.EnvironmentQueryControllerStub(channel)

    async def call(self) -> bool:
        with pytest.raises(GRPCError, match="not found"):
            await asyncio.wait_for(self._stub.get(ApiResourceId(value="env-nobody")), 60)
        return True


@asynccontextmanager
async def caller(server: Served) -> AsyncGenerator[Caller]:
    channel = dial(server)
    try:
        one = Caller(channel)
        await one.call()
        yield one
    finally:
        channel.close()


async def silent(server: Served, stack: AsyncExitStack) -> socket.socket:
    """A connection on which nothing is sent."""
    one = stack.enter_context(socket.socket())
    one.setblocking(False)
    await asyncio.get_running_loop().sock_connect(one, server.address)
    return one


async def closed(one: socket.socket) -> bool:
    """Wait for the end of a connection."""
    with suppress(ConnectionResetError):
        while await asyncio.wait_for(asyncio.get_running_loop().sock_recv(one, 65536), 60):
            pass
    return True


def is_open(one: socket.socket) -> bool:
    """Whether it is not closed: nothing comes that says so."""
    try:
        while one.recv(65536):
            pass
    except BlockingIOError:
        return True
    return False


@LOOPS
async def test_silent_connections_make_way_for_new_ones_the_oldest_first(tmp_path: Path, loop: str) -> None:
    flags = (loop, "--max-idle-connections", "3")
    async with served(tmp_path, *flags) as server, AsyncExitStack() as stack, caller(server) as old:
        silents = [await silent(server, stack) for _ in range(5)]
        assert await closed(silents[0])
        assert await closed(silents[1])
        assert await old.call()
        async with caller(server) as new:
            assert await closed(silents[2])
            assert await new.call()
        assert is_open(silents[3])


@LOOPS
async def test_a_connection_without_a_call_is_closed_in_time_and_one_with_a_call_is_not(
    tmp_path: Path, loop: str
) -> None:
    flags = (loop, "--idle-connection-s", "1")  # far more than a caller takes from its connection to its call
    async with served(tmp_path, *flags) as server, AsyncExitStack() as stack, caller(server) as one:
        greeting = await stack.enter_async_context(connect(server))
        assert await closed(await silent(server, stack))
        assert await greeting.ended()
        assert await one.call()


@LOOPS
async def test_connections_over_the_limit_are_closed_at_once_and_said_once(tmp_path: Path, loop: str) -> None:
    async with served(tmp_path, loop, "--max-connections", "2", ends=True) as server, AsyncExitStack() as stack:
        async with caller(server) as one, caller(server) as two:
            for _ in range(50):
                assert await closed(await silent(server, stack))
            assert await one.call()
            assert await two.call()
        server.process.terminate()
        await server.ended()
        assert [line["limit"] for line in server.lines if line["event"].startswith("Too many connections")] == [2]


@LOOPS
async def test_a_tls_handshake_that_takes_too_long_ends(tmp_path: Path, loop: str) -> None:
    pems = certificates.make(tmp_path)
    tls = ("--tls-cert", str(pems / "server.pem"), "--tls-key", str(pems / "server.key"))
    async with served(tmp_path, loop, "--handshake-timeout-s", "0.3", *tls) as server, AsyncExitStack() as stack:
        assert await closed(await silent(server, stack))


@LOOPS
async def test_tls_handshakes_count_as_connections_without_a_call(tmp_path: Path, loop: str) -> None:
    pems = certificates.make(tmp_path)
    tls = ("--tls-cert", str(pems / "server.pem"), "--tls-key", str(pems / "server.key"))
    async with served(tmp_path, loop, "--max-idle-connections", "2", *tls) as server, AsyncExitStack() as stack:
        silents = [await silent(server, stack) for _ in range(3)]
        assert await closed(silents[0])
        assert is_open(silents[2])


@LOOPS
async def test_out_of_file_descriptors_callers_go_on_and_the_log_is_short(tmp_path: Path, loop: str) -> None:
    async with served(tmp_path, loop, descriptors=80, ends=True) as server, AsyncExitStack() as stack:
        async with caller(server) as one:
            for _ in range(150):  # more than it can open: the others wait in the kernel
                await silent(server, stack)
            for _ in range(20):
                assert await one.call()
            async with caller(server) as new:  # its turn comes: silent ones make way
                assert await new.call()
                assert await one.call()
        server.process.terminate()
        await server.ended()
        lines = [line for line in server.lines if line["event"] != "call"]
        assert [line["descriptors"] for line in lines if line["event"].startswith("No more connections")] == [80]
        assert len(lines) < 8
