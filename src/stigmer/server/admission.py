"""What the door asks of each call that comes in: may it start, until when has it time, and to send its reply."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from multidict import MultiDict

if TYPE_CHECKING:
    from grpclib.server import Stream as ServerStream

    from stigmer.server.stream import Stream


class Admission:
    """One call's leave to be worked on, and its `logs.Room` meanwhile: `edge.incoming.Incoming` says what is what.

    Args:
        stream: the call on the wire.
        served: grpclib's side of it.
    """

    __slots__ = ("_held", "_served", "_stream")

    def __init__(self, stream: Stream, served: ServerStream[Any, Any]) -> None:
        self._stream, self._served = stream, served
        self._held = True

    @property
    def metadata(self) -> MultiDict[str | bytes]:
        """What the caller sent beside the request."""
        return self._served.metadata or MultiDict()

    @property
    def deadline_s(self) -> float | None:
        """From `grpc-timeout`, which grpclib never sees: it would end the call by a clock of its own as well."""
        deadline = self._stream.deadline
        return None if deadline is None else time.monotonic() + deadline.time_remaining()

    @property
    def peer(self) -> str:
        """Who calls."""
        return self._stream.connection.peer

    async def receive(self) -> bytes | None:
        """The request; errors as of `http2.Stream.recv_data`."""
        data: bytes | None = await self._served.recv_message()
        return data

    async def start(self) -> None:
        """Wait until the call may start; raises ResourceExhausted where it might not for too long."""
        if self._held:
            await self._stream.start()

    @property
    def may_read(self) -> bool:
        """Whether the call may read rows for its reply now; else it has to `start` again."""
        return not self._held or self._stream.may_read

    def read(self, size: int) -> None:
        """The call has read rows of so many bytes, which are held until its reply is."""
        if self._held:
            self._stream.read(size)

    async def send(self, reply: object) -> None:
        """Send one message; where it is bytes already, they are not copied.

        Raises:
            CallerGone: the caller went away, or takes no byte of it for too long.
            ResourceExhausted: the server holds too much, most of it for this connection.
        """
        # What grpclib's send_message does, but for gathering prefix and message in one piece.
        ours, served = self._stream, self._served
        unary = not served._cardinality.server_streaming  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]  # no public way
        if unary:
            self.done()
        else:
            ours.settle()  # what was read is a reply now, which counts by itself
        body = served._codec.encode(reply, served._send_type)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public way
        size = len(body)
        ours.replying(size)
        try:
            if unary:
                body = await ours.packed(body)
            if not served._send_initial_metadata_done:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public way
                await served.send_initial_metadata()
            if not ours.send_message_now(body):
                await ours.send_message(body)
        finally:
            ours.replied(size)
        served._send_message_done = True  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # it would take the reply for missing

    def done(self) -> None:
        """The call has its reply, or has failed: it holds its request no more."""
        if self._held:
            self._held = False
            self._stream.done()
