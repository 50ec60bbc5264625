"""The way to a server: its channel, made when the first call wants one, and what each call on it bears."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from stigmer.address import UnixAddress, address_of
from stigmer.client.credentials import Token, check_plain
from stigmer.rpc import channel, tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from os import PathLike

    from grpclib.client import Channel

KEEPALIVE_S = 30.0
"""How often a connection with open calls is asked whether it lives; one that is silent for a third of that ends."""


class Connection:
    """One way to a server, shared by a client and those that `with_options` makes of it.

    Args:
        server: its address, or a channel that somebody else closes.
        token: the bearer token of each call.
        token_file: a file that holds it.
        tls: whether by TLS, and what is trusted; a function is called on a thread, for it reads files.

    Raises:
        ValueError: the address is none, TLS is asked for where there is none, or the token would travel in plain text.
    """

    def __init__(
        self,
        server: str | Channel,
        token: str | None = None,
        token_file: str | PathLike[str] | None = None,
        tls: ssl.SSLContext | Callable[[], ssl.SSLContext] | bool = False,  # noqa: FBT001, FBT002 - as users say it
    ) -> None:
        self.server, self._tls = server, tls
        self.token = Token(token, token_file)
        self._channel: Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_closed = False
        self.features: frozenset[str] | None = None
        if not isinstance(server, str):
            self._channel = server
            return
        address = address_of(server)
        if tls and isinstance(address, UnixAddress):
            raise ValueError(f"{address}: a Unix socket has no TLS; leave tls out")
        if self.token.is_given and not tls:
            check_plain(address)

    def __repr__(self) -> str:
        return f"<Connection to {self.server}{', closed' if self.is_closed else ''}>"

    async def channel(self) -> Channel:
        """The channel, of the loop that runs.

        Raises:
            RuntimeError: it is closed, or was used by another loop before.
            OSError: a file for TLS cannot be read.
        """
        if self.is_closed:
            raise RuntimeError("this client is closed: make another one")
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise RuntimeError("this client is another event loop's: make one for each, or use stigmer.sync")
        return self._channel or await self._opened()

    def close(self) -> None:
        """Close the channel, where it is its own; calls that run on it end."""
        self.is_closed = True
        if self._channel is not None and isinstance(self.server, str):
            self._channel.close()

    async def _opened(self) -> Channel:
        tls: Any = self._tls
        if tls is True or callable(tls):
            tls = self._tls = await asyncio.to_thread(tls_context if tls is True else tls)
        if self.is_closed:
            raise RuntimeError("this client was closed while it connected")
        if self._channel is None:  # another call may have been faster
            self._loop = asyncio.get_running_loop()
            self._channel = channel(str(self.server), tls=tls, keepalive_s=KEEPALIVE_S)
        return self._channel
