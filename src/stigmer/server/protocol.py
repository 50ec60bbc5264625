"""One client of the server: its bytes come in here, and its calls start here.

`listener` makes both objects for each connection; `frames` cuts the bytes, `events` says what they come to.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from grpclib import protocol, server
from grpclib.metadata import encode_bin_value, encode_grpc_message
from h2.errors import ErrorCodes

from stigmer.errors import Cancelled
from stigmer.server.connection import Connection
from stigmer.server.events import EventsProcessor
from stigmer.server.frames import Frames
from stigmer.server.lineup import Waiting
from stigmer.server.refusal import CALLER_GONE, Admitted, Refusal, admitted, note, stopping
from stigmer.server.tuned_h2 import CONFIGURATION, new_connection
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from grpclib import const
    from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase
    from grpclib.events import _DispatchServerEvents  # pyright: ignore[reportPrivateUsage]  # grpclib's handler asks it

    from stigmer.server.acceptor import Guest
    from stigmer.server.lineup import Lineup
    from stigmer.server.listener import Listener
    from stigmer.server.stream import Headers, Stream

log = get_logger("stigmer.server.protocol")

PIECE_BYTES, PIECE_FRAMES = 32 * 1024, 8  # of what a client sent, acted on at once
CANCELS_AT_ONCE = 16  # calls of a client that is gone, which clean up in the next turn


class Handler(server.Handler):
    """Admits the calls of one connection; grpclib's request handler runs them."""

    def __init__(  # noqa: PLR0913, PLR0917  # grpclib's, and two of ours
        self,
        mapping: dict[str, const.Handler],
        codec: CodecBase,
        status_details_codec: StatusDetailsCodecBase,
        dispatch: _DispatchServerEvents,
        lineup: Lineup,
        refused: Callable[[str], None],
    ) -> None:
        super().__init__(mapping, codec, status_details_codec, dispatch)
        self.lineup, self._refused = lineup, refused

    def accept(self, stream: protocol.Stream, headers: Headers, release_stream: Callable[[], Any]) -> None:
        """Have the call start in its turn, or turn it away."""
        ours = cast("Stream", stream)
        verdict = stopping() if self.closing else admitted(headers, self.mapping)
        if isinstance(verdict, Admitted):
            ours.deadline, ours.encoding, ours.accepted = verdict.deadline, verdict.encoding, verdict.accepted
            start = partial(self._start, ours, verdict.headers, release_stream)
            gone = partial(self._gone, ours, headers, release_stream)
            self.lineup.add(ours, Waiting(start, gone, unary=self._is_unary(verdict.headers)))
        else:
            note(headers, verdict, ours.connection.peer)
            self._refused(verdict.status.name)
            self._refuse(ours, verdict)
            release_stream()

    def _gone(self, stream: Stream, headers: Headers, release_stream: Callable[[], Any]) -> None:
        note(headers, CALLER_GONE, stream.connection.peer)
        release_stream()

    def _is_unary(self, headers: Headers) -> bool:
        handler = cast("Any", self.mapping[dict(headers)[":path"]])  # a named tuple without types
        return not handler.cardinality.server_streaming

    def _start(self, stream: Stream, headers: Headers, release_stream: Callable[[], Any]) -> None:
        super().accept(stream, headers, release_stream)
        self._tasks[stream].add_done_callback(partial(self._over, stream, release_stream))

    def _over(self, stream: protocol.Stream, release_stream: Callable[[], Any], task: asyncio.Task[None]) -> None:
        """Drop the task of a call; its stream as well: a task cancelled before it first runs does not do it itself."""
        self._tasks.pop(stream, None)
        self._cancelled.discard(task)
        release_stream()

    def __gc_step__(self) -> None:
        """Look for no tasks that are over: none is kept. grpclib looks through all of them at each tenth call."""

    def _refuse(self, stream: Stream, refusal: Refusal) -> None:
        """Answer with a status alone; one who does not read answers is told no more than that the call is over."""
        if not stream.connection.write_ready.is_set():
            stream.reset_nowait(ErrorCodes.REFUSED_STREAM)
            return
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
        with contextlib.suppress(Cancelled):
            stream.write_headers(headers, end_stream=True)
            if stream.closable:
                stream.reset_nowait()

    def cancel(self, stream: protocol.Stream) -> None:
        """Cancel a call whose caller went away; nothing where it is over."""
        if not self.lineup.remove(cast("Stream", stream)) and stream in self._tasks:
            super().cancel(stream)

    def close(self) -> None:
        """Cancel every call, once: a second time would break into their cleaning up."""
        if not self.closing:
            self.lineup.close()
            super().close()

    def abandon(self) -> None:
        """Cancel every call, some in each turn of the loop: the client of a thousand calls is gone, others are not."""
        if not self.closing:
            self.closing = True
            self.lineup.close()
            self._cancel_some(list(self._tasks.values()))

    def _cancel_some(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks[:CANCELS_AT_ONCE]:
            if not task.done() and not task.cancelling():
                task.cancel()
                self._cancelled.add(task)
        if left := tasks[CANCELS_AT_ONCE:]:
            self.loop.call_soon(self._cancel_some, left)

    def running(self) -> list[asyncio.Task[None]]:
        """The tasks of calls that are not over."""
        return [task for task in {*self._tasks.values(), *self._cancelled} if not task.done()]


class Protocol(asyncio.BufferedProtocol):
    """One client's connection, from its first byte to its end."""

    connection: Connection
    processor: EventsProcessor

    def __init__(self, handler: Handler, listener: Listener, guest: Guest) -> None:
        self.handler = handler
        self._listener = listener
        self._guest = guest
        self._account = handler.lineup.account
        self._listening = True
        self._waits = False
        self._counted = 0  # bytes that wait for their turn, as they are counted in the budget

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our settings."""
        self._socket = cast("asyncio.Transport", transport)
        h2_connection = new_connection(CONFIGURATION, self._listener.limits)
        self.connection = Connection(h2_connection, self._socket, self._listener.budget, self._read)
        self.processor = EventsProcessor(self.handler, self.connection)
        self._frames = Frames(h2_connection, self.connection.now())
        self._guest.protocol = self
        self._listener.joined(self)
        self.connection.flush()
        if self._guest.sent_away:
            self.connection.close()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's signature
        """Where the next bytes go: what is read at once is bounded, and needs no memory of its own."""
        return self._listener.read_into

    def buffer_updated(self, nbytes: int) -> None:
        """Act on what the client sent, now or when its turn comes; until then it is not read."""
        self._frames.add(self._listener.read_into[:nbytes])
        if not self._waits:
            self._listener.scheduler.ready(self._account, self)
            if self in self._account.works:
                self._wait(waits=True)

    def work(self) -> bool:
        """Act on the next frames; whether there are more."""
        more = self._act()
        if not more:
            self._wait(waits=False)
        return more

    def _act(self) -> bool:
        connection = self.connection
        if connection.is_closing():
            self._frames.clear()
            return False
        try:
            connection.heard()
            for event in connection.feed(self._frames.take(PIECE_FRAMES, PIECE_BYTES, connection.now())):
                self.processor.process(event)
            more = self._frames.whole()
        except Exception as error:  # h2, hpack and hyperframe let more out than their own errors
            log.debug("A connection ended", error=repr(error), exc_info=True)
            connection.blame(error)
            self.processor.close("Protocol error")
            return False
        connection.flush_soon()
        return more

    def _wait(self, *, waits: bool) -> None:
        """Bytes of this client wait for their turn, or do not any more; meanwhile it is not read."""
        if waits is not self._waits:
            self._waits = waits
            share = self.connection.share
            if waits:
                self._counted = len(self._frames)
                share.hold(self._counted)
            else:
                share.release(self._counted)
            self._listen()

    def _read(self, read: bool) -> None:  # noqa: FBT001  # see `budget.Budget.share`
        """The server holds too much of this client's, or does not any more."""
        self.connection.read_since = self.connection.now() if read else None
        self._listen()

    def _listen(self) -> None:
        """Read on, or leave what comes in the kernel."""
        listen = not self._waits and self.connection.read_since is not None
        if listen == self._listening or self.connection.is_closing():
            return
        self._listening = listen
        if listen:
            self._socket.resume_reading()
        else:
            self._socket.pause_reading()

    def pause_writing(self) -> None:
        """The socket is full."""
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self.connection.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Cancel the calls of a client that is gone."""
        self.connection.lost()
        self.processor.close("Connection lost")
        self._listener.left(self)
        self._guest.left()
