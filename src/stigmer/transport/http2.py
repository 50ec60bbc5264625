"""A call on the wire: what grpclib's stream lacks, as a subclass, so that other grpclib servers stay as they were.

`edge` meets `Stream` through `deadline_of` and through the errors that receiving and sending raise. A connection's
objects are in `connection`, the frame layer in `h2tuning`, the listening side in `listener`; these four modules alone
know grpclib's and h2's private parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from grpclib import protocol
from h2.errors import ErrorCodes
from h2.exceptions import StreamClosedError

from stigmer import errors

if TYPE_CHECKING:
    from grpclib.metadata import Deadline
    from grpclib.server import Stream as ServerStream
    from h2.stream import H2Stream

    from stigmer.transport.connection import Connection
    from stigmer.transport.h2tuning import TunedConnection

Headers = list[tuple[str, str]]
FRAME_BYTES = 32 * 1024  # as much as one call may write before it looks again whether the peer reads
HEADERS_BYTES = 256  # what a block of reply headers comes to, roughly


class CompressionUnsupported(errors.Unimplemented):
    """The request message is compressed. The edge answers with `grpc-accept-encoding: identity`."""

    def __init__(self) -> None:
        super().__init__("compressed messages are not supported: send them with the encoding 'identity' (not gzip)")


class CallerGone(errors.Cancelled, StreamClosedError):
    """The call's stream is closed, so nothing can be sent; grpclib knows it as h2's StreamClosedError."""

    def __init__(self, stream_id: int) -> None:
        errors.Cancelled.__init__(self, "the caller went away")
        self.stream_id = stream_id


def deadline_of(stream: ServerStream[Any, Any]) -> Deadline | None:
    """The call's deadline, from `grpc-timeout`; None where the caller set none.

    grpclib itself never sees it here; a server of grpclib's own does, and ends the call by a clock of its own as well.
    """
    ours = stream._stream  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public way from the call to its stream
    return ours.deadline if isinstance(ours, Stream) else stream.deadline


class Stream(protocol.Stream):
    """One call on the wire: refuses bad messages before they are read, writes once per turn of the loop."""

    connection: Connection
    _h2_connection: TunedConnection
    deadline: Deadline | None = None
    _in_message = False

    async def recv_data(self, size: int) -> bytes:
        """Read the prefix or the body of a message, by turns, as grpclib's recv_message asks for them.

        Raises:
            CompressionUnsupported: the prefix says that the body is compressed.
            errors.ResourceExhausted: the prefix announces more than the limit; the body is not read.
            errors.InvalidArgument: the caller ended the stream within the message.
        """
        try:
            data = await self.buffer.read(size)
        except AssertionError as error:  # grpclib's way to say that the stream ended early
            raise _truncated() from error
        if self._in_message and len(data) < size:
            raise _truncated()
        if data and not self._in_message:
            _check_prefix(data, self.connection.limits.max_message_bytes)
        self._in_message = bool(data) and not self._in_message
        return data

    async def send_headers(self, headers: Headers, end_stream: bool = False) -> None:  # noqa: FBT001, FBT002  # grpclib's signature
        """Send headers or trailers.

        Raises:
            CallerGone: the stream is closed.
        """
        await self.connection.writable()
        self._h2_connection.send_headers(self._open().stream_id, headers, end_stream=end_stream)
        self.connection.flush_soon(HEADERS_BYTES)

    async def send_data(self, data: bytes, end_stream: bool = False) -> None:  # noqa: FBT001, FBT002  # grpclib's signature
        """Send one message in as many frames as the peer's windows ask for.

        Raises:
            CallerGone: the stream is closed.
        """
        sent = 0
        while sent < len(data):
            await self.connection.writable()
            stream = self._open()
            size = min(self._h2_connection.room(stream), FRAME_BYTES, len(data) - sent)
            if size <= 0:
                await self._more_window()
                continue
            chunk, sent = data[sent : sent + size], sent + size
            self._h2_connection.send_data(stream.stream_id, chunk, end_stream=end_stream and sent == len(data))
            self.data_sent += size
            self.connection.flush_soon(size)

    async def _more_window(self) -> None:
        self.window_updated.clear()
        self.connection.starved.add(self)
        try:
            await self.window_updated.wait()
        finally:
            self.connection.starved.discard(self)

    def reset_nowait(self, error_code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Tell the peer that nothing more of this call is read or sent."""
        self._h2_connection.reset_stream(self._open().stream_id, error_code=error_code)
        self.connection.flush_soon()

    def _open(self) -> H2Stream:
        """h2's side of the stream.

        Raises:
            CallerGone: it is closed.
        """
        stream_id = cast("int", self.id)
        stream = self._h2_connection.streams.get(stream_id)
        if stream is None or stream.closed:
            raise CallerGone(stream_id)
        return stream


def _check_prefix(prefix: bytes, limit: int) -> None:
    if prefix[0]:
        raise CompressionUnsupported
    size = int.from_bytes(prefix[1:], "big")
    if size > limit:
        raise errors.ResourceExhausted(
            f"received message larger than max ({size} vs. {limit} bytes): send less, or raise the server's limit"
        )


def _truncated() -> errors.InvalidArgument:
    return errors.InvalidArgument.of("", "the request ended in the middle of a message")
