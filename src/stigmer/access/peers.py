"""Who is at the other end of a connection, as its transport tells: `server` asks, and `edge` on a host's own server."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from stigmer.access.credentials import Certificate, Peer
from stigmer.address import is_loopback, plain_ip

if TYPE_CHECKING:
    import asyncio

UNIX = "unix"
"""In place of an address: a Unix socket."""

_CREDENTIALS = struct.Struct("iII")  # Linux's ucred: process, user, group


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """Who is at the other end; a certificate that it showed was verified, else there would be no connection."""
    tls = transport.get_extra_info("ssl_object")
    certificate = None if tls is None else _certificate_of(tls)
    name: object = transport.get_extra_info("peername")
    if isinstance(name, tuple):
        host: object = cast("tuple[object, ...]", name)[0]
        return Peer(str(host), certificate=certificate)
    if name is None:  # who opened a TCP connection, and is gone already
        return Peer("0.0.0.0", certificate=certificate)  # noqa: S104  # compared with, not bound to
    return Peer(UNIX, _user_of(transport.get_extra_info("socket")), certificate)


@lru_cache(maxsize=1024)
def is_local(address: str) -> bool:
    """Whether the address is this machine's own: a loopback one, or a Unix socket."""
    return address == UNIX or is_loopback(address)


def origin_of(peer: Peer) -> str:
    """Where a peer is, as callers are told apart before they say who they are: a network, or a user of this machine."""
    return f"{UNIX}:{peer.uid}" if peer.address == UNIX else network_of(peer.address)


@lru_cache(maxsize=1024)
def network_of(address: str) -> str:
    """What one caller may have as many addresses as he likes of: a /64 in IPv6, one address in IPv4."""
    plain = plain_ip(address)
    if plain.version == 4:
        return str(plain)
    return str(ipaddress.IPv6Network((int(plain), 64), strict=False))


def _certificate_of(tls: ssl.SSLObject) -> Certificate | None:
    der, found = tls.getpeercert(binary_form=True), tls.getpeercert()
    if not der or not found:  # none, or on a host's own server one that was not verified
        return None
    subjects = cast("tuple[tuple[str, str], ...]", found.get("subjectAltName", ()))
    ends_s = ssl.cert_time_to_seconds(cast("str", found["notAfter"]))
    return Certificate(der, tuple(f"{kind}:{name}" for kind, name in subjects), ends_s)


def _user_of(connection: socket.socket) -> int | None:
    """The user of the process at the other end of a Unix socket; None where the system does not say so."""
    if connection.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return None
    user: int = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1]
    return user
