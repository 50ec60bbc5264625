"""A call's request on its way in: its bytes, the window that holds the rest back, and the wait for more.

`stream.Stream` has one for each call and reads messages from it; the connection's events fill it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stigmer import errors
from stigmer.server.memory import CALL_BYTES, SMALL_BYTES
from stigmer.server.memory_queue import exhausted

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.server.connection import Connection

PREFIX_BYTES = 5  # of a message: whether it is compressed, and how long it is


class Inbound:
    """What has come of a call's request and was not read yet, all in one piece however it came.

    The client may send the stream's first window at once. More is asked for when a message's size is known, and where
    that is more than SMALL_BYTES, when there is room for all of it.
    """

    __slots__ = (
        "_began",
        "_connection",
        "_counted",
        "_data",
        "_ended",
        "_heard_at",
        "_refused",
        "_reserved",
        "_stream_id",
        "_there",
        "_waiter",
        "_wanted",
        "_window",
    )

    def __init__(self, connection: Connection, stream_id: int) -> None:
        self._connection, self._stream_id = connection, stream_id
        self._data = bytearray()
        self._window = connection.limits.stream_window_bytes  # bytes that the client may still send
        self._counted = CALL_BYTES  # against the server's budget, until the call lets them go
        self._reserved = 0
        self._wanted = 0
        self._began = self._ended = self._refused = False
        self._waiter: asyncio.Future[None] | None = None
        self._there: Callable[[], None] | None = None
        self._heard_at = connection.now()
        connection.memory.hold(CALL_BYTES)
        connection.memory.unfinished.add(self)

    def __repr__(self) -> str:
        return f"<Inbound {self._stream_id}: {len(self._data)} bytes, {self._window} more may come>"

    def when_there(self, there: Callable[[], None]) -> None:
        """Call `there`, once, when the first message has come, or cannot come without the call's doing."""
        self._there = there
        if self._ended or self._refused or self._is_there():
            self._tell()

    # From the connection.

    def add(self, data: bytes, flow_size: int) -> None:
        """Bytes came, in a frame that took `flow_size` of the window."""
        self._data += data
        self._window -= len(data)
        self._heard_at = self._connection.now()
        self._count(len(data))
        if flow_size > len(data):  # padding
            self._connection.open_window(self._stream_id, flow_size - len(data))
        if len(self._data) >= self._wanted:
            self._wake()
        if self._there is not None and self._is_there():
            self._tell()

    def eof(self) -> None:
        """No more will come."""
        self._ended = True
        self._connection.memory.unfinished.discard(self)
        self._wake()
        self._tell()

    def refuse(self) -> None:
        """There is no room: the call that waits for more gets an error in its place."""
        self._refused = True
        self._wake()
        self._tell()

    # From the call.

    async def read(self, size: int, *, within: bool) -> bytes:
        """The next `size` bytes; fewer where the request ends before.

        Args:
            size: at least one.
            within: whether they belong to a message that has begun; between messages a client may take its time.

        Raises:
            DeadlineExceeded: no byte came for too long, within a message or before the first.
            ResourceExhausted: the server holds too much, most of it for this connection.
        """
        self._wanted = size
        while len(self._data) < size and not self._ended:
            if self._refused:
                raise exhausted()
            await self._more(patient=self._began and not within and not self._data)
        self._wanted = 0
        self._began = True
        if len(self._data) > size:
            data = bytes(self._data[:size])
            del self._data[:size]
        else:
            data = bytes(self._data)
            self._data = bytearray()
        return data

    async def expect(self, size: int, room: int = 0) -> None:
        """Let a message of `size` bytes come, once there is room for it, or for `room` bytes where that is more.

        Raises:
            ResourceExhausted: there was none for too long.
        """
        self.release()
        if size > SMALL_BYTES:
            await self.grow(max(size, room))
            self._connection.memory.release(self._counted)
            self._counted = 0
            self._heard_at = self._connection.now()
        self._open(size - len(self._data))

    async def grow(self, size: int) -> None:
        """Wait for room for `size` bytes in all, which a message may come to.

        Raises:
            ResourceExhausted: there was none for too long.
        """
        if size > self._reserved:
            await self._connection.memory.reserve(size - self._reserved)
            self._reserved = size

    def settle(self, size: int) -> None:
        """It came to `size` bytes."""
        if self._reserved > size:
            self._connection.memory.give_back(self._reserved - size)
            self._reserved = size

    def next(self) -> None:
        """A message was read: the next one may begin, with a window like the first's."""
        if not self._ended:
            self._open(self._connection.limits.stream_window_bytes // 2)

    def release(self) -> None:
        """The messages read so far are not held any more."""
        if self._reserved:
            self._connection.memory.give_back(self._reserved)
            self._reserved = 0
        kept = len(self._data)
        if self._counted > kept:
            self._connection.memory.release(self._counted - kept)
            self._counted = kept

    def close(self) -> None:
        """The call is over."""
        self._data = bytearray()
        self._there = None
        self._connection.memory.unfinished.discard(self)
        self.release()

    def _open(self, size: int) -> None:
        """Let the client send `size` bytes in all."""
        if size > self._window and not self._ended:
            size = max(size, self._connection.limits.stream_window_bytes)
            self._connection.open_window(self._stream_id, size - self._window)
            self._window = size

    def _count(self, size: int) -> None:
        if not self._reserved:
            self._counted += size
            self._connection.memory.hold(size)

    @property
    def announced(self) -> int:
        """How long the message is that comes next, its prefix included; 0 where that has not come."""
        return (
            PREFIX_BYTES + int.from_bytes(self._data[1:PREFIX_BYTES], "big") if len(self._data) >= PREFIX_BYTES else 0
        )

    def _is_there(self) -> bool:
        """Whether the first message is whole, or does not fit into the first window."""
        size = self.announced
        return 0 < size <= len(self._data) or size > self._connection.limits.stream_window_bytes

    def _tell(self) -> None:
        there, self._there = self._there, None
        if there is not None:
            there()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self, *, patient: bool) -> None:
        """Wait until what is wanted is there, or the end, or a refusal, or the client's time is over."""
        left_s = self.left_s()
        if left_s <= 0 and not patient:
            raise errors.DeadlineExceeded(STALLED)
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = None if patient else loop.call_later(left_s, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def left_s(self) -> float:
        """How long the client may take for its next byte; all of the time while it is not read."""
        connection = self._connection
        now = connection.now()
        since = max(self._heard_at, connection.memory.read_since) if connection.memory.read_since is not None else now
        return since + connection.limits.request_timeout_s - now


STALLED = "no byte of the request came for too long: send it in one go, or raise the server's --request-timeout-s"
