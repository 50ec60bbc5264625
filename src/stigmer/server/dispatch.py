"""What the frames of one connection come to: h2's events, and the calls that they begin, feed and end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from h2 import events
from h2.exceptions import DenialOfServiceError
from h2.settings import SettingCodes

from stigmer.errors import Cancelled
from stigmer.server.headers import CALLER_GONE, Refusal, admitted, note, reply_fields, status_fields, stopping
from stigmer.server.stream import Served, Stream
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grpclib.encoding.base import CodecBase

    from stigmer.server.admission import AdmissionQueue
    from stigmer.server.connection import Connection
    from stigmer.server.headers import Headers

log = get_logger("stigmer.server.dispatch")

ENDS_AT_ONCE = 16  # calls of a client that is gone: each leaves a line in the log, and cleans up in the next turn
RESETS_PER_STREAM = 4  # a peer may cancel so many times `max_streams` calls within RESET_WINDOW_S
RESET_WINDOW_S = 10.0


class Service(NamedTuple):
    """What all connections of a server serve.

    Attributes:
        methods: by path.
        codec: how their messages become bytes.
        refused: told the code of each call that ends here, before any service saw it.
    """

    methods: Mapping[str, Served]
    codec: CodecBase
    refused: Callable[[str], None]


class Dispatcher:
    """The calls of one connection.

    Args:
        service: what is served.
        connection: what the calls come by.
        called: told of each call that is not turned away.

    Attributes:
        streams: the calls that are not over, by the number of their stream.
        queue: those of them that have not started; set by who makes the dispatcher.
        closing: whether every new call is refused.
    """

    queue: AdmissionQueue

    def __init__(self, service: Service, connection: Connection, called: Callable[[], None]) -> None:
        self._service, self._connection, self._called = service, connection, called
        self._loop = asyncio.get_running_loop()
        self.streams: dict[int, Stream] = {}
        self.closing = False
        self._resets = 0
        self._resets_since = 0.0

    def __repr__(self) -> str:
        return f"<Dispatcher {len(self.streams)} calls, {self.queue!r}>"

    def process(self, event: events.Event) -> None:
        """Act on one event; unknown ones are ignored (RFC 9113, 5.5).

        Raises:
            DenialOfServiceError: the peer opens and cancels calls all the time (CVE-2023-44487).
        """
        match event:
            case events.RequestReceived():
                self._request_received(event.stream_id, cast("Headers", event.headers))  # CONFIGURATION decodes them
            case events.DataReceived():
                self._data_received(event)
            case events.StreamEnded():
                if (stream := self.streams.get(event.stream_id)) is not None:
                    stream.inbound.eof()
            case events.StreamReset():
                self._stream_reset(event.stream_id)
            case events.WindowUpdated():
                self._connection.outbound.window_opened(event.stream_id)
            case events.RemoteSettingsChanged():
                if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
                    self._connection.outbound.windows_changed()
            case events.ConnectionTerminated():
                self._connection.close()
                self.abandon()
            case _:
                pass

    # How calls begin.

    def _request_received(self, number: int, headers: Headers) -> None:
        if len(self.streams) >= self._connection.limits.max_streams:
            self._connection.refuse(number)
            return
        methods, codec, _ = self._service
        verdict = stopping() if self.closing else admitted(headers, methods)
        if isinstance(verdict, Refusal):
            self._refuse(number, dict(headers).get(":path", ""), verdict)
            return
        self._called()
        stream = Stream(self._connection, number, verdict, methods[verdict.path], codec)
        self.streams[number] = stream
        self.queue.add(stream)

    def _refuse(self, number: int, path: str, refusal: Refusal) -> None:
        """Answer with a status alone; one who does not read answers is told no more than that the call is over."""
        connection = self._connection
        note(path, refusal, connection.peer)
        self._service.refused(refusal.status.name)
        if not connection.write_ready.is_set():
            connection.refuse(number)
            return
        fields = status_fields(refusal.status, refusal.message, refusal.details)
        with suppress(Cancelled):
            connection.send_headers(
                number, [*reply_fields(http=refusal.http, more=refusal.more), *fields], end_stream=True
            )
        connection.forget(number)

    def start(self, stream: Stream) -> None:
        """Run a call's handler."""
        method = self._service.methods[stream.path]
        stream.task = self._loop.create_task(self.queue.paced(partial(_run, stream, method)))
        stream.task.add_done_callback(partial(self._over, stream))

    def _over(self, stream: Stream, _task: asyncio.Task[None] | None = None) -> None:
        if not stream.began:  # its caller went away before its handler had a turn, which would have logged it
            note(stream.path, CALLER_GONE, stream.peer)
            self._service.refused(CALLER_GONE.status.name)
        del self.streams[stream.number]
        stream.task = None  # its exception has frames that have the stream: nothing waits for the collector
        stream.close()
        self._connection.forget(stream.number)

    # What comes for them.

    def _data_received(self, event: events.DataReceived) -> None:
        """Keep a call's bytes; an empty frame is none."""
        size = event.flow_controlled_length
        if size:
            self._connection.received(size)
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                stream.inbound.add(event.data, size)

    def _stream_reset(self, number: int) -> None:
        self._connection.outbound.closed(number)
        stream = self.streams.get(number)
        if stream is not None:
            if self.queue.remove(stream):
                self._over(stream)
            elif stream.task is not None and not stream.task.cancelling():
                stream.task.cancel()
        now = self._loop.time()
        if now - self._resets_since > RESET_WINDOW_S:
            self._resets, self._resets_since = 0, now
        self._resets += 1
        if self._resets > RESETS_PER_STREAM * self._connection.limits.max_streams:
            raise DenialOfServiceError(f"{self._resets} calls cancelled within {RESET_WINDOW_S} s")

    # How they end.

    def running(self) -> list[asyncio.Task[None]]:
        """The tasks of the calls that are not over."""
        return [stream.task for stream in self.streams.values() if stream.task is not None and not stream.task.done()]

    def close(self) -> None:
        """Cancel every call, once: a second time would break into their cleaning up."""
        if not self.closing:
            self.closing = True
            for stream in self.queue.clear():
                self._over(stream)
            for task in self.running():
                task.cancel()

    def abandon(self) -> None:
        """Cancel every call, some in each turn of the loop: the client of a thousand calls is gone, others are not."""
        if not self.closing:
            self.closing = True
            self.queue.clear()
            self._end_some(list(self.streams.values()))

    def _end_some(self, streams: list[Stream]) -> None:
        for stream in streams[:ENDS_AT_ONCE]:
            if stream.task is not None and not stream.task.cancelling():
                stream.task.cancel()
            elif stream.task is None and self.streams.get(stream.number) is stream:
                self._over(stream)
        if left := streams[ENDS_AT_ONCE:]:
            self._loop.call_soon(self._end_some, left)


async def _run(stream: Stream, method: Served) -> None:
    """Run the handler of a call, and send its status."""
    stream.began = True
    with suppress(Cancelled):
        try:
            await method.func(stream)
            await stream.finish()
        except GRPCError as error:
            await stream.end(error.status, error.message, error.details)
        except Cancelled:
            raise
        except Exception:
            log.exception("A handler failed, not as it should", method=stream.path)
            await stream.end(Status.UNKNOWN, "Internal Server Error")
