"""What the frames of one connection come to: h2's events, and the calls that they begin, feed and end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from h2 import events
from h2.exceptions import DenialOfServiceError
from h2.settings import SettingCodes

from stigmer.access.credentials import NOBODY, Credentials
from stigmer.errors import Cancelled, StigmerError, Unauthenticated, Unavailable
from stigmer.server.headers import CALLER_GONE, Refusal, admitted, note, refusal_of, stopping, unknown
from stigmer.server.health import NAME as HEALTH
from stigmer.server.refusals import Refusals
from stigmer.server.stream import Served, Stream
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from grpclib.encoding.base import CodecBase

    from stigmer.access.credentials import Identity
    from stigmer.access.gate import Gate
    from stigmer.server.admission import AdmissionQueue
    from stigmer.server.connection import Connection
    from stigmer.server.headers import Admitted, Headers

T = TypeVar("T")

log = get_logger("stigmer.server.dispatch")

ENDS_AT_ONCE = 16  # calls of a client that is gone: each leaves a line in the log, and cleans up in the next turn
RESETS_PER_STREAM = 4  # a peer may cancel so many times `max_streams` calls within RESET_WINDOW_S
RESET_WINDOW_S = 10.0
CHECK_S = 0.00015  # what it costs the loop to check credentials that are not known, roughly
OPEN = f"/{HEALTH}/"  # who asks for the server's health needs no credentials


class Service(NamedTuple):
    """What all connections of a server serve.

    Attributes:
        methods: by path.
        codec: how their messages become bytes.
        gate: knows who calls.
        refused: told of each call that ends here, before any service saw it: code, path, the peer's address.
    """

    methods: Mapping[str, Served]
    codec: CodecBase
    gate: Gate
    refused: Callable[[str, str, str], None]


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
        self._context = copy_context()  # that of the connection: events and turns may come in that of any call
        self.streams: dict[int, Stream] = {}
        self.closing = False
        self._refusals = Refusals(connection, service.refused)
        self._resets = 0
        self._resets_since = 0.0

    def __repr__(self) -> str:
        return f"<Dispatcher {len(self.streams)} calls, {self._refusals!r}, {self.queue!r}>"

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
        if len(self.streams) + len(self._refusals) >= self._connection.limits.max_streams:
            self._connection.refuse(number)
            return
        verdict = stopping() if self.closing else admitted(headers)
        if isinstance(verdict, Refusal):
            self._refusals.refuse(number, dict(headers).get(":path", ""), verdict)
            return
        credentials = Credentials(verdict.metadata, self._connection.client)
        identity = NOBODY if verdict.path.startswith(OPEN) else self._service.gate.known(credentials)
        if identity is None and self._refusals.take_half:
            self._connection.refuse(number)
        elif identity is None:
            self._check(self._stream(number, verdict), credentials)
        elif verdict.path not in self._service.methods:
            self._refusals.refuse(number, verdict.path, unknown(verdict.path))
        else:
            self._admit(self._stream(number, verdict), identity)

    def _stream(self, number: int, admitted: Admitted) -> Stream:
        method = self._service.methods.get(admitted.path, _UNKNOWN)
        stream = self.streams[number] = Stream(self._connection, number, admitted, method, self._service.codec)
        return stream

    def _admit(self, stream: Stream, identity: Identity) -> None:
        stream.identity = identity
        self.queue.identify(identity.principal.name)
        self._called()
        self.queue.add(stream)

    # Whose they are.

    def _check(self, stream: Stream, credentials: Credentials) -> None:
        """Ask who calls; what comes of the request meanwhile is counted as that of any call that has not started."""
        self.queue.charge(CHECK_S)
        stream.task = self._task(self._service.gate.authenticate(credentials))
        stream.task.add_done_callback(partial(self._checked, stream))

    def _checked(self, stream: Stream, check: asyncio.Task[Identity]) -> None:
        if self.streams.get(stream.number) is not stream:  # it was turned away meanwhile
            return
        stream.task = None
        if self.closing or check.cancelled():
            self._over(stream)
            return
        error = check.exception()
        if isinstance(error, StigmerError):
            failed = isinstance(error, Unauthenticated)
            delay_s = self._service.gate.failures.delay_s(self._connection.client) if failed else 0.0
            self._turn_away(stream, refusal_of(error), delay_s)
        elif error is not None:  # ours; its text may hold the credential
            log.error("Credentials could not be checked", error=type(error).__name__)
            self._turn_away(stream, refusal_of(Unavailable("who calls cannot be told: see the server's log")))
        elif stream.path not in self._service.methods:
            self._turn_away(stream, unknown(stream.path))
        else:
            self._admit(stream, check.result())

    def _turn_away(self, stream: Stream, refusal: Refusal, delay_s: float = 0.0) -> None:
        """Refuse a call whose credentials were checked; nothing of its request is kept from now on."""
        del self.streams[stream.number]
        if stream.task is not None:
            stream.task.cancel()
        stream.close()
        self._refusals.refuse(stream.number, stream.path, refusal, delay_s)

    def start(self, stream: Stream) -> None:
        """Run a call's handler."""
        method = self._service.methods[stream.path]
        stream.task = self._task(self.queue.paced(partial(_run, stream, method)))
        stream.task.add_done_callback(partial(self._over, stream))

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task in a context of its own: what is current in one call is current in no other."""
        return self._loop.create_task(work, context=self._context.copy())

    def _over(self, stream: Stream, _task: asyncio.Task[None] | None = None) -> None:
        if not stream.began:  # its caller went away before its handler had a turn, which would have logged it
            note(stream.path, CALLER_GONE, stream.peer)
            self._service.refused(CALLER_GONE.status.name, stream.path, self._connection.client.address)
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
        self._refusals.reset(number)
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

    def running(self) -> list[asyncio.Task[Any]]:
        """The tasks of the calls that are not over."""
        return [stream.task for stream in self.streams.values() if stream.task is not None and not stream.task.done()]

    def drain(self) -> None:
        """The server stops: calls that wait for their start, or are being checked, hear so; refusals go out at once."""
        self._refusals.hold_back = False
        for stream in [stream for stream in self.streams.values() if stream.identity is None]:
            self._turn_away(stream, stopping())
        self._refusals.answer_all()
        self.queue.start_all()

    def close(self) -> None:
        """Cancel every call, once: a second time would break into their cleaning up."""
        if not self.closing:
            self.closing = True
            self._refusals.clear()
            for stream in self.queue.clear():
                self._over(stream)
            for task in self.running():
                task.cancel()

    def abandon(self) -> None:
        """Cancel every call, some in each turn of the loop: the client of a thousand calls is gone, others are not."""
        if not self.closing:
            self.closing = True
            self._refusals.clear()
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


async def _never(_stream: object) -> None:
    """Serves nothing."""


_UNKNOWN = Served(_never, Cardinality.UNARY_UNARY, bytes, bytes)
"""In place of a method that is not served, while it is asked who calls it: others are not told so."""


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
