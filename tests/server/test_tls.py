from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import certificates
import pytest

from stigmer.errors import StartupError
from stigmer.server.tls import server_context

if TYPE_CHECKING:
    from pathlib import Path

    from server_rig import Serve, Start


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.make(tmp_path_factory.mktemp("pems"))


async def test_tls_serves_every_client(serve: Serve, peer: Start, pems: Path) -> None:
    async with serve(ssl=server_context(pems / "server.pem", pems / "server.key")) as server:
        assert await (await peer("tls", server, str(pems))).lines() == ["OK", "OK"]


async def test_mutual_tls_serves_clients_with_a_certificate_alone(serve: Serve, peer: Start, pems: Path) -> None:
    context = server_context(pems / "server.pem", pems / "server.key", pems / "ca.pem")
    async with serve(ssl=context) as server:
        assert await (await peer("tls", server, str(pems))).lines() == ["OK", "UNAVAILABLE"]


async def test_plain_text_on_a_tls_port_is_cut_off(serve: Serve, pems: Path) -> None:
    async with serve(ssl=server_context(pems / "server.pem", pems / "server.key")) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        while await asyncio.wait_for(reader.read(1000), 60):
            pass
        writer.close()


async def test_a_handshake_that_never_comes_does_not_hold_up_the_drain(serve: Serve, pems: Path) -> None:
    async with serve(ssl=server_context(pems / "server.pem", pems / "server.key")) as server:
        _, writer = await asyncio.open_connection(*server.address)
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await server.drain(0)
        writer.close()


@pytest.mark.parametrize(
    ("cert", "key", "authority", "says"),
    [
        ("none.pem", "server.key", None, "cannot read the certificate in .*none.pem .No such file"),
        ("server.pem", "none.key", None, "cannot read the private key in .*none.key"),
        ("server.pem", ".", None, "cannot read the private key in .*Is a directory"),
        ("nonsense.pem", "server.key", None, "the certificate in .*nonsense.pem cannot be used .* give a PEM file"),
        ("server.pem", "nonsense.pem", None, "the private key .*nonsense.pem cannot be used"),
        ("server.pem", "client.key", None, "client.key is not that of the certificate .*server.pem"),
        ("server.pem", "locked.key", None, "locked.key has a passphrase: store it without"),
        ("server.pem", "server.key", "none.pem", "cannot read the clients' authorities in .*none.pem"),
        ("server.pem", "server.key", "nonsense.pem", "authorities in .*nonsense.pem cannot be used"),
    ],
)
def test_bad_files_are_named_with_a_remedy(pems: Path, cert: str, key: str, authority: str | None, says: str) -> None:
    with pytest.raises(StartupError, match=says) as raised:
        server_context(pems / cert, pems / key, pems / authority if authority else None)
    assert "\n" not in str(raised.value)
