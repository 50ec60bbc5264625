"""A call that comes in over a network, as the door needs it: a Protocol, and what stands for it on a host's own server.

stigmer's server hands such an object to the door itself, as the `incoming` of its streams; neither knows the other.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from multidict import MultiDict

from stigmer.access.peers import peer_of
from stigmer.address import sockaddr_text
from stigmer.errors import Cancelled, Unimplemented

if TYPE_CHECKING:
    from grpclib.server import Stream

    from stigmer.access.credentials import Identity, Peer


class Incoming(Protocol):
    """A call of a network: its terms, its messages, and how much it may have the server hold (`current.Room`)."""

    @property
    def identity(self) -> Identity | None:
        """Who calls; None where the server has not asked, so that the door does."""
        ...

    @property
    def client(self) -> Peer:
        """Who is at the other end, as credentials are checked with it."""
        ...

    @property
    def metadata(self) -> MultiDict[str | bytes]:
        """What the caller sent beside the request."""
        ...

    @property
    def deadline_s(self) -> float | None:
        """When the caller gives up, on the clock of `time.monotonic`; None is never."""
        ...

    @property
    def peer(self) -> str:
        """Who calls, `host:port`."""
        ...

    async def receive(self) -> bytes | None:
        """The request, None where the caller sent none; raises a StigmerError where it is none that is taken."""
        ...

    async def start(self) -> None:
        """Wait, now that the request is there, until the call may start.

        Raises:
            ResourceExhausted: it might not for too long, because its connection has too much unread.
        """
        ...

    @property
    def may_read(self) -> bool:
        """Whether the call may read rows for its reply now; else it has to `start` again."""
        ...

    def read(self, size: int) -> None:
        """The call has read rows of so many bytes, which are held until its reply is."""
        ...

    async def send(self, reply: object) -> None:
        """Send a reply; a unary call holds its request no more then.

        Raises:
            Cancelled: the caller went away, or takes no byte of it for too long.
            ResourceExhausted: the server holds too much, most of it for this connection.
        """
        ...

    def done(self) -> None:
        """The call is over."""
        ...


def incoming(stream: Stream[Any, Any]) -> Incoming:
    """The call of a stream, of stigmer's own server or of grpclib's."""
    ours: Incoming | None = getattr(stream, "incoming", None)
    return _Stock(stream) if ours is None else ours


class _Stock:
    """A call of a host's own grpclib server, which has no limits."""

    may_read, identity = True, None

    def __init__(self, stream: Stream[Any, Any]) -> None:
        self._stream = stream
        self.metadata: MultiDict[str | bytes] = stream.metadata or MultiDict()
        deadline = stream.deadline  # grpclib ends the call by a clock of its own as well
        self.deadline_s = time.monotonic() + deadline.time_remaining() if deadline is not None else None
        self.peer = sockaddr_text(stream.peer.addr())
        self.client = peer_of(stream.peer._transport)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # it has no DER

    async def receive(self) -> bytes | None:
        try:
            data: bytes | None = await self._stream.recv_message()
        except NotImplementedError as error:
            raise Unimplemented("this server takes no compressed messages") from error
        return data

    async def start(self) -> None:
        """At once."""

    def read(self, size: int) -> None:
        """Nobody counts."""

    async def send(self, reply: object) -> None:
        from h2.exceptions import StreamClosedError  # noqa: PLC0415 - there where there is a server

        try:
            await self._stream.send_message(reply)
        except StreamClosedError as error:
            raise Cancelled("the caller went away") from error

    def done(self) -> None:
        """It holds nothing."""
