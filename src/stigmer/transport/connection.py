"""One client's connection, from the inside: its writes, its silence, its end, and the events that its bytes make.

`listener` makes both objects for each client; `http2` has the stream of a call.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from grpclib import protocol
from grpclib.config import Configuration
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError
from hyperframe.frame import GoAwayFrame

from stigmer.transport.http2 import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from h2.events import DataReceived, Event, RequestReceived, StreamReset, WindowUpdated

    from stigmer.transport.h2tuning import Limits, TunedConnection

log = logging.getLogger(__name__)

_NO_KEEPALIVE = Configuration(_keepalive_time=None).__for_server__()  # grpclib pings on schedule, we after silence

FLUSH_BYTES = 64 * 1024  # as much as asyncio lets wait in a transport before it asks writers to pause
BACKLOG_BYTES = 64 * 1024 * 1024  # a peer that makes us answer and does not read the answers is dropped at this
RESETS_PER_STREAM = 4  # a peer may cancel so many times `max_streams` calls within RESET_WINDOW_S
RESET_WINDOW_S = 10.0
LINGER_S = 5.0  # how long a closing connection may take to write its last bytes


def printed(address: object) -> str:
    """A socket's address as people write it: `host:port`, `[host]:port` for IPv6, the path of a UNIX socket."""
    if not isinstance(address, tuple):
        return str(address or "")
    host, port = cast("tuple[str, int]", address[:2])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Connection(protocol.Connection):
    """One client: writes joined into one per turn of the loop, a watch on its silence, an end in bounded time."""

    _connection: TunedConnection

    def __init__(self, connection: TunedConnection, transport: asyncio.Transport, limits: Limits) -> None:
        super().__init__(connection, transport, config=_NO_KEEPALIVE)
        self.limits = limits
        self.starved: set[Stream] = set()  # calls that wait for the peer's window
        self._loop = asyncio.get_running_loop()
        self._socket = transport  # grpclib forgets its own reference on close; aborting needs one
        self._unflushed_bytes = 0
        self._flush_handle: asyncio.Handle | None = None
        self._heard_at = self._loop.time()
        self._asked_at: float | None = None
        self._timer = self._loop.call_later(limits.keepalive_s, self._watch)

    def create_stream(self, *, stream_id: int | None = None, wrapper: Any = None) -> Stream:  # noqa: ANN401  # grpclib's signature
        """Make the call's stream, of our class."""
        return Stream(self, self._connection, self._transport, stream_id=stream_id, wrapper=wrapper)

    @property
    def peer(self) -> str:
        """Who is at the other end."""
        return printed(self._socket.get_extra_info("peername"))

    async def writable(self) -> None:
        """Wait while the peer does not read."""
        while not self.write_ready.is_set():  # again after each wait: those woken before may have filled the buffer
            await self.write_ready.wait()

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

    def ack(self, stream_id: int, size: int) -> None:
        """Give `size` bytes of window back to the peer."""
        if size and not self._socket.is_closing():
            self._connection.acknowledge_received_data(size, stream_id)
            self.flush_soon()

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
        silence_s = self._loop.time() - self._heard_at
        if self._asked_at is not None and self._heard_at < self._asked_at:
            log.debug("peer %s gave no sign of life: dropped", self._socket.get_extra_info("peername"))
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
        """Forget the timers: the socket is closed."""
        self._timer.cancel()


class EventsProcessor(protocol.EventsProcessor):
    """h2's events, handed to the calls they concern; unknown ones are ignored (RFC 9113, 5.5)."""

    connection: Connection

    def __init__(self, handler: protocol.AbstractHandler, connection: Connection) -> None:
        super().__init__(handler, connection)
        self._resets = 0
        self._resets_since = 0.0

    def process(self, event: Event) -> None:
        """Act on one event."""
        try:
            super().process(event)
        except NotImplementedError:
            log.debug("ignored: %r", event)

    def register(self, stream: protocol.Stream) -> Callable[[], None]:
        """Note a running call; what is returned ends it, once, however often it is called."""
        release, stream_id = super().register(stream), cast("int", stream.id)

        def release_once() -> None:
            if stream_id in self.streams:
                release()
                self.connection.forget(stream_id)

        return release_once

    def process_request_received(self, event: RequestReceived) -> None:
        """Start a call, or turn it away where the connection has too many."""
        if len(self.streams) >= self.connection.limits.max_streams:
            self.connection.refuse(event.stream_id)
        else:
            super().process_request_received(event)

    def process_data_received(self, event: DataReceived) -> None:
        """Buffer a call's bytes; an empty frame is none (grpclib would take it for the end of the stream)."""
        if event.flow_controlled_length:
            super().process_data_received(event)

    def process_window_updated(self, event: WindowUpdated) -> None:
        """Wake the calls that wait for the window (grpclib would walk over all calls at each update)."""
        if event.stream_id:
            super().process_window_updated(event)
        else:
            for stream in self.connection.starved:
                stream.window_updated.set()

    def process_stream_reset(self, event: StreamReset) -> None:
        """Cancel a call.

        Raises:
            DenialOfServiceError: the peer opens and cancels calls all the time (CVE-2023-44487).
        """
        super().process_stream_reset(event)
        now = asyncio.get_running_loop().time()
        if now - self._resets_since > RESET_WINDOW_S:
            self._resets, self._resets_since = 0, now
        self._resets += 1
        if self._resets > RESETS_PER_STREAM * self.connection.limits.max_streams:
            raise DenialOfServiceError(f"{self._resets} calls cancelled within {RESET_WINDOW_S} s")
