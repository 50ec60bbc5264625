"""Replies on their way out: who may send now, in turn, as the client's windows and its socket take more.

A call's `stream` hands its messages over; `dispatch` tells when windows open, `connection` when the socket takes bytes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from stigmer.errors import Cancelled
from stigmer.server.memory_queue import exhausted

if TYPE_CHECKING:
    from stigmer.server.memory import ConnectionMemory
    from stigmer.server.tuned_h2 import TunedConnection

FRAME_BYTES = 32 * 1024  # as much as one call may send before others have their turn
TURN_BYTES = 256 * 1024  # as much as one connection may send in one turn of the loop


class Message:
    """What is left to send of one message; its bytes are never copied as a whole. Its call is woken when it is out."""

    __slots__ = ("_at", "_body", "_head", "_woken", "left", "moved_at", "refused", "stream_id")

    def __init__(self, stream_id: int, head: bytes, body: bytes, now: float) -> None:
        self.stream_id = stream_id
        self._head, self._body, self._at = head, memoryview(body), 0
        self.left = len(head) + len(body)
        self.moved_at = now
        self.refused = False
        self._woken: asyncio.Future[None] | None = None

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        head, self._head = self._head[:size], self._head[size:]
        start, self._at = self._at, self._at + size - len(head)
        self.left -= size
        return b"".join((head, self._body[start : self._at]))

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

    def __init__(self, h2: TunedConnection, memory: ConnectionMemory, write_ready: asyncio.Event) -> None:
        self._h2, self._memory, self._write_ready = h2, memory, write_ready
        self._now = asyncio.get_running_loop().time
        self._ready: dict[int, Message] = {}  # by stream, in the order of their turns
        self._starved: dict[int, Message] = {}  # those whose own window is used up
        self._handle: asyncio.Handle | None = None
        self._moved_at = self._now()

    def __repr__(self) -> str:
        return f"<Outbound {len(self._ready)} ready, {len(self._starved)} starved>"

    async def send(self, stream_id: int, head: bytes, body: bytes) -> None:
        """Send one message, at once and in one frame where that is possible.

        Raises:
            Cancelled: the stream is closed, or its client took no byte for too long.
            ResourceExhausted: the server holds too much, most of it for this connection.
        """
        at_once = self._write_ready.is_set() and not self._ready
        if at_once and len(head) + len(body) <= self._h2.room(stream_id):
            self._h2.send_data(stream_id, head + body)
            return
        message = Message(stream_id, head, body, self._now())
        if at_once:
            self._send_now(message)
        if message.left:
            await self._wait(message)

    def window_opened(self, stream_id: int) -> None:
        """The client takes more, of one call or, where 0, of all."""
        message = self._starved.pop(stream_id, None)
        if message is not None:
            self._ready[stream_id] = message
        self.soon()

    def windows_changed(self) -> None:
        """The client changed the windows of all calls."""
        self._ready.update(self._starved)
        self._starved.clear()
        self.soon()

    def closed(self, stream_id: int) -> None:
        """The client takes nothing more of a call."""
        message = self._ready.pop(stream_id, None) or self._starved.pop(stream_id, None)
        if message is not None:
            message.wake()

    def soon(self) -> None:
        """Send on in a later turn of the loop."""
        if self._ready and self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._handle = None
        left = TURN_BYTES
        while self._ready and left > 0 and self._write_ready.is_set() and self._h2.outbound_flow_control_window > 0:
            stream_id, message = next(iter(self._ready.items()))
            if self._h2.is_open(stream_id):
                left -= self._advance(message)
            else:
                self.closed(stream_id)
        if left <= 0:
            self.soon()

    def _advance(self, message: Message) -> int:
        """Give one message its turn; how many bytes it sent."""
        del self._ready[message.stream_id]
        sent = self._send_some(message)
        if sent:
            message.moved_at = self._moved_at
        if message.left:
            (self._ready if sent else self._starved)[message.stream_id] = message
        else:
            message.wake()
        return sent

    def _send_now(self, message: Message) -> None:
        left = TURN_BYTES
        while message.left and left > 0 and self._write_ready.is_set():
            sent = self._send_some(message)
            if not sent:
                break
            left -= sent

    def _send_some(self, message: Message) -> int:
        """Send one share of a message, as far as the windows go; how many bytes."""
        sent = 0
        while message.left and sent < FRAME_BYTES:
            size = min(self._h2.room(message.stream_id), FRAME_BYTES - sent, message.left)
            if size <= 0:
                break
            self._h2.send_data(message.stream_id, message.take(size))
            sent += size
        if sent:
            self._moved_at = self._now()
        return sent

    async def _wait(self, message: Message) -> None:
        stream_id = message.stream_id
        self._ready[stream_id] = message
        self._memory.unfinished.add(message)
        self.soon()
        try:
            while message.left and not message.refused and self._h2.is_open(stream_id):
                left_s = self._left_s(message)
                if left_s <= 0:
                    self._h2.reset_stream(stream_id, error_code=ErrorCodes.CANCEL)
                else:
                    await message.changed(left_s)
        finally:
            self._ready.pop(stream_id, None)
            self._starved.pop(stream_id, None)
            self._memory.unfinished.discard(message)
        if message.refused:
            raise exhausted()
        if message.left:
            raise Cancelled("the caller went away")

    def _left_s(self, message: Message) -> float:
        """How long the client may take before it takes more; while the socket is full, `connection` watches it."""
        now = self._now()
        shared = message.stream_id in self._ready  # it waits for its turn: any call's bytes show that the client reads
        moved_at = max(message.moved_at, self._moved_at) if shared else message.moved_at
        if not self._write_ready.is_set():
            moved_at = now
        return moved_at + self._memory.limits.reply_timeout_s - now
