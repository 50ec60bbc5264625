"""An issuer of JWTs: signs them, and publishes its keys over HTTP in this process, as badly as it is told to."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from joserfc import jwk, jws

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable

    from joserfc.jwk import Key

ISSUER, AUDIENCE = "https://id.example.com", "stigmer"
HEAD = (
    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{more}content-length: {length}\r\n\r\n"
)

_OF_TYPE: dict[str, tuple[str, str | int]] = {
    "RS": ("RSA", 2048),
    "PS": ("RSA", 2048),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}


@cache
def key_for(algorithm: str, kid: str = "1") -> Key:
    """A private key for signatures of that algorithm; one of RSA takes a while to make."""
    type_, size = _OF_TYPE.get(algorithm) or _OF_TYPE[algorithm[:2]]
    if type_ == "RSA":
        algorithm = "RS256"  # one for all of RSA's
    key = _made(type_, size, kid)
    return jwk.import_key({**key, "kid": kid})


@cache
def _made(type_: str, size: str | int, _kid: str) -> dict[str, Any]:
    return jwk.JWKRegistry.generate_key(type_, size).as_dict(private=True)


def public(key: Key, **more: object) -> dict[str, Any]:
    """What an issuer publishes of a key."""
    return {**key.as_dict(private=False), **more}


def claims(**more: object) -> dict[str, Any]:
    """Those of a good token; one that is None is left out."""
    now = int(time.time())
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 3600, "role": "editor"}
    return {name: value for name, value in {**good, **more}.items() if value is not None}


def signed(
    payload: dict[str, Any] | bytes | None = None, algorithm: str = "ES256", key: Key | None = None, **header: object
) -> str:
    """A JWT: good claims, or those given, signed by a key, with that header; one that is None is left out."""
    key = key or key_for(algorithm)
    full = {"alg": algorithm, "typ": "JWT", "kid": key.kid, **header}
    body = payload if isinstance(payload, bytes) else json.dumps(payload or claims()).encode()
    return sealed({name: value for name, value in full.items() if value is not None}, body, key)


def sealed(header: dict[str, Any] | bytes, body: bytes, key: Key) -> str:
    """Header and body as they are, signed by the algorithm that fits the key, or the header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    name = json.loads(text).get("alg") if isinstance(header, bytes) else header.get("alg")
    model = jws.JWSRegistry.algorithms.get(str(name)) or jws.JWSRegistry.algorithms["ES256"]
    signing = f"{encoded(text)}.{encoded(body)}"
    return f"{signing}.{encoded(model.sign(signing.encode(), key))}"


def encoded(data: bytes) -> str:
    """Base64 as JWTs have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Publisher:
    """Answers GET with a JWK set.

    Attributes:
        keys: what it publishes.
        asked: how often it was asked.
        answer: what it answers in place of its keys: status, further header lines and body; None for its keys.
        hangs: while set, it answers nothing.
    """

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.answer: Callable[[], tuple[str, str, bytes]] | None = None
        self.hangs = False
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            if self.hangs:
                await reader.read()  # until the client gives up
            status, more, body = (
                self.answer() if self.answer else ("200 OK", "", json.dumps({"keys": self.keys}).encode())
            )
            writer.write(HEAD.format(status=status, more=more, length=len(body)).encode() + body)
            await writer.drain()
        except ConnectionError:
            pass  # the client has read enough
        finally:
            writer.close()


@asynccontextmanager
async def publishing(*keys: dict[str, Any], tls: ssl.SSLContext | None = None) -> AsyncGenerator[Publisher]:
    """An issuer that publishes keys at `url` while the block runs."""
    publisher = Publisher(*keys)
    server = await asyncio.start_server(publisher.serve, "127.0.0.1", 0, ssl=tls)
    publisher.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    try:
        yield publisher
    finally:
        server.close()
