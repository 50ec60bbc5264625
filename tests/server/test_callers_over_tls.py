"""Who calls over TLS: tokens, client certificates, both and neither, by grpcio."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import certificates
import pytest
from edge_sockets import grpcio_client
from matrix import tokens_file
from served_process import Listening, serving

from stigmer.access.principal import Principal
from stigmer.types import Caller
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from edge_sockets import Send

WHOAMI = "/ai.stigmer.iam.caller.v1.CallerQueryController/whoami"
ANN = Principal("ann", "editor", frozenset({"acme"}))


class Place:
    """A server with TLS, the files for it, and a token."""

    def __init__(self, directory: Path, server: Listening, token: str) -> None:
        self.pems, self.server = directory, server
        self.bearer = [("authorization", f"Bearer {token}")]

    @asynccontextmanager
    async def client(self, name: str = "", pems: Path | None = None) -> AsyncGenerator[Send]:
        """A client that trusts the server's authority; with the certificate of that name."""
        own = [(pems or self.pems) / f"{name}.{end}" for end in ("pem", "key")] if name else []
        async with grpcio_client(self.server, pems=[self.pems / "ca.pem", *own]) as send:
            yield send


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """It takes tokens and client certificates, of which one is mapped to a caller."""
    directory = certificates.make(tmp_path_factory.mktemp("tls"))
    token = tokens_file(directory / "tokens", [ANN])["ann"]
    mapping = directory / "mapping"
    mapping.touch(mode=0o600)
    mapping.write_text("builder:runner:acme::DNS:localhost\n")
    files = {"tls-cert": "server.pem", "tls-key": "server.key", "tls-client-ca": "ca.pem"}
    files |= {"tokens-file": "tokens", "certificates-file": "mapping"}
    flags = [one for flag, name in files.items() for one in (f"--{flag}", str(directory / name))]
    with serving("--data-dir", str(directory / "data"), *flags) as server:
        yield Place(directory, server, token)


def caller(answer: dict[str, Any]) -> Caller:
    assert answer["code"] == "OK", answer
    return codec.decode(Caller, base64.b64decode(answer["reply"]))


async def test_a_token_does_without_a_certificate(place: Place) -> None:
    async with place.client() as send:
        ann = caller(await send(WHOAMI, b"", metadata=place.bearer))
        refused = await send(WHOAMI, b"")
    assert (ann.name, ann.role, ann.organizations) == ("ann", "editor", ["acme"])
    known = ["credentials: bearer token", "credentials: client certificate", "dry-run", "idempotency", "tls"]
    assert ann.features == known
    assert refused["code"] == "UNAUTHENTICATED"


async def test_a_certificate_that_is_mapped_does_without_a_token(place: Place) -> None:
    async with place.client("client") as send:
        builder = caller(await send(WHOAMI, b""))
    assert (builder.name, builder.role, builder.organizations) == ("cert:builder", "runner", ["acme"])


async def test_what_a_call_brings_goes_before_what_its_connection_does(place: Place) -> None:
    """Also where it is not good: a wrong token does not become the certificate's caller."""
    async with place.client("client") as send:
        assert caller(await send(WHOAMI, b"", metadata=place.bearer)).name == "ann"
        for wrong in ("Bearer stg_0", "Bearer x", "Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.AAAA", "Basic YTpi", ""):
            refused = await send(WHOAMI, b"", metadata=[("authorization", wrong)])
            assert refused["code"] == "UNAUTHENTICATED", wrong
        assert (await send(WHOAMI, b"", metadata=place.bearer * 2))["code"] == "UNAUTHENTICATED"
        assert caller(await send(WHOAMI, b"")).name == "cert:builder"


async def test_a_certificate_that_is_mapped_to_nobody_is_nobody(place: Place) -> None:
    async with place.client("stranger") as send:
        assert (await send(WHOAMI, b""))["code"] == "UNAUTHENTICATED"
        assert caller(await send(WHOAMI, b"", metadata=place.bearer)).name == "ann"


async def test_a_certificate_of_another_authority_makes_no_connection(place: Place, tmp_path: Path) -> None:
    """Though the name in it is one that is mapped, and a good token comes with it."""
    async with place.client("client", certificates.make(tmp_path)) as send:
        assert (await send(WHOAMI, b"", metadata=place.bearer, timeout=5))["code"] == "UNAVAILABLE"


async def test_headers_that_tell_of_a_certificate_are_none(place: Place) -> None:
    pem = (place.pems / "client.pem").read_bytes()
    told = [
        ("x-forwarded-client-cert", "By=DNS:localhost;DNS=localhost"),
        ("x-ssl-client-cert", base64.b64encode(pem).decode()),
        ("ssl-client-s-dn", "CN=client"),
    ]
    async with place.client() as send:
        assert (await send(WHOAMI, b"", metadata=told))["code"] == "UNAUTHENTICATED"


async def test_plain_text_is_cut_off_and_shows_no_token_to_anybody(place: Place) -> None:
    async with grpcio_client(place.server) as send:
        assert (await send(WHOAMI, b"", metadata=place.bearer, timeout=5))["code"] == "UNAVAILABLE"
