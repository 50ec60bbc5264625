from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import certificates
import pytest
import typer
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from stigmer.cli.health import health
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Health:
    """A health service that answers one status; None never answers."""

    def __init__(self, status: int | GRPCError | None) -> None:
        self.status = status

    async def check(self, stream: Stream[StringValue, Int32Value]) -> None:
        await stream.recv_message()
        if self.status is None:
            await asyncio.Event().wait()
        elif isinstance(self.status, GRPCError):
            raise self.status
        else:
            await stream.send_message(Int32Value(value=self.status))

    def __mapping__(self) -> dict[str, Handler]:
        check = Handler(self.check, Cardinality.UNARY_UNARY, StringValue, Int32Value)
        return {"/grpc.health.v1.Health/Check": check}


@asynccontextmanager
async def serving(status: int | GRPCError | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    server = Server([Health(status)])
    await server.start("127.0.0.1", 0, ssl=tls)
    listener: Any = server._server
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Of another name than the one dialled."""
    return certificates.self_signed(tmp_path)


def server_side(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2"])
    return context


async def refusal(**flags: Any) -> str:
    with pytest.raises(StartupError) as caught:
        await asyncio.to_thread(health, **flags)
    return str(caught.value)


async def test_a_server_that_serves_is_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(1) as address:
        await asyncio.to_thread(health, server=address)
    assert capsys.readouterr().out == "SERVING\n"


@pytest.mark.parametrize(("status", "word"), [(2, "NOT_SERVING"), (0, "UNKNOWN"), (17, "17")])
async def test_a_server_that_does_not_serve_is_an_error(status: int, word: str) -> None:
    async with serving(status) as address:
        assert await refusal(server=address) == f"{address}: {word}"


async def test_a_refusal_names_its_status() -> None:
    async with serving(GRPCError(Status.UNAVAILABLE, "draining")) as address:
        assert await refusal(server=address) == f"{address}: UNAVAILABLE: draining"


async def test_a_server_that_never_answers_is_given_up() -> None:
    async with serving(None) as address:
        assert await refusal(server=address, timeout_s=0.1) == f"{address}: no answer within 0.1 s"


async def test_no_server_says_how_to_start_one() -> None:
    async with serving(1) as address:
        pass
    assert await refusal(server=address) == f"{address}: Connection refused; start a server with `stigmer serve`"


async def test_an_address_that_is_none_is_refused() -> None:
    assert (await refusal(server="nowhere")).startswith("--server: 'nowhere': not HOST:PORT")


async def test_without_an_address_the_settings_say_whom_to_ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(1) as address:
        monkeypatch.setenv("STIGMER_LISTEN", address.replace("127.0.0.1", "0.0.0.0"))
        await asyncio.to_thread(health)
    assert capsys.readouterr().out == "SERVING\n"


async def test_the_certificate_that_the_settings_name_is_trusted(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(1, server_side(certificate)) as address:
        monkeypatch.setenv("STIGMER_LISTEN", address)
        monkeypatch.setenv("STIGMER_TLS_CERT", str(certificate[0]))
        monkeypatch.setenv("STIGMER_TLS_KEY", str(certificate[1]))
        await asyncio.to_thread(health)
    assert capsys.readouterr().out == "SERVING\n"


async def test_a_certificate_of_another_name_is_refused(certificate: tuple[Path, Path]) -> None:
    async with serving(1, server_side(certificate)) as address:
        assert "TLS failed" in await refusal(server=address, ca=certificate[0])


async def test_a_server_that_wants_a_client_certificate_has_the_flags_named(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanting = server_side(certificate)
    wanting.load_verify_locations(certificate[0])
    wanting.verify_mode = ssl.CERT_REQUIRED
    async with serving(1, wanting) as address:
        monkeypatch.setenv("STIGMER_LISTEN", address)
        monkeypatch.setenv("STIGMER_TLS_CERT", str(certificate[0]))
        monkeypatch.setenv("STIGMER_TLS_KEY", str(certificate[1]))
        assert "--client-cert" in await refusal()


async def test_files_that_are_no_certificates_are_refused(tmp_path: Path) -> None:
    assert "give PEM files that belong together" in await refusal(server="h:1", ca=tmp_path / "none.pem")


async def test_plain_text_to_a_tls_server_asks_about_tls(certificate: tuple[Path, Path]) -> None:
    async with serving(1, server_side(certificate)) as address:
        assert "(--ca)" in await refusal(server=address)


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(coroutine: Any) -> int:
        coroutine.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "run", interrupted)
    with pytest.raises(typer.Exit) as ended:
        health(server="h:1")
    assert ended.value.exit_code == 130
