"""Replies on their way out: who may send now, in turn, as the client's windows and its socket take more.

`stream.Stream` hands its messages over; `connection` tells when windows open and when the socket takes bytes again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from h2.exceptions import StreamClosedError

from stigmer import errors
from stigmer.server.room import exhausted

if TYPE_CHECKING:
    from stigmer.server.connection import Connection
    from stigmer.server.stream import Stream

FRAME_BYTES = 32 * 1024  # as much as one call may send before others have their turn
TURN_BYTES = 256 * 1024  # as much as one connection may send in one turn of the loop


class CallerGone(errors.Cancelled, StreamClosedError):
    """The call's stream is closed, so nothing can be sent; grpclib knows it as h2's StreamClosedError."""

    def __init__(self, stream_id: int) -> None:
        errors.Cancelled.__init__(self, "the caller went away")
        self.stream_id = stream_id


class Message:
    """What is left to send of one message; its bytes are never copied as a whole."""

    __slots__ = ("_at", "_body", "_head", "left")

    def __init__(self, head: bytes, body: bytes) -> None:
        self._head, self._body, self._at = head, memoryview(body), 0
        self.left = len(head) + len(body)

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        head, self._head = self._head[:size], self._head[size:]
        start, self._at = self._at, self._at + size - len(head)
        self.left -= size
        return b"".join((head, self._body[start : self._at]))


class Waiting:
    """A message that could not be sent at once; its call is woken when it is out, or when it never will be."""

    __slots__ = ("_woken", "message", "moved_at", "refused", "stream")

    def __init__(self, stream: Stream, message: Message) -> None:
        self.stream, self.message = stream, message
        self.moved_at = stream.connection.now()
        self.refused = False
        self._woken: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Let the call look at what has become of its message."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def refuse(self) -> None:
        """There is no room: the call gets an error."""
        self.refused = True
        self.wake()

    async def changed(self, within_s: float) -> None:
        """Wait to be woken, so long at most."""
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        timer = loop.call_later(within_s, self.wake)
        try:
            await self._woken
        finally:
            timer.cancel()
            self._woken = None


class Outbound:
    """The messages of one connection that wait: those that may be sent go by turns, FRAME_BYTES each."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ready: dict[int, Waiting] = {}  # by stream, in the order of their turns
        self._starved: dict[int, Waiting] = {}  # those whose own window is used up
        self._handle: asyncio.Handle | None = None
        self._moved_at = connection.now()

    def __repr__(self) -> str:
        return f"<Outbound {len(self._ready)} ready, {len(self._starved)} starved>"

    @property
    def waits(self) -> bool:
        """Whether there are messages whose turn comes first."""
        return bool(self._ready)

    async def send(self, stream: Stream, message: Message) -> None:
        """Send a message.

        Raises:
            CallerGone: the stream is closed, or its client took no byte for too long.
            ResourceExhausted: the server holds too much, most of it for this connection.
        """
        left = TURN_BYTES
        while message.left and left > 0 and not self._ready and self._connection.write_ready.is_set():
            sent = self._send_some(stream, message)
            if not sent:
                break
            left -= sent
        if message.left:
            await self._wait(Waiting(stream, message))

    def window_opened(self, stream_id: int) -> None:
        """The client takes more, of one call or, where 0, of all."""
        waiting = self._starved.pop(stream_id, None)
        if waiting is not None:
            self._ready[stream_id] = waiting
        self.soon()

    def windows_changed(self) -> None:
        """The client changed the windows of all calls."""
        self._ready.update(self._starved)
        self._starved.clear()
        self.soon()

    def closed(self, stream_id: int) -> None:
        """The client takes nothing more of a call."""
        waiting = self._ready.pop(stream_id, None) or self._starved.pop(stream_id, None)
        if waiting is not None:
            waiting.wake()

    def soon(self) -> None:
        """Send on in a later turn of the loop."""
        if self._ready and self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._handle = None
        left = TURN_BYTES
        while self._ready and left > 0 and self._connection.write_ready.is_set() and self._connection.window > 0:
            stream_id, waiting = next(iter(self._ready.items()))
            if waiting.stream.gone:
                self.closed(stream_id)
                continue
            left -= self._advance(stream_id, waiting)
        if left <= 0:
            self.soon()

    def _advance(self, stream_id: int, waiting: Waiting) -> int:
        """Give one message its turn; how many bytes it sent."""
        del self._ready[stream_id]
        sent = self._send_some(waiting.stream, waiting.message)
        if sent:
            waiting.moved_at = self._moved_at
        if waiting.message.left:
            (self._ready if sent else self._starved)[stream_id] = waiting
        else:
            waiting.wake()
        return sent

    def _send_some(self, stream: Stream, message: Message) -> int:
        """Send one share of a message, as far as the windows go; how many bytes."""
        sent = 0
        while message.left and sent < FRAME_BYTES:
            size = min(stream.room(), FRAME_BYTES - sent, message.left)
            if size <= 0:
                break
            stream.write(message.take(size))
            sent += size
        if sent:
            self._moved_at = self._connection.now()
        return sent

    async def _wait(self, waiting: Waiting) -> None:
        stream, share = waiting.stream, self._connection.share
        stream_id = stream.number
        self._ready[stream_id] = waiting
        share.unfinished.add(waiting)
        self.soon()
        try:
            while waiting.message.left and not waiting.refused and not stream.gone:
                left_s = self._left_s(stream_id, waiting)
                if left_s <= 0:
                    stream.give_up()
                else:
                    await waiting.changed(left_s)
        finally:
            self._ready.pop(stream_id, None)
            self._starved.pop(stream_id, None)
            share.unfinished.discard(waiting)
        if waiting.refused:
            raise exhausted()
        if waiting.message.left:
            raise CallerGone(stream_id)

    def _left_s(self, stream_id: int, waiting: Waiting) -> float:
        """How long the client may take before it takes more; while the socket is full, `connection` watches it."""
        now = self._connection.now()
        shared = stream_id in self._ready  # it waits for its turn: then any call's bytes show that the client reads
        moved_at = max(waiting.moved_at, self._moved_at) if shared else waiting.moved_at
        if not self._connection.write_ready.is_set():
            moved_at = now
        return moved_at + self._connection.limits.reply_timeout_s - now
