from __future__ import annotations

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
