"""Where a server listens and is reached: `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`, as text and in parts.

Settings, clients and the server read them here.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, cast

UNIX: Final = "unix:"
MAX_PORT: Final = 65_535
MAX_PATH_BYTES: Final = 107
"""Of the path of a Unix socket: the kernel keeps 108, with a NUL at the end."""

_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared with, not bound to


class TcpAddress(NamedTuple):
    """A host, without brackets, and a port; 0 takes a free one where it is listened on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def dialled(self) -> TcpAddress:
        """What a caller on this machine dials: loopback where the host stands for all addresses."""
        return self._replace(host=_WILDCARDS.get(self.host, self.host))


class UnixAddress(NamedTuple):
    """The file of a Unix socket."""

    path: str

    def __str__(self) -> str:
        return f"{UNIX}{self.path}"

    @property
    def dialled(self) -> UnixAddress:
        """What a caller on this machine dials."""
        return self


Address: TypeAlias = TcpAddress | UnixAddress


def address_of(text: str) -> Address:
    """The parts of an address, a path made absolute; ValueError says how to write it."""
    if text.startswith("unix-abstract:"):
        raise ValueError("abstract Unix sockets have no permissions, so any user could call; write unix:PATH")
    if text.startswith(UNIX):
        return UnixAddress(_socket_path(text.removeprefix(UNIX)))
    return tcp_address_of(text, ", or unix:PATH")


def sockaddr_text(sockaddr: object) -> str:
    """A socket's own or its peer's address as people write it; `unix` where it has no path; nothing for None."""
    if isinstance(sockaddr, tuple):
        host, port = cast("tuple[str, int]", sockaddr[:2])
        return str(TcpAddress(host, port))
    return "" if sockaddr is None else f"{UNIX}{sockaddr}".removesuffix(":")


def anchored(text: str, directory: Path) -> str:
    """The address with a relative path begun at the directory; other text as it is."""
    path = text.removeprefix(UNIX)
    return text if path in ("", text) or path.startswith(("/", "~")) else f"{UNIX}{directory / path}"


def tcp_address_of(text: str, or_else: str = "") -> TcpAddress:
    """Host and port of `HOST:PORT` or `[IPV6]:PORT`; ValueError says how to write it, or what else to."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    is_host = bare.isprintable() and not set(bare) & set(" []") and (":" in bare) == bracketed
    if not (bare and colon and is_host and port.isascii() and port.isdigit()):
        raise ValueError(f"not HOST:PORT; write it like 127.0.0.1:7234 or [::1]:7234{or_else}")
    if len(port) > 5 or int(port) > MAX_PORT:
        raise ValueError(f"a port is a number from 0 to {MAX_PORT}; 0 takes a free one")
    return TcpAddress(bare, int(port))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself: `localhost`, or a loopback address."""
    try:
        return host == "localhost" or plain_ip(host).is_loopback
    except ValueError:
        return False


def plain_ip(address: str) -> IPv4Address | IPv6Address:
    """The address; the IPv4 one that an IPv6 one stands for. Raises ValueError where it is none."""
    found = ip_address(address)
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _socket_path(text: str) -> str:
    """The absolute path; `unix:///run/x` is gRPC's other way to write `unix:/run/x`."""
    if text.startswith("//"):
        text = text.removeprefix("//")
        if not text.startswith("/"):
            raise ValueError("unix:// takes an absolute path; write it like unix:///run/stigmer.sock")
    if not text or text.endswith("/") or not text.isprintable():
        raise ValueError("no path of a Unix socket; write it like unix:/run/stigmer.sock")
    path = str(Path(text).expanduser().absolute())
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise ValueError(
            f"the path of a Unix socket has {MAX_PATH_BYTES} bytes at most; take a shorter one than {path}"
        )
    return path
