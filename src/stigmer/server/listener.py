"""The listening side of the transport: takes connections, admits calls, drains.

`server.Server` is its only caller; `protocol` has what is inside a client's connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from typing import Protocol as Interface

from grpclib.events import _DispatchServerEvents  # pyright: ignore[reportPrivateUsage]  # grpclib's handler asks for one

from stigmer.server.acceptor import Acceptor, Guest
from stigmer.server.budget import Budget
from stigmer.server.limits import Limits
from stigmer.server.lineup import Lineup
from stigmer.server.protocol import Handler, Protocol
from stigmer.server.scheduler import Account, Scheduler

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable, Collection

    from grpclib._typing import IServable
    from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase

READ_BYTES = 64 * 1024  # as much as is read of one client at once
CANCEL_S = 2.0  # how long ended calls may take to clean up and to tell their callers
CLOSE_S = 1.0  # how long a client may take to read the last bytes
RESERVE_S = 1.0  # of the grace, or a seventh of it where that is less: for all that is to do when calls got theirs
MOMENT_S = 0.05  # what each of these things gets where no time is left: enough for some turns of the loop


class Calls(Interface):
    """The calls that run, of whoever serves the handlers."""

    def drain(self) -> Collection[asyncio.Task[Any]]:
        """Refuse new ones, and end those that may last or whose request is not there; the tasks of those."""
        ...

    def cut(self) -> None:
        """End those that still run, each once."""
        ...


class Listener:
    """Serves gRPC within limits, and with an end: see `drain`."""

    def __init__(
        self,
        handlers: Collection[IServable],
        *,
        codec: CodecBase,
        status_details_codec: StatusDetailsCodecBase,
        limits: Limits | None = None,
        refused: Callable[[str], None] = lambda _code: None,
    ) -> None:
        self.limits = limits or Limits()
        self._loop = asyncio.get_running_loop()
        self._mapping = {path: one for handler in handlers for path, one in handler.__mapping__().items()}
        self._refused = refused
        self._codec, self._status_details_codec = codec, status_details_codec
        self._dispatch = _DispatchServerEvents()  # which grpclib's handler asks, and nobody listens to
        self._acceptor = Acceptor(self._serve, self.limits)
        self.budget = Budget(self.limits)
        self.scheduler = Scheduler()
        self.read_into = memoryview(bytearray(READ_BYTES))  # by all clients: each takes its bytes out at once
        self._live: set[Protocol] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self, host: str, port: int, *, backlog: int, ssl: ssl.SSLContext | None = None) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be bound.
        """
        await self._acceptor.listen(host, port, backlog=backlog, ssl=ssl)

    def _serve(self, guest: Guest) -> Protocol:
        lineup = Lineup(self.scheduler, Account(), self.limits.request_timeout_s, guest.called)
        handler = Handler(self._mapping, self._codec, self._status_details_codec, self._dispatch, lineup, self._refused)
        return Protocol(handler, self, guest)

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
    def connections(self) -> int:
        """How many are open."""
        return len(self._live)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets; none before the start and once the drain has begun."""
        return self._acceptor.sockets

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
        settled_by = by - min(RESERVE_S, grace_s / 7)
        self._acceptor.stop()
        try:
            for protocol_ in self._live:
                protocol_.connection.go_away()
            ended = calls.drain() if calls is not None else ()
            for protocol_ in self._live:
                protocol_.handler.lineup.start_all()
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
        self._acceptor.stop()
        for protocol_ in list(self._live):
            protocol_.handler.close()
            protocol_.connection.abort()
        self._acceptor.abort_handshakes()

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
        if handshakes := self._acceptor.abort_handshakes():
            await self._until(self._part(1 / 2, by, CLOSE_S), asyncio.wait(handshakes))

    async def _until(self, by: float, awaitable: Awaitable[object]) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(awaitable, by - self._loop.time())
