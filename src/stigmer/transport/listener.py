"""The listening side of the transport: takes connections, admits calls, drains.

`server.Server` is its only caller; `connection` has what is inside a client's connection, `refusal` why calls are
turned away, `calls` what the drain ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from grpclib import protocol, server
from grpclib.metadata import encode_bin_value, encode_grpc_message

from stigmer.errors import Cancelled
from stigmer.transport.connection import Connection, EventsProcessor
from stigmer.transport.h2tuning import Limits, new_connection
from stigmer.transport.refusal import Admitted, Refusal, admitted, note, stopping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from grpclib._typing import IServable
    from grpclib.config import Configuration
    from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase
    from h2.config import H2Configuration

    from stigmer.transport.calls import Calls
    from stigmer.transport.http2 import Headers, Stream

log = logging.getLogger(__name__)

SHARE_BYTES = 32 * 1024  # of what a client sent, acted on in one turn of the loop; 9 bytes can be a frame
CANCEL_S = 2.0  # how long ended calls may take to clean up and to tell their callers
CLOSE_S = 1.0  # how long a client may take to read the last bytes
RESERVE_S = 2.0  # of the grace, or a quarter of it where that is less: for all that is to do when calls got theirs
MOMENT_S = 0.05  # what each of these things gets where no time is left: enough for some turns of the loop


class Handler(server.Handler):
    """Admits the calls of one connection; grpclib's request handler runs them."""

    def accept(self, stream: protocol.Stream, headers: Headers, release_stream: Callable[[], Any]) -> None:
        """Start the call's task."""
        ours = cast("Stream", stream)
        verdict = stopping() if self.closing else admitted(headers, self.mapping)
        if isinstance(verdict, Admitted):
            ours.deadline = verdict.deadline
            super().accept(stream, verdict.headers, release_stream)
        else:
            note(headers, verdict, ours.connection.peer)
            self._tasks[stream] = self.loop.create_task(self._refuse(stream, verdict, release_stream))
        self._tasks[stream].add_done_callback(partial(self._over, stream, release_stream))

    def _over(self, stream: protocol.Stream, release_stream: Callable[[], Any], task: asyncio.Task[None]) -> None:
        """Drop the task of a call; its stream as well: a task cancelled before it first runs does not do it itself."""
        self._tasks.pop(stream, None)
        self._cancelled.discard(task)
        release_stream()

    def __gc_step__(self) -> None:
        """Look for no tasks that are over: none is kept. grpclib looks through all of them at each tenth call."""

    async def _refuse(self, stream: protocol.Stream, refusal: Refusal, release_stream: Callable[[], Any]) -> None:
        """Answer with a status alone."""
        headers = [
            (":status", refusal.http),
            *refusal.more,
            ("content-type", "application/grpc+proto"),
            ("grpc-status", str(refusal.status.value)),
            ("grpc-message", encode_grpc_message(refusal.message)),
        ]
        if refusal.details and self.status_details_codec is not None:
            details = self.status_details_codec.encode(refusal.status, refusal.message, refusal.details)
            headers.append(("grpc-status-details-bin", encode_bin_value(details).decode("ascii")))
        try:
            with contextlib.suppress(Cancelled):
                await stream.send_headers(headers, end_stream=True)
                if stream.closable:
                    stream.reset_nowait()
        finally:
            release_stream()

    def cancel(self, stream: protocol.Stream) -> None:
        """Cancel a call whose caller went away; nothing where it is over."""
        if stream in self._tasks:
            super().cancel(stream)

    def close(self) -> None:
        """Cancel every call, once: a second time would break into their cleaning up."""
        if not self.closing:
            super().close()

    def running(self) -> list[asyncio.Task[None]]:
        """The tasks of calls that are not over."""
        return [task for task in {*self._tasks.values(), *self._cancelled} if not task.done()]


class Protocol(protocol.H2Protocol):
    """One client's connection, from its first byte to its end."""

    connection: Connection
    processor: EventsProcessor
    handler: Handler

    def __init__(self, handler: Handler, listener: Listener, config: Configuration, h2_config: H2Configuration) -> None:
        super().__init__(handler, config, h2_config)
        self._listener = listener
        self._unread = bytearray()
        self._listening = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our settings."""
        self._socket = cast("asyncio.Transport", transport)
        limits = self._listener.limits
        h2_connection = new_connection(self.h2_config, limits)
        # grpclib declares its own classes for these two and sets them nowhere else.
        self.connection = Connection(h2_connection, cast("asyncio.Transport", transport), limits)  # pyright: ignore[reportIncompatibleVariableOverride]
        self.processor = EventsProcessor(self.handler, self.connection)  # pyright: ignore[reportIncompatibleVariableOverride]
        self._listener.joined(self)
        self.connection.flush()

    def data_received(self, data: bytes) -> None:
        """Act on what the client sent, a share now and the rest in later turns of the loop: other clients wait too."""
        waiting = bool(self._unread)
        self._unread += data
        if not waiting:
            self._act()

    def _act(self) -> None:
        share = bytes(self._unread[:SHARE_BYTES])
        del self._unread[:SHARE_BYTES]
        if self.connection.is_closing():
            self._unread.clear()
            return
        self._feed(share)
        if self._unread:
            asyncio.get_running_loop().call_soon(self._act)
        self._listen(listen=not self._unread)

    def _listen(self, *, listen: bool) -> None:
        """Read on, or leave what comes in the kernel."""
        if listen == self._listening or self.connection.is_closing():
            return
        self._listening = listen
        if listen:
            self._socket.resume_reading()
        else:
            self._socket.pause_reading()

    def _feed(self, data: bytes) -> None:
        """Act on some bytes; whatever is wrong with them ends this connection and nothing else."""
        try:
            self.connection.heard()
            for event in self.connection.feed(data):
                self.processor.process(event)
        except Exception as error:  # h2, hpack and hyperframe let more out than their own errors
            log.debug("connection ended: %r", error, exc_info=True)
            self.connection.blame(error)
            self.processor.close("Protocol error")
        else:
            self.connection.flush_soon()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the calls of a client that is gone."""
        self.connection.lost()
        super().connection_lost(exc)
        self._listener.left(self)


class Listener(server.Server):
    """grpclib's server with limits, and with an end: see `drain`."""

    def __init__(
        self,
        handlers: Collection[IServable],
        *,
        codec: CodecBase | None = None,
        status_details_codec: StatusDetailsCodecBase | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(handlers, codec=codec, status_details_codec=status_details_codec)
        self.limits = limits or Limits()
        self._h2_config.header_encoding = "latin-1"  # a byte that is not ASCII is one call's mistake: see Handler
        self._live: set[Protocol] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def _protocol_factory(self) -> Protocol:
        self.__gc_step__()
        handler = Handler(self._mapping, self._codec, self._status_details_codec, self.__dispatch__)
        self._handlers.add(handler)
        return Protocol(handler, self, self._config, self._h2_config)

    def joined(self, protocol_: Protocol) -> None:
        """Note a connection; one that comes while the server drains ends at once (it was in its TLS handshake)."""
        self._live.add(protocol_)
        self._empty.clear()
        if not self.sockets:
            protocol_.connection.abort()

    def left(self, protocol_: Protocol) -> None:
        """Note that a connection is closed."""
        self._live.discard(protocol_)
        if not self._live:
            self._empty.set()

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets; none before the start and once the drain has begun."""
        return tuple(cast("asyncio.Server", self._server).sockets) if self._server else ()

    async def drain(self, grace_s: float, calls: Calls | None = None) -> int:
        """Take no new connections or calls, let the running calls end, cut what is left, close every connection.

        All of it takes `grace_s` at most: what is cut and closed at the end has RESERVE_S of it. Cancelled, it ends all
        at once.

        Args:
            grace_s: how long the drain may take.
            calls: drained once every client was told to open no more calls here, and cut at the end.

        Returns:
            How many calls had to be cut.
        """
        by = self._loop.time() + grace_s
        settled_by = by - min(RESERVE_S, grace_s / 4)
        self._stop_listening()
        try:
            for protocol_ in self._live:
                protocol_.connection.go_away()
            ended = calls.drain() if calls is not None else ()
            await self._settle(min(self._loop.time() + CANCEL_S, settled_by))
            await self._settle(settled_by, but=ended)  # these had their time: their callers do not read
            left = len(self._running())
            if calls is not None:
                calls.cut()
                await self._settle(self._part(1 / 4, by, CANCEL_S), but=ended)
            for protocol_ in self._live:
                protocol_.handler.close()
            await self._settle(self._part(1 / 4, by, CANCEL_S))
            await self._hang_up(by)
        except BaseException:
            self.abort()
            raise
        return left

    def abort(self) -> None:
        """End every call and connection at once, with no word to anybody."""
        self._stop_listening()
        for protocol_ in list(self._live):
            protocol_.handler.close()
            protocol_.connection.abort()
        self._abort_handshakes()

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()

    def _part(self, part: float, by: float, most_s: float) -> float:
        """The time at which a part of what is left until `by` is over, `most_s` at most, MOMENT_S at least."""
        now = self._loop.time()
        return now + max(MOMENT_S, min(most_s, part * (by - now)))

    def _running(self) -> list[asyncio.Task[Any]]:
        return [task for protocol_ in self._live for task in protocol_.handler.running()]

    async def _settle(self, by: float, *, but: Collection[asyncio.Task[Any]] = ()) -> None:
        """Wait for the running calls, those included that start meanwhile."""
        while tasks := [task for task in self._running() if task not in but]:
            left_s = by - self._loop.time()
            if left_s <= 0:
                break
            await asyncio.wait(tasks, timeout=left_s)

    async def _hang_up(self, by: float) -> None:
        """Close every connection; those whose client does not read its last bytes are cut."""
        for protocol_ in list(self._live):
            protocol_.connection.close()
        await self._until(self._part(1 / 3, by, CLOSE_S), self._empty.wait())
        for protocol_ in list(self._live):
            protocol_.connection.abort()
        await self._until(self._part(1 / 3, by, CLOSE_S), self._empty.wait())
        if self._server is not None:
            self._abort_handshakes()
            await self._until(self._part(1 / 2, by, CLOSE_S), self._server.wait_closed())

    def _abort_handshakes(self) -> None:
        abort_clients = getattr(self._server, "abort_clients", None)  # Python 3.13
        if abort_clients is not None:
            abort_clients()

    async def _until(self, by: float, awaitable: Awaitable[object]) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(awaitable, by - self._loop.time())
