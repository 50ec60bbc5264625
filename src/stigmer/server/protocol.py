"""One client of the server: its bytes come in here, whole frames go on to h2, and what they come to to `dispatch`.

`server` makes one for each connection.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError

from stigmer.access.peers import origin_of
from stigmer.server.admission import AdmissionQueue
from stigmer.server.connection import Connection
from stigmer.server.dispatch import Dispatcher, Service
from stigmer.server.frames import FrameReader
from stigmer.server.memory import ConnectionMemory, MemoryBudget
from stigmer.server.scheduler import Scheduler
from stigmer.server.tuned_h2 import CONFIGURATION, new_connection
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from h2.events import Event

    from stigmer.server.acceptor import Accepted
    from stigmer.server.limits import Limits

log = get_logger("stigmer.server.protocol")

READ_BYTES = 64 * 1024  # as much as is read of one client at once
PIECE_BYTES, PIECE_FRAMES = 32 * 1024, 8  # of what a client sent, acted on at once
FRAME_BYTE_S = 1e-6  # what a byte of small frames costs the loop, until that is known


@dataclass(slots=True)
class Shared:
    """What all connections of a server have in common.

    Attributes:
        service: what is served.
        limits: what clients may ask.
        budget: what is held for all of them.
        scheduler: whose bytes and calls are next.
        read_into: where bytes are read to; each client takes its own out at once.
        live: the connections that are open.
        draining: whether new ones are closed: they were in their TLS handshake.
    """

    service: Service
    limits: Limits
    budget: MemoryBudget
    scheduler: Scheduler = field(default_factory=Scheduler)
    read_into: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_BYTES)))
    live: set[Http2Protocol] = field(default_factory=set)
    draining: bool = False


class Http2Protocol(asyncio.BufferedProtocol):
    """One client's connection, from its first byte to its end.

    Attributes:
        connection: there once it is open.
        dispatcher: its calls.
        closed: done when it is over.
    """

    connection: Connection
    dispatcher: Dispatcher

    def __init__(self, shared: Shared, accepted: Accepted) -> None:
        self._shared, self._accepted = shared, accepted
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listening = True
        self._waits = False
        self._byte_s = FRAME_BYTE_S
        self._counted = 0  # bytes that wait for their turn, as they are counted in the budget

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our settings."""
        shared = self._shared
        self._socket = cast("asyncio.Transport", transport)
        h2 = new_connection(CONFIGURATION, shared.limits)
        self.connection = Connection(h2, self._socket, ConnectionMemory(shared.budget, self._listen))
        self._account = shared.scheduler.account(origin_of(self.connection.client))
        self.dispatcher = dispatcher = Dispatcher(shared.service, self.connection, self._accepted.called)
        dispatcher.queue = AdmissionQueue(
            shared.scheduler, self._account, shared.limits.request_timeout_s, dispatcher.start
        )
        self._frames = FrameReader(h2, self.connection.now())
        shared.live.add(self)
        self._accepted.opened(self.connection.close)
        if shared.draining:
            self.connection.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's signature
        """Where the next bytes go: what is read at once is bounded, and needs no memory of its own."""
        return self._shared.read_into

    def buffer_updated(self, nbytes: int) -> None:
        """Act on what the client sent, now or when its turn comes; until then it is not read."""
        self._frames.add(self._shared.read_into[:nbytes])
        if not self._waits:
            self._shared.scheduler.ready(self._account, self)
            if self in self._account.works:
                self._wait(waits=True)

    @property
    def left_s(self) -> float:
        """What the bytes that wait will cost."""
        return self._byte_s * len(self._frames)

    def work(self) -> bool:
        """Act on the next frames; whether there are more."""
        before, began = len(self._frames), time.perf_counter()
        more = self._act()
        if acted := before - len(self._frames):
            self._byte_s += ((time.perf_counter() - began) / acted - self._byte_s) / 8
        if not more:
            self._wait(waits=False)
        return more

    def _act(self) -> bool:
        connection = self.connection
        if connection.is_closing:
            self._frames.clear()
            return False
        try:
            for event in connection.feed(self._frames.take(PIECE_FRAMES, PIECE_BYTES, connection.now())):
                self._process(event)
            return self._frames.whole() and not connection.is_closing
        except Exception as error:  # h2, hpack and hyperframe let more out than their own errors
            log.debug("A connection ended", error=repr(error), exc_info=True)
            connection.close(getattr(error, "error_code", ErrorCodes.INTERNAL_ERROR))
            self.dispatcher.abandon()
            return False

    def _process(self, event: Event) -> None:
        try:
            self.dispatcher.process(event)
        except DenialOfServiceError:
            raise
        except Exception:  # ours, not the client's
            log.exception("A frame could not be acted on", peer=self.connection.peer)
            raise

    def _wait(self, *, waits: bool) -> None:
        """Bytes of this client wait for their turn, or do not any more; meanwhile it is not read."""
        if waits is not self._waits:
            self._waits = waits
            memory = self.connection.memory
            if waits:
                self._counted = len(self._frames)
                memory.hold(self._counted)
            else:
                memory.release(self._counted)
            self._listen()

    def _listen(self) -> None:
        """Read on, or leave what comes in the kernel: while bytes wait, or too much is held for the client."""
        listen = not self._waits and self.connection.memory.read_since is not None
        if listen == self._listening or self.connection.is_closing:
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
        self.dispatcher.abandon()
        del self.dispatcher.queue  # no cycle: nothing waits for the collector
        self._shared.live.discard(self)
        self._accepted.left()
        self.closed.set_result(None)
