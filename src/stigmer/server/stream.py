"""One call on the wire: its request as it comes, its replies, its status, and what it has the server hold meanwhile.

`dispatch` makes one for each call that it does not turn away, and the call's handler gets it: it has of grpclib's
stream what `edge` and the standard services use, and is an `edge.incoming.Incoming` as well.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from grpclib.const import Cardinality, Status

from stigmer import errors
from stigmer.server import compression
from stigmer.server.headers import reply_fields, status_fields
from stigmer.server.inbound import PREFIX_BYTES, Inbound
from stigmer.server.memory import SMALL_BYTES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from grpclib.encoding.base import CodecBase

    from stigmer.access.credentials import Identity, Peer
    from stigmer.server.connection import Connection
    from stigmer.server.headers import Admitted


class Served(NamedTuple):
    """What serves an RPC: grpclib's `Handler`, with types."""

    func: Callable[[Any], Awaitable[None]]
    cardinality: Cardinality
    request: type[Any]
    reply: type[Any]


class Stream:
    """One call.

    Attributes:
        number: the HTTP/2 stream's.
        path: of its method.
        metadata: what the caller sent beside the request.
        deadline_s: when the caller gives up, on the clock of `time.monotonic`; None is never.
        inbound: the bytes of its request.
        identity: who calls; None until that is known.
        task: checks its credentials, then runs its handler; None between both.
        began: whether the handler had its first turn.
        on_leave: told once when it waits for its client, or is done.
    """

    __slots__ = (
        "_answered",
        "_codec",
        "_connection",
        "_encodings",
        "_headers_sent",
        "_held",
        "_method",
        "_read_bytes",
        "began",
        "deadline_s",
        "identity",
        "inbound",
        "metadata",
        "number",
        "on_leave",
        "path",
        "task",
    )

    def __init__(
        self, connection: Connection, number: int, admitted: Admitted, method: Served, codec: CodecBase
    ) -> None:
        self._connection, self.number, self._method, self._codec = connection, number, method, codec
        self.path, self.metadata, self.deadline_s = admitted.path, admitted.metadata, admitted.deadline_s
        self._encodings = admitted.encoding, admitted.accepted
        self.inbound = Inbound(connection, number)
        self.identity: Identity | None = None
        self.task: asyncio.Task[Any] | None = None
        self.began = False
        self.on_leave: Callable[[], None] | None = None
        self._held, self._read_bytes = True, 0
        self._headers_sent = self._answered = False

    def __repr__(self) -> str:
        return f"<Stream {self.number} {self.path}>"

    @property
    def unary(self) -> bool:
        """Whether it has one reply."""
        return not bool(self._method.cardinality.server_streaming)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]  # grpclib has no type for it

    @property
    def peer(self) -> str:
        """Who calls."""
        return self._connection.peer

    @property
    def client(self) -> Peer:
        """Who is at the other end, as credentials are checked with it."""
        return self._connection.client

    @property
    def incoming(self) -> Stream:
        """Itself: what the door asks of a call."""
        return self

    @property
    def time_left_s(self) -> float:
        """How long its request may still take to come; then it fails, for want of bytes or by its deadline."""
        left_s = self.inbound.left_s()
        return left_s if self.deadline_s is None else min(left_s, self.deadline_s - time.monotonic())

    # What comes in.

    async def recv_message(self) -> Any:  # noqa: ANN401  # of the method's request type
        """The next message; None where the request has ended. Errors as of `receive`."""
        data = await self.receive()
        return None if data is None else self._codec.decode(data, self._method.request)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401  # as `recv_message`
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message

    async def receive(self) -> bytes | None:
        """The bytes of the next message; None where the request has ended.

        Raises:
            ResourceExhausted: the prefix announces more than the limit, or more than there is memory for, and the body
                is not read; or it inflates to more.
            InvalidArgument: the caller ended the stream within the message, or it cannot be inflated.
            DeadlineExceeded: the caller sent nothing for too long.
            Unimplemented, Relayed: see `compression.checked`.
        """
        prefix = await self.inbound.read(PREFIX_BYTES, within=False)
        if not prefix:
            return None
        if len(prefix) < PREFIX_BYTES:
            raise _truncated()
        size, limit = int.from_bytes(prefix[1:], "big"), self._connection.limits.max_message_bytes
        if size > SMALL_BYTES:
            self._leave()
        encoding = compression.checked(self._encodings[0]) if prefix[0] else ""
        if size > limit:
            raise errors.ResourceExhausted(
                f"received message larger than max ({size} vs. {limit} bytes): send less, or raise the server's limit"
            )
        await self.inbound.expect(size, compression.usual(size, limit) if encoding else 0)
        data = await self.inbound.read(size, within=True) if size else b""
        if len(data) < size:
            raise _truncated()
        self.inbound.next()
        return await compression.inflated(data, encoding, limit, self.inbound) if encoding else data

    # What it has the server hold.

    async def start(self) -> None:
        """Wait until the call, whose request is there, may be worked on; see `memory.ConnectionMemory`.

        Raises:
            ResourceExhausted: it might not for too long, because its connection has too much unread.
        """
        if self._held:
            self._connection.memory.unfinished.discard(self.inbound)
            await self._connection.memory.may_start()

    @property
    def may_read(self) -> bool:
        """Whether it may read rows for its reply now; once it has begun to, it may go on."""
        return not self._held or self._read_bytes > 0 or self._connection.memory.has_room()

    def read(self, size: int) -> None:
        """It has read rows of so many bytes, which are held until its reply is."""
        if self._held:
            self._read_bytes += size
            self._connection.memory.replying(size)

    def _settle(self) -> None:
        """What it has read is its reply now, which counts by itself, or nothing any more."""
        if self._read_bytes:
            read, self._read_bytes = self._read_bytes, 0
            self._connection.memory.replied(read)

    def _leave(self) -> None:
        """It waits for its client, or is done: another one may be worked on in its place."""
        on_leave, self.on_leave = self.on_leave, None
        if on_leave is not None:
            on_leave()

    def done(self) -> None:
        """It has its reply, or has failed, and holds its request no more."""
        if self._held:
            self._held = False
            self._settle()
            self.inbound.release()
            self._leave()

    def close(self) -> None:
        """The call is over."""
        self.done()
        self.inbound.close()

    # What goes out.

    async def send_message(self, reply: object) -> None:
        """Send a reply; where it is bytes already, they are not copied. A unary call holds its request no more then.

        Raises:
            Cancelled: the caller went away, or takes no byte of it for too long.
            ResourceExhausted: the server holds too much, most of it for this connection.
        """
        if self.unary:
            self.done()
        else:
            self._settle()
        connection = self._connection
        body = self._codec.encode(reply, self._method.reply)
        size = len(body)
        connection.memory.replying(size)
        try:
            packed = await self._packed(body)
            if not self._headers_sent:
                await self._send_headers(packed=packed is not None)
            head = (b"\0" if packed is None else b"\1") + len(body if packed is None else packed).to_bytes(4, "big")
            await connection.outbound.send(self.number, head, body if packed is None else packed)
        finally:
            connection.memory.replied(size)
        self._answered = True

    send = send_message

    async def _packed(self, body: bytes) -> bytes | None:
        """The only message of a reply, compressed; None where the caller does not take that, or it does not pay."""
        if self.unary and compression.wanted(self._encodings[1], len(body)):
            return await compression.packed(body)
        return None

    async def _send_headers(self, *, packed: bool) -> None:
        await self._connection.writable()
        self._connection.send_headers(self.number, reply_fields("gzip" if packed else ""), end_stream=False)
        self._headers_sent = True

    async def finish(self) -> None:
        """Send the status of a call whose handler is done.

        Raises:
            Cancelled: the caller went away.
            RuntimeError: the handler sent no reply.
        """
        if self.unary and not self._answered:
            raise RuntimeError(f"{self.path} sent no reply")
        await self.end(Status.OK)

    async def end(self, status: Status, message: str | None = None, details: Any = None) -> None:  # noqa: ANN401  # as grpclib has them
        """Send a status; raises Cancelled where the caller went away."""
        await self._connection.writable()
        fields = status_fields(status, message, details)
        if not self._headers_sent:
            fields = [*reply_fields(), *fields]
        self._connection.send_headers(self.number, fields, end_stream=True)


def _truncated() -> errors.InvalidArgument:
    return errors.InvalidArgument.of("", "the request ended in the middle of a message")
