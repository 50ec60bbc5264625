"""One client's connection, from the inside: its writes, its windows, its silence, its end.

`listener` makes one for each client, and `events` for what its frames come to; `stream` has the stream of a call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpclib import protocol
from grpclib.config import Configuration
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError
from hyperframe.frame import GoAwayFrame

from stigmer.server.outbound import Outbound
from stigmer.server.stream import Stream
from stigmer.telemetry.logs import address_text, get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.server.budget import Budget
    from stigmer.server.tuned_h2 import TunedConnection

log = get_logger("stigmer.server.connection")

_NO_KEEPALIVE = Configuration(_keepalive_time=None).__for_server__()  # grpclib pings on schedule, we after silence

FLUSH_BYTES = 64 * 1024  # as much as asyncio lets wait in a transport before it asks writers to pause
BACKLOG_BYTES = 1024 * 1024  # a peer that makes us answer and does not read the answers is dropped at this
LINGER_S = 5.0  # how long a closing connection may take to write its last bytes


class Connection(protocol.Connection):
    """One client: writes joined into one per turn of the loop, a watch on its silence, an end in bounded time."""

    _connection: TunedConnection

    def __init__(
        self, connection: TunedConnection, transport: asyncio.Transport, budget: Budget, read: Callable[[bool], None]
    ) -> None:
        super().__init__(connection, transport, config=_NO_KEEPALIVE)
        self.limits = budget.limits
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.share = budget.share(read)
        self.outbound = Outbound(self)
        self.read_since: float | None = self.now()  # None while the client is not read
        self._unreturned = 0  # bytes of the connection's window that are to be given back
        self._socket = transport  # grpclib forgets its own reference on close; aborting needs one
        self._unflushed_bytes = 0
        self._flush_handle: asyncio.Handle | None = None
        self._heard_at = self._loop.time()
        self._asked_at: float | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._timer = self._loop.call_later(self.limits.keepalive_s, self._watch)

    def create_stream(self, *, stream_id: int | None = None, wrapper: Any = None) -> Stream:  # noqa: ANN401  # grpclib's signature
        """Make the call's stream, of our class."""
        return Stream(self, self._connection, self._transport, stream_id=stream_id, wrapper=wrapper)

    @property
    def peer(self) -> str:
        """Who is at the other end."""
        return address_text(self._socket.get_extra_info("peername"))

    @property
    def window(self) -> int:
        """How many bytes the peer takes, of all calls together."""
        return self._connection.outbound_flow_control_window

    async def writable(self) -> None:
        """Wait while the peer does not read."""
        while not self.write_ready.is_set():  # again after each wait: those woken before may have filled the buffer
            await self.write_ready.wait()

    def pause_writing(self) -> None:
        """The socket is full: the peer has `reply_timeout_s` to read some of it."""
        super().pause_writing()
        self._watch_socket(self._socket.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
        self.outbound.soon()

    def _watch_socket(self, unread: int) -> None:
        self._stuck = self._loop.call_later(self.limits.reply_timeout_s, self._look_at_socket, unread)

    def _look_at_socket(self, unread: int) -> None:
        left = self._socket.get_write_buffer_size()
        if left < unread:
            self._watch_socket(left)
        else:
            log.debug("Dropped: the peer does not read", peer=self.peer)
            self.abort()

    def received(self, size: int) -> None:
        """Bytes of some call came: the connection's window is for the loop's sake, so they are given back at once."""
        self._unreturned += size
        if self._unreturned >= self.limits.connection_window_bytes // 2 and not self._socket.is_closing():
            self._connection.increment_flow_control_window(self._unreturned)
            self._unreturned = 0

    def open_window(self, stream_id: int, size: int) -> None:
        """Let the peer send `size` bytes more of a call."""
        stream = self._connection.streams.get(stream_id)
        if stream is not None and stream.open and not self._socket.is_closing():
            self._connection.increment_flow_control_window(size, stream_id)
            self.flush_soon()

    def flush_soon(self, size: int = 0) -> None:
        """Write what h2 holds at the end of this turn of the loop, or now where `size` bytes more make it much."""
        self._unflushed_bytes += size
        if self._unflushed_bytes >= FLUSH_BYTES:
            self.flush()
        elif self._flush_handle is None:
            self._flush_handle = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what h2 holds."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        self._flush_handle, self._unflushed_bytes = None, 0
        data = self._connection.data_to_send()
        if data and not self._socket.is_closing():
            self._socket.write(data)

    def heard(self) -> None:
        """Note a sign of life.

        Raises:
            DenialOfServiceError: the peer sends what must be answered and never reads the answers.
        """
        self._heard_at = self._loop.time()
        if self._socket.get_write_buffer_size() > BACKLOG_BYTES:
            raise DenialOfServiceError("the peer does not read its answers")

    def _watch(self) -> None:
        """Ask a silent peer for a sign of life; drop one that was asked and gave none."""
        if self.read_since is None or self.read_since > self._heard_at:
            self._heard_at = self._loop.time()  # it could not be heard
        silence_s = self._loop.time() - self._heard_at
        if self._asked_at is not None and self._heard_at < self._asked_at:
            log.debug("Dropped: the peer gave no sign of life", peer=self.peer)
            self.abort()
        elif silence_s < self.limits.keepalive_s:
            self._asked_at = None
            self._timer = self._loop.call_later(self.limits.keepalive_s - silence_s, self._watch)
        else:
            self._asked_at = self._loop.time()
            self._connection.ping(b"stigmer?")
            self.flush()
            self._timer = self._loop.call_later(self.limits.keepalive_timeout_s, self._watch)

    def go_away(self) -> None:
        """Ask the peer to open no more calls here, and let those that are open go on (RFC 9113, 6.8)."""
        self.flush()
        if not self._socket.is_closing():
            # Not through h2: it would refuse every frame after a GOAWAY of its own.
            frame = GoAwayFrame(0, last_stream_id=2**31 - 1, error_code=int(ErrorCodes.NO_ERROR))
            self._socket.write(frame.serialize())

    def refuse(self, stream_id: int) -> None:
        """Turn one call away unprocessed; clients repeat such a call by themselves."""
        self._connection.reset_stream(stream_id, error_code=ErrorCodes.REFUSED_STREAM)
        self._connection.forget(stream_id)

    def forget(self, stream_id: int) -> None:
        """Drop what is kept of a call that is over."""
        if not self._socket.is_closing():
            self._connection.forget(stream_id)
            self.flush_soon()

    def blame(self, error: Exception) -> None:
        """Tell the peer by which error the connection ends, where h2 did not."""
        self._say_goodbye(getattr(error, "error_code", ErrorCodes.INTERNAL_ERROR))

    def _say_goodbye(self, error_code: ErrorCodes) -> None:
        """Name the last call that was looked at, so that the client may repeat later ones elsewhere."""
        if self._connection.state_machine.state is not ConnectionState.CLOSED:
            self._connection.close_connection(error_code=error_code)

    def close(self) -> None:
        """Close when the last bytes are written, or after LINGER_S."""
        if not self.is_closing():
            self._say_goodbye(ErrorCodes.NO_ERROR)
            self.flush()
            self._timer.cancel()
            self._timer = self._loop.call_later(LINGER_S, self._socket.abort)
        super().close()

    def abort(self) -> None:
        """Close now, whatever is unwritten."""
        self._socket.abort()

    def lost(self) -> None:
        """Let go of what was kept for the peer: the socket is closed."""
        self._timer.cancel()
        if self._stuck is not None:
            self._stuck.cancel()
        self.share.close()
