"""Bind, serve, stop: the server as the command line and embedders see it. `listener` does the work."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Self

from grpclib.encoding.proto import ProtoStatusDetailsCodec

from stigmer.errors import StartupError
from stigmer.rpc import Codec
from stigmer.server.listener import Listener
from stigmer.telemetry.logs import address_text, get_logger

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection
    from types import TracebackType

    from grpclib._typing import IServable
    from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase

    from stigmer.server.limits import Limits
    from stigmer.server.listener import Calls

log = get_logger("stigmer.server")

BACKLOG = 1024  # connections that may wait to be accepted
NOTICE_S = 0.05  # how long who watches the server's health has to hear of its end before the watch itself is ended

_REMEDIES = {
    errno.EADDRINUSE: "another process listens there: stop it, or listen on another port (0 takes a free one)",
    errno.EACCES: "not permitted: ports below 1024 need privileges, so listen on a higher one",
    errno.EPERM: "not permitted: listen on another port",
    errno.EADDRNOTAVAIL: "this machine has no such address: use 127.0.0.1, or 0.0.0.0 for all of them",
}


class Server:
    """A listening gRPC server: an async context manager that listens while it is entered.

    Leaving it drains without grace where `drain` has not done so before.

    Attributes:
        is_drained: whether it stops, or has stopped.
    """

    def __init__(  # noqa: PLR0913  # the settings of one object, each by its name
        self,
        handlers: Collection[IServable],
        *,
        host: str,
        port: int,
        ssl: ssl.SSLContext | None = None,
        codec: CodecBase | None = None,
        status_details_codec: StatusDetailsCodecBase | None = None,
        limits: Limits | None = None,
        calls: Calls | None = None,
        draining: Callable[[], None] | None = None,
        refused: Callable[[str], None] = lambda _code: None,
    ) -> None:
        """Keep the settings; nothing is bound yet. Make it inside the running loop.

        Args:
            handlers: objects with grpclib's `__mapping__`.
            host: an address or name of this machine; a name with several addresses listens on all.
            port: 0 takes a free one, see `address`.
            ssl: see `tls.server_context`; None serves plain text.
            codec: how the handlers' messages become bytes; `rpc.Codec` where None.
            status_details_codec: how details become bytes; grpclib's where None.
            limits: see `Limits`.
            calls: those that the handlers run; the open streams are ended when clients were told to go away, the
                others when the grace is over. Without it, all are cancelled then, with no status.
            draining: called first when it drains: health becomes NOT_SERVING, and who watches it hears so before the
                watch is ended.
            refused: told the code of each call that is turned away here.
        """
        self._host, self._port, self._ssl = host, port, ssl
        self._calls, self._draining = calls, draining
        self.is_drained = False
        self._listener = Listener(
            handlers,
            codec=codec or Codec(),
            status_details_codec=status_details_codec or ProtoStatusDetailsCodec(),
            limits=limits,
            refused=refused,
        )

    def __repr__(self) -> str:
        state = "drained" if self.is_drained else "listening" if self._listener.sockets else "not started"
        return f"<Server {self._host}:{self._port} {state}>"

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            StartupError: the address cannot be bound.
        """
        if not 0 <= self._port < 65536:
            raise StartupError(f"cannot listen on port {self._port}: choose one between 0 and 65535")
        try:
            await self._listener.start(self._host, self._port, ssl=self._ssl, backlog=BACKLOG)
        except (OSError, UnicodeError) as error:
            raise StartupError(f"cannot listen on {self._host}:{self._port}: {_remedy(error)}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.is_drained:
            await self.drain(0)

    @property
    def listens_on(self) -> str:
        """The same as `address`, as people write it."""
        return address_text(self.address)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on, the port as bound; the first of several."""
        if self._listener.sockets:
            self._host, self._port = self._listener.sockets[0].getsockname()[:2]
        return self._host, self._port

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._listener.connections

    @property
    def held_bytes(self) -> int:
        """Of requests that are not whole and replies that are not read."""
        return self._listener.budget.held

    async def drain(self, grace_s: float) -> int:
        """Stop within `grace_s`: no new connections, GOAWAY, time for running calls, then the end of all that is left.

        Returns:
            How many calls were cut because the grace was over.
        """
        _ = self.address  # keep it readable when the sockets are gone
        self.is_drained = True
        notice_s = min(NOTICE_S, grace_s / 4)
        try:
            if self._draining is not None:
                self._draining()
                await asyncio.sleep(notice_s)
            return await self._listener.drain(grace_s - notice_s, self._calls)
        except BaseException:
            self._listener.abort()
            raise


def _remedy(error: Exception) -> str:
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "the name cannot be resolved: give an address of this machine, such as 127.0.0.1"
    return _REMEDIES.get(getattr(error, "errno", None) or 0, f"{error}: choose another address")
