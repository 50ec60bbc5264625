from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from server_wire import connect, message

from stigmer.address import TcpAddress
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from server_rig import Serve


async def test_a_port_in_use_is_one_clear_line(serve: Serve) -> None:
    async with serve() as server:
        other = serve(listen=server.addresses)
        with pytest.raises(StartupError, match=r"cannot listen on .*: another process listens there: stop it"):
            await other.__aenter__()
        await other.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("host", "port", "says"),
    [
        ("no-such-host.invalid", 0, "the name cannot be resolved"),
        ("192.0.2.1", 0, "address"),
        ("127.0.0.1", 99_999, "between 0 and 65535"),
        ("x" * 300, 0, "the name cannot be resolved"),
    ],
)
async def test_a_bad_address_is_one_clear_line(serve: Serve, host: str, port: int, says: str) -> None:
    with pytest.raises(StartupError, match=says) as raised:
        await serve(listen=[TcpAddress(host, port)]).__aenter__()
    assert "\n" not in str(raised.value)


async def test_ipv6_and_port_zero(serve: Serve) -> None:
    async with serve(listen=[TcpAddress("::1", 0)]) as server, connect(server) as wire:
        assert server.address[0] == "::1"
        assert await wire.status(wire.request(message(b"hello"))) == "0"


HERE = "127.0.0.1", "127.0.0.9", "::1"


@pytest.mark.parametrize(
    ("found", "is_refused"),
    [(HERE, False), ((*HERE, "192.0.2.1"), True), (("0.0.0.0",), True), (("::",), True), (("fe80::1%1",), True)],
)
async def test_a_name_is_where_it_leads_to(
    serve: Serve, found: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, *, is_refused: bool
) -> None:
    """`localhost` may be any machine, as the resolver says."""

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        families = [socket.AF_INET6 if ":" in one else socket.AF_INET for one in found]
        return [(family, 1, 6, "", (one, port)) for family, one in zip(families, found, strict=True)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    server = serve(listen=[TcpAddress("localhost", 0)], only_here="that must not be: do something")
    if is_refused:
        with pytest.raises(StartupError, match="localhost:0 can be reached from other machines, and that must not be"):
            await server.__aenter__()
    else:
        async with server:
            assert [one.host for one in server.addresses if isinstance(one, TcpAddress)] == list(found)
