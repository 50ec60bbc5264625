"""The sockets that a server listens on: one for each address of a host, and files of Unix sockets.

`acceptor` accepts on them.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stigmer.access.peers import is_local
from stigmer.address import Address, TcpAddress, UnixAddress
from stigmer.errors import StartupError
from stigmer.server.unix_socket import bound, identity_of
from stigmer.store.lifetime import undoable

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

BACKLOG = 1024  # connections that may wait to be accepted

_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})
_REMEDIES = {
    errno.EADDRINUSE: "another process listens there: stop it, or listen on another port (0 takes a free one)",
    errno.EACCES: "not permitted: ports below 1024 need privileges, so listen on a higher one",
    errno.EPERM: "not permitted: listen on another port",
    errno.EADDRNOTAVAIL: "this machine has no such address: use 127.0.0.1, or 0.0.0.0 for all of them",
}
_REMEDIES_OF_FILES = {
    errno.EADDRINUSE: "another process listens there: stop it, or listen on another path",
    errno.ENOENT: "there is no such directory: make it, or listen on another path",
    errno.ENOTSOCK: "what is there is no socket: move it away, or listen on another path",
    errno.EACCES: "not permitted: choose a directory that this user may read and write",
    errno.EPERM: "not permitted: another user's file is there, so listen on another path",
    errno.EROFS: "its file system is read-only: choose another directory",
}


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that listens.

    Attributes:
        socket: does not block.
        address: as bound: the port is the one taken.
        file: device and inode of a Unix socket's file; None for others.
    """

    socket: socket.socket
    address: Address
    file: tuple[int, int] | None = None

    def close(self) -> None:
        """Listen no more. The file goes first, so that nobody takes it for that of a dead server meanwhile."""
        if isinstance(self.address, UnixAddress):
            with suppress(OSError):  # its directory is gone, or not ours any more
                if identity_of(self.address.path) == self.file:  # else it is another server's
                    Path(self.address.path).unlink()
        self.socket.close()


async def listen(addresses: Iterable[Address], *, only_here: str | None = None) -> tuple[Listening, ...]:
    """Listen on all the addresses, or on none.

    Args:
        addresses: a host's name with several addresses listens on all of them; port 0 takes a free one.
        only_here: why other machines must not reach it, and what to do about that; None where they may.

    Raises:
        StartupError: one cannot be bound, or other machines could reach it.
    """
    found: list[Listening] = []
    with ExitStack() as undo:
        for address in addresses:
            try:
                more = await (_file(address) if isinstance(address, UnixAddress) else _port(address, only_here))
            except (OSError, UnicodeError) as error:
                raise StartupError(f"cannot listen on {address}: {_remedy(address, error)}") from error
            for one in more:
                undo.callback(one.close)
            found += more
        undo.pop_all()
    return tuple(found)


async def _file(address: UnixAddress) -> list[Listening]:
    def listening(unwanted: threading.Event) -> Listening:
        return Listening(bound(address.path, BACKLOG, unwanted), address, identity_of(address.path))

    return [await undoable(listening, undo=Listening.close)]


async def _port(address: TcpAddress, only_here: str | None) -> list[Listening]:
    """A listening socket for each address of the host."""
    loop = asyncio.get_running_loop()
    if address.port >= 2**16:
        raise StartupError(f"cannot listen on port {address.port}: choose one between 0 and 65535")
    found = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    places = dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found)
    if only_here is not None and not all(is_local(str(sockaddr[0])) for _, sockaddr in places):
        raise StartupError(f"{address} can be reached from other machines, and {only_here}")
    sockets = _bound(places)
    return [Listening(one, TcpAddress(*one.getsockname()[:2])) for one in sockets]


def _bound(places: Iterable[tuple[int, tuple[Any, ...]]]) -> list[socket.socket]:
    """One for each place; none for families that this machine does not have, where it has others.

    Raises:
        OSError: one cannot be bound.
    """
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    with ExitStack() as undo:
        for family, place in places:
            try:
                one = socket.create_server(place, family=family, backlog=BACKLOG)
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                refused = error
                continue
            undo.callback(one.close)
            one.setblocking(False)  # the socket's signature
            sockets.append(one)
        if refused is None or sockets:
            undo.pop_all()
            return sockets
    raise refused


def _remedy(address: Address, error: Exception) -> str:
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "the name cannot be resolved: give an address of this machine, such as 127.0.0.1"
    remedies = _REMEDIES_OF_FILES if isinstance(address, UnixAddress) else _REMEDIES
    return remedies.get(getattr(error, "errno", None) or 0, f"{error}: choose another address")
