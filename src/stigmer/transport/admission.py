"""What `edge` asks of the transport for each call: may it start, until when has it time, and to send its reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from stigmer.transport.http2 import Stream

if TYPE_CHECKING:
    from grpclib.metadata import Deadline
    from grpclib.server import Stream as ServerStream


class Admission:
    """One call's leave to be worked on: a context manager around its handler, and its `logs.Room` meanwhile.

    On a host's own grpclib server there is nothing to wait for.

    Args:
        stream: the call's.
    """

    def __init__(self, stream: ServerStream[Any, Any]) -> None:
        self._stream = _ours(stream)

    async def start(self) -> None:
        """Wait, now that the request is there, until the call may start.

        Raises:
            ResourceExhausted: it might not for too long, because its connection has too much unread.
        """
        if self._stream is not None:
            await self._stream.start()

    @property
    def may_read(self) -> bool:
        """Whether the call may read rows for its reply now; else it has to `start` again."""
        return self._stream is None or self._stream.may_read

    def read(self, size: int) -> None:
        """The call has read rows of so many bytes, which are held until its reply is."""
        if self._stream is not None:
            self._stream.read(size)

    def settle(self) -> None:
        """What was read is a reply now, which counts by itself."""
        if self._stream is not None:
            self._stream.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.done()

    def done(self) -> None:
        """The call has its reply, or has failed: it holds its request no more."""
        if self._stream is not None:
            self._stream.done()
            self._stream = None


async def send_reply(stream: ServerStream[Any, Any], reply: object) -> None:
    """Send one message; where it is bytes already, they are not copied.

    Raises:
        CallerGone: the caller went away, or takes no byte of it for too long.
        ResourceExhausted: the server holds too much, most of it for this connection.
    """
    ours = _ours(stream)
    if ours is None:
        await stream.send_message(reply)
        return
    # What grpclib's send_message does, but for gathering prefix and message in one piece.
    body = stream._codec.encode(reply, stream._send_type)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public way
    size = len(body)
    ours.replying(size)
    try:
        if not stream._cardinality.server_streaming:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]  # no public way
            body = await ours.packed(body)
        if not stream._send_initial_metadata_done:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public way
            await stream.send_initial_metadata()
        if not ours.send_message_now(body):
            await ours.send_message(body)
    finally:
        ours.replied(size)
    stream._send_message_done = True  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # it would take the reply for missing


def deadline_of(stream: ServerStream[Any, Any]) -> Deadline | None:
    """The call's deadline, from `grpc-timeout`; None where the caller set none.

    grpclib itself never sees it here; a server of grpclib's own does, and ends the call by a clock of its own as well.
    """
    ours = _ours(stream)
    return stream.deadline if ours is None else ours.deadline


def _ours(stream: ServerStream[Any, Any]) -> Stream | None:
    inner = stream._stream  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public way from the call to its stream
    return inner if isinstance(inner, Stream) else None
