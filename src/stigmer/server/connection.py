"""One client's connection, from the inside: its writes, its windows, its silence, its end.

`protocol` makes one for each client; a call's `stream` sends by it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError
from hyperframe.frame import GoAwayFrame

from stigmer.access.peers import peer_of
from stigmer.address import sockaddr_text
from stigmer.errors import Cancelled
from stigmer.server.outbound import Outbound
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from h2.events import Event

    from stigmer.server.memory import ConnectionMemory
    from stigmer.server.tuned_h2 import TunedConnection

log = get_logger("stigmer.server.connection")

BACKLOG_BYTES = 1024 * 1024  # a peer that makes us answer and does not read the answers is dropped at this
LINGER_S = 5.0  # how long a closing connection may take to write its last bytes


class Connection:
    """One client: h2's side of it and the socket, a watch on its silence, an end in bounded time.

    Attributes:
        h2: frames and windows; what it has to send, it writes by itself.
        client: who is at the other end, as credentials are checked with it.
        memory: what the server holds for the client.
        outbound: the replies that wait for its windows.
        write_ready: set while the socket takes more.
    """

    def __init__(self, h2: TunedConnection, socket: asyncio.Transport, memory: ConnectionMemory) -> None:
        self.h2, self._socket, self.memory = h2, socket, memory
        self.limits = memory.limits
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.write_ready = asyncio.Event()
        self.write_ready.set()
        self.outbound = Outbound(h2, memory, self.write_ready)
        self._unreturned = 0  # bytes of the connection's window that are to be given back
        self._heard_at = self._loop.time()
        self._asked_at: float | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._timer = self._loop.call_later(self.limits.keepalive_s, self._watch)
        self.client = peer_of(socket)
        h2.attach(socket)

    def __repr__(self) -> str:
        return f"<Connection of {self.peer}, {self.memory!r}>"

    @property
    def peer(self) -> str:
        """Who is at the other end."""
        return sockaddr_text(self._socket.get_extra_info("peername"))

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is read or sent."""
        return self._socket.is_closing()

    # What goes out.

    async def writable(self) -> None:
        """Wait while the peer does not read."""
        while not self.write_ready.is_set():  # again after each wait: those woken before may have filled the buffer
            await self.write_ready.wait()

    def send_headers(self, stream_id: int, fields: Sequence[tuple[str, str]], *, end_stream: bool) -> None:
        """Send headers or trailers, whether or not the peer reads.

        Raises:
            Cancelled: the stream is closed.
        """
        if self.is_closing or not self.h2.is_open(stream_id):
            raise Cancelled("the caller went away")
        self.h2.send_headers(stream_id, fields, end_stream=end_stream)

    def pause_writing(self) -> None:
        """The socket is full: the peer has `reply_timeout_s` to read some of it."""
        self.write_ready.clear()
        self._watch_socket(self._socket.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self.write_ready.set()
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

    # What comes in.

    def feed(self, data: bytes) -> list[Event]:
        """Hand whole frames to h2.

        Raises:
            DenialOfServiceError: the peer sends what must be answered and never reads the answers.
            Exception: h2, hpack and hyperframe let more out than their own errors.
        """
        self._heard_at = self._loop.time()
        if self._socket.get_write_buffer_size() > BACKLOG_BYTES:
            raise DenialOfServiceError("the peer does not read its answers")
        return self.h2.receive_data(data)

    def received(self, size: int) -> None:
        """Bytes of some call came: the connection's window is for the loop's sake, so they are given back at once."""
        self._unreturned += size
        if self._unreturned >= self.limits.connection_window_bytes // 2 and not self.is_closing:
            self.h2.increment_flow_control_window(self._unreturned)
            self._unreturned = 0

    def open_window(self, stream_id: int, size: int) -> None:
        """Let the peer send `size` bytes more of a call."""
        stream = self.h2.streams.get(stream_id)
        if stream is not None and stream.open and not self.is_closing:
            self.h2.increment_flow_control_window(size, stream_id)

    def _watch(self) -> None:
        """Ask a silent peer for a sign of life; drop one that was asked and gave none."""
        if self.memory.read_since is None or self.memory.read_since > self._heard_at:
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
            self.h2.ping(b"stigmer?")
            self._timer = self._loop.call_later(self.limits.keepalive_timeout_s, self._watch)

    # Ends.

    def refuse(self, stream_id: int) -> None:
        """Turn one call away unprocessed; clients repeat such a call by themselves."""
        self.h2.reset_stream(stream_id, error_code=ErrorCodes.REFUSED_STREAM)
        self.h2.forget(stream_id)

    def forget(self, stream_id: int) -> None:
        """Drop what is kept of a call that is over."""
        if not self.is_closing:
            self.h2.forget(stream_id)

    def go_away(self) -> None:
        """Ask the peer to open no more calls here, and let those that are open go on (RFC 9113, 6.8)."""
        self.h2.flush()
        if not self.is_closing:
            # Not through h2: it would refuse every frame after a GOAWAY of its own.
            frame = GoAwayFrame(0, last_stream_id=2**31 - 1, error_code=int(ErrorCodes.NO_ERROR))
            self._socket.write(frame.serialize())

    def close(self, error_code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Close when the last bytes are written, or after LINGER_S.

        The last call that was looked at is named, so that the client may repeat later ones elsewhere.
        """
        if self.is_closing:
            return
        if self.h2.state_machine.state is not ConnectionState.CLOSED:
            self.h2.close_connection(error_code=error_code)
        self.h2.flush()
        self._timer.cancel()
        self._timer = self._loop.call_later(LINGER_S, self._socket.abort)
        self._socket.close()

    def abort(self) -> None:
        """Close now, whatever is unwritten."""
        self._socket.abort()

    def lost(self) -> None:
        """Let go of what was kept for the peer: the socket is closed."""
        self.write_ready.set()  # who waits learns that the caller is gone
        self._timer.cancel()
        if self._stuck is not None:
            self._stuck.cancel()
        self.memory.close()
        self.h2.detach()
