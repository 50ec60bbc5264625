"""A call on the wire: what grpclib's stream lacks, as a subclass, so that other grpclib servers stay as they were.

Whoever serves a call meets it through `Stream.incoming`, and through the errors that receiving and sending raise.
`admission`, `connection`, `events`, `protocol`, `listener` and `tuned_h2` alone know grpclib's and h2's private parts,
beside this module.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from grpclib import protocol
from h2.errors import ErrorCodes

from stigmer import errors
from stigmer.server import compression
from stigmer.server.admission import Admission
from stigmer.server.budget import SMALL_BYTES
from stigmer.server.inbound import PREFIX_BYTES, Inbound
from stigmer.server.outbound import CallerGone, Message

if TYPE_CHECKING:
    from grpclib.metadata import Deadline
    from grpclib.server import Stream as ServerStream
    from grpclib.utils import Wrapper
    from h2.connection import H2Connection
    from h2.stream import H2Stream

    from stigmer.server.connection import Connection
    from stigmer.server.lineup import Lineup
    from stigmer.server.tuned_h2 import TunedConnection

Headers = list[tuple[str, str]]
HEADERS_BYTES = 256  # what a block of reply headers comes to, roughly
_PLAIN = [("grpc-accept-encoding", compression.ACCEPTED)]
_PACKED = [*_PLAIN, ("grpc-encoding", "gzip")]


class Stream(protocol.Stream):
    """One call on the wire: refuses bad messages before they are read, writes once per turn of the loop."""

    connection: Connection
    buffer: Inbound  # type: ignore[assignment]  # grpclib's has the same part of it that grpclib uses
    _h2_connection: TunedConnection
    deadline: Deadline | None = None
    encoding = ""  # of the request's messages, where they are flagged as compressed
    accepted = ""  # encodings that the caller takes
    _inflated: bytes | None = None
    _packed = False
    _in_message = False
    _read = 0
    in_hand_of: Lineup | None = None  # where it counts among the calls that are worked on

    window_updated = headers_received = trailers_received = asyncio.Event()  # nobody waits for these

    def __init__(
        self,
        connection: protocol.Connection,
        h2_connection: H2Connection,
        transport: asyncio.Transport,
        *,
        stream_id: int | None = None,
        wrapper: Wrapper | None = None,
    ) -> None:
        """As grpclib's own, but for three events, which would take 2 KB of each call."""
        self.connection = cast("Connection", connection)
        self._h2_connection = cast("TunedConnection", h2_connection)
        self._transport = transport
        self.wrapper = wrapper
        self.headers = self.trailers = None
        if stream_id is not None:
            self.init_stream(stream_id, connection)

    def incoming(self, served: ServerStream[Any, Any]) -> Admission:
        """What whoever serves the call asks; `served` is grpclib's side of it."""
        return Admission(self, served)

    def init_stream(self, stream_id: int, connection: protocol.Connection) -> None:
        """Begin; grpclib's own would count calls, and keep each frame as an object."""
        self.id = self.number = stream_id
        self.buffer = Inbound(cast("Connection", connection), stream_id)

    # What comes in.

    async def recv_data(self, size: int) -> bytes:
        """Read the prefix or the body of a message, by turns, as grpclib's recv_message asks for them.

        A compressed message is read and inflated at its prefix, which is given as if it had come as it is.

        Raises:
            errors.ResourceExhausted: the prefix announces more than the limit, or more than there is room for, and the
                body is not read; or it inflates to more.
            errors.InvalidArgument: the caller ended the stream within the message, or it cannot be inflated.
            errors.DeadlineExceeded: the caller sent nothing for too long.
            errors.Unimplemented, errors.Relayed: see `compression.checked`.
        """
        if self._inflated is not None:
            data, self._inflated = self._inflated, None
            return data
        within = self._in_message
        data = await self.buffer.read(size, within=within) if size else b""
        if len(data) < size and (within or data):
            raise _truncated()
        self._in_message = bool(data) and not within
        if within:
            self.buffer.next()
        elif data and data[0]:
            return await self._inflate(data)
        elif data:
            self._wait_for_more(data)
            await self.buffer.expect(_checked_size(data, self.connection.limits.max_message_bytes))
        return data

    def _wait_for_more(self, prefix: bytes) -> None:
        if int.from_bytes(prefix[1:], "big") > SMALL_BYTES:
            self.put_down()

    async def _inflate(self, prefix: bytes) -> bytes:
        self._wait_for_more(prefix)
        limit = self.connection.limits.max_message_bytes
        encoding, size = compression.checked(self.encoding), _checked_size(prefix, limit)
        await self.buffer.expect(size, compression.usual(size, limit))
        data = await self.buffer.read(size, within=True) if size else b""
        if len(data) < size:
            raise _truncated()
        self.buffer.next()
        self._inflated = await compression.inflated(data, encoding, limit, self.buffer)
        self._in_message = False
        return _prefix(len(self._inflated))

    @property
    def time_left_s(self) -> float:
        """How long its request may still take to come; then it fails, for want of bytes or by its deadline."""
        left_s = self.buffer.left_s()
        return left_s if self.deadline is None else min(left_s, self.deadline.time_remaining())

    def put_down(self) -> None:
        """It waits for its client, or is done: another one may be worked on in its place."""
        lineup, self.in_hand_of = self.in_hand_of, None
        if lineup is not None:
            lineup.left()

    async def start(self) -> None:
        """Wait until the call, whose request is there, may be worked on; see `budget.Share`.

        Raises:
            errors.ResourceExhausted: it might not for too long.
        """
        share = self.connection.share
        share.unfinished.discard(self.buffer)
        if not share.starts.room_now(0):
            await share.starts.room(0)

    @property
    def may_read(self) -> bool:
        """Whether the call may read what its reply is made of; once it has begun to, it may go on."""
        return self._read > 0 or self.connection.share.has_room

    def read(self, size: int) -> None:
        """It has read rows of so many bytes."""
        self._read += size
        self.connection.share.replying(size)

    def settle(self) -> None:
        """What it has read is its reply now, or nothing any more."""
        if self._read:
            read, self._read = self._read, 0
            self.connection.share.replied(read)

    def done(self) -> None:
        """The call has its reply, or has failed, and holds its request no more."""
        self.settle()
        self.buffer.release()
        self.put_down()

    def __terminated__(self, reason: str) -> None:
        """Nothing: the call's task is cancelled. grpclib's own error would be kept by a frame that it is raised in."""

    def close(self) -> None:
        """The call is over."""
        self.buffer.close()
        self.put_down()

    # What goes out.

    async def send_headers(self, headers: Headers, end_stream: bool = False) -> None:  # noqa: FBT001, FBT002  # grpclib's signature
        """Send headers or trailers.

        Raises:
            CallerGone: the stream is closed.
        """
        await self.connection.writable()
        self.write_headers(headers, end_stream=end_stream)

    def write_headers(self, headers: Headers, *, end_stream: bool) -> None:
        """Send headers or trailers, whether or not the peer reads.

        Raises:
            CallerGone: the stream is closed.
        """
        if headers[0][0] == ":status":
            headers += _PACKED if self._packed else _PLAIN
        self._h2_connection.send_headers(self._open().stream_id, headers, end_stream=end_stream)
        self.connection.flush_soon(HEADERS_BYTES)

    async def send_data(self, data: bytes, end_stream: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002  # grpclib's signature; a server's streams end with trailers
        """Send one message in as many frames as the peer's windows ask for.

        Raises:
            CallerGone: the stream is closed.
        """
        await self._send(b"", data)

    async def packed(self, body: bytes) -> bytes:
        """The only message of a reply as it goes out, compressed where the caller takes that and it pays."""
        if compression.wanted(self.accepted, len(body)):
            packed = await compression.packed(body)
            if packed is not None:
                self._packed = True
                return packed
        return body

    def send_message_now(self, body: bytes) -> bool:
        """Send one message where it can go at once, in one frame; whether it did."""
        if self.connection.write_ready.is_set() and not self.connection.outbound.waits:
            stream = self._h2_connection.streams.get(self.number)
            size = PREFIX_BYTES + len(body)
            if stream is not None and not stream.closed and size <= self._h2_connection.room(stream):
                self.write(self._head(body) + body)
                return True
        return False

    async def send_message(self, body: bytes) -> None:
        """Send one message, which counts as held meanwhile.

        Raises:
            CallerGone: the stream is closed, or the caller takes no byte for too long.
            errors.ResourceExhausted: the server holds too much, most of it for this connection.
        """
        await self._send(self._head(body), body)

    def _head(self, body: bytes) -> bytes:
        return _prefix(len(body), compressed=self._packed)

    async def _send(self, head: bytes, body: bytes) -> None:
        self._open()
        await self.connection.outbound.send(self, Message(head, body))

    def replying(self, size: int) -> None:
        """From now on the call's reply of `size` bytes waits to be sent."""
        self.connection.share.replying(size)

    def replied(self, size: int) -> None:
        """It is sent, or never will be."""
        self.connection.share.replied(size)

    @property
    def gone(self) -> bool:
        """Whether nothing can be sent any more."""
        stream = self._h2_connection.streams.get(self.number)
        return stream is None or stream.closed

    def room(self) -> int:
        """How many bytes may go out in one frame now; zero or less while a window is used up.

        Raises:
            CallerGone: the stream is closed.
        """
        return self._h2_connection.room(self._open())

    def write(self, data: bytes) -> None:
        """Send one frame, of `room` bytes at most."""
        self._h2_connection.send_data(self.number, data)
        self.connection.flush_soon(len(data))

    def give_up(self) -> None:
        """The caller does not read."""
        self.reset_nowait(ErrorCodes.CANCEL)

    def reset_nowait(self, error_code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Tell the peer that nothing more of this call is read or sent."""
        self._h2_connection.reset_stream(self._open().stream_id, error_code=error_code)
        self.connection.flush_soon()

    def _open(self) -> H2Stream:
        """h2's side of the stream.

        Raises:
            CallerGone: it is closed.
        """
        stream = self._h2_connection.streams.get(self.number)
        if stream is None or stream.closed:
            raise CallerGone(self.number)
        return stream


def _prefix(size: int, *, compressed: bool = False) -> bytes:
    return (b"\1" if compressed else b"\0") + size.to_bytes(4, "big")


def _checked_size(prefix: bytes, limit: int) -> int:
    size = int.from_bytes(prefix[1:], "big")
    if size > limit:
        raise errors.ResourceExhausted(
            f"received message larger than max ({size} vs. {limit} bytes): send less, or raise the server's limit"
        )
    return size


def _truncated() -> errors.InvalidArgument:
    return errors.InvalidArgument.of("", "the request ended in the middle of a message")
