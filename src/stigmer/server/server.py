"""Bind, serve, stop: the server as the command line and embedders see it.

`acceptor` listens for it, and `protocol` has what is inside a client's connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, Self

from stigmer.access.gate import Gate
from stigmer.address import TcpAddress
from stigmer.rpc import Codec
from stigmer.server.acceptor import Acceptor
from stigmer.server.dispatch import Service
from stigmer.server.limits import Limits
from stigmer.server.memory import MemoryBudget
from stigmer.server.protocol import Http2Protocol, Shared
from stigmer.server.stream import Served

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Iterable, Sequence
    from types import TracebackType

    from grpclib._typing import IServable
    from grpclib.encoding.base import CodecBase

    from stigmer.address import Address

NOTICE_S = 0.05  # how long who watches the server's health has to hear of its end before the watch itself is ended
ENDED_S = 2.0  # how long streams that were ended may take to clean up and to tell their callers, who may not read
RESERVE_S = 1.0  # of the grace, or a seventh of it where that is less: for the four stops at its end
STOP_S, MOMENT_S = 1.0, 0.05  # what one of them takes at most, and at least: enough for some turns of the loop


class Calls(Protocol):
    """The calls that run, of whoever serves the handlers."""

    def drain(self) -> Collection[asyncio.Task[Any]]:
        """Refuse new ones, and end those that may last or whose request is not there; the tasks of those."""
        ...

    def cut(self) -> None:
        """End those that still run, each once."""
        ...


class Server:
    """A listening gRPC server: an async context manager that listens while it is entered.

    Leaving it drains without grace where `drain` has not done so before.

    Attributes:
        addresses: those to listen on; once it listens, as they are bound.
        is_drained: whether it stops, or has stopped.
        shared: what its connections have in common.
    """

    def __init__(  # noqa: PLR0913  # the settings of one object, each by its name
        self,
        handlers: Collection[IServable],
        *,
        listen: Sequence[Address],
        calls: Calls,
        ssl: ssl.SSLContext | None = None,
        only_here: str | None = None,
        codec: CodecBase | None = None,
        limits: Limits | None = None,
        draining: Callable[[], None] | None = None,
        gate: Gate | None = None,
        refused: Callable[[str, str, str], None] = lambda _code, _path, _address: None,
    ) -> None:
        """Keep the settings; nothing is bound yet. Make it inside the running loop.

        Args:
            handlers: objects with grpclib's `__mapping__`, whose functions get a `Stream` of this server.
            listen: where; a name with several addresses listens on all, port 0 takes a free one: see `addresses`.
            calls: those that the handlers run; the open streams are ended when clients were told to go away, the
                others when the grace is over.
            ssl: see `tls.server_context`; None serves plain text, and Unix sockets are always served that.
            only_here: why other machines must not reach it, and what to do about that; None where they may.
            codec: how the handlers' messages become bytes; `rpc.Codec` where None.
            limits: see `Limits`.
            draining: called first when it drains: health becomes NOT_SERVING, and who watches it hears so before the
                watch is ended.
            gate: knows who calls; None lets those in that are on this machine.
            refused: told of each call that ends here, before any service saw it: code, path, the peer's address.
        """
        self.addresses, self._ssl, self._only_here = tuple(listen), ssl, only_here
        self._calls, self._draining = calls, draining
        self.is_drained = False
        limits = limits or Limits()
        methods = {path: Served(*one) for handler in handlers for path, one in handler.__mapping__().items()}
        self.shared = Shared(Service(methods, codec or Codec(), gate or Gate(), refused), limits, MemoryBudget(limits))
        self._acceptor = Acceptor(lambda accepted: Http2Protocol(self.shared, accepted), limits)

    def __repr__(self) -> str:
        state = "drained" if self.is_drained else "listening" if self._acceptor.listening else "not started"
        return f"<Server {','.join(map(str, self.addresses))} {state}>"

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            StartupError: an address cannot be bound, or other machines could reach it and must not.
        """
        await self._acceptor.listen(self.addresses, ssl=self._ssl, only_here=self._only_here)
        self.addresses = tuple(one.address for one in self._acceptor.listening)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.is_drained:
            await self.drain(0)

    @property
    def listens_on(self) -> str:
        """The first of its addresses, as people write it and `rpc.channel` takes it."""
        return str(self.addresses[0])

    @property
    def address(self) -> TcpAddress:
        """Host and port of the first that has a port; raises LookupError where it listens on Unix sockets alone."""
        return [address for address in self.addresses if isinstance(address, TcpAddress)][0]  # noqa: RUF015  # next would raise StopIteration

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.shared.live)

    @property
    def held_bytes(self) -> int:
        """Of requests that are not whole and replies that are not read."""
        return self.shared.budget.held

    async def drain(self, grace_s: float) -> int:
        """Stop within `grace_s`: no new connections, GOAWAY, time for running calls, then the end of all that is left.

        What is left is ended at four stops within the last RESERVE_S: calls are cut, then cancelled, connections are
        closed, then aborted. Cancelled, it ends all at once.

        Returns:
            How many calls were cut because the grace was over.
        """
        self.is_drained = True
        end, reserve_s = _now() + grace_s, min(RESERVE_S, grace_s / 7)
        try:
            if self._draining is not None:
                self._draining()
                await asyncio.sleep(min(NOTICE_S, grace_s / 4))
            ended = self._stop_accepting()
            await self._settled(min(_now() + ENDED_S, end - reserve_s))
            await self._settled(end - reserve_s, but=ended)
            left = len(self._running())
            if left:
                self._calls.cut()
                await self._settled(_stop(end - reserve_s * 3 / 4), but=ended)
            await self._cancelled(_stop(end - reserve_s / 2))
            await self._closed(_stop(end - reserve_s / 4))
            await self._aborted(_stop(end))
        except BaseException:
            self._abort()
            raise
        return left

    def _stop_accepting(self) -> Collection[asyncio.Task[Any]]:
        """Take no new connections or calls; the tasks of the calls that are ended now."""
        self.shared.draining = True
        self._acceptor.stop()
        for one in self.shared.live:
            one.connection.go_away()
        ended = self._calls.drain()
        for one in self.shared.live:
            one.dispatcher.drain()
        return ended

    def _running(self) -> list[asyncio.Task[None]]:
        return [task for one in self.shared.live for task in one.dispatcher.running()]

    async def _settled(self, by: float, *, but: Collection[asyncio.Task[Any]] = ()) -> None:
        """Wait for the running calls, those included that start meanwhile."""
        while tasks := [task for task in self._running() if task not in but]:
            left_s = by - _now()
            if left_s <= 0:
                break
            await asyncio.wait(tasks, timeout=left_s)

    async def _cancelled(self, by: float) -> None:
        """Cancel what still runs, with no status."""
        for one in self.shared.live:
            one.dispatcher.close()
        await self._settled(by)

    async def _closed(self, by: float) -> None:
        """Close every connection whose client reads its last bytes."""
        for one in list(self.shared.live):
            one.connection.close()
        await _wait((one.closed for one in self.shared.live), by)

    async def _aborted(self, by: float) -> None:
        """Close the others, and those that are in their TLS handshake."""
        await _wait([*self._abort(), *(one.closed for one in self.shared.live)], by)

    def _abort(self) -> Collection[asyncio.Task[None]]:
        """End every call and connection at once, with no word to anybody; the tasks that still end."""
        self.shared.draining = True
        self._acceptor.stop()
        for one in list(self.shared.live):
            one.dispatcher.close()
            one.connection.abort()
        return self._acceptor.abort_handshakes()


async def _wait(what: Iterable[asyncio.Future[None]], by: float) -> None:
    if waiting := list(what):
        await asyncio.wait(waiting, timeout=max(0.0, by - _now()))


def _stop(at: float) -> float:
    """The stop, or when one has taken its longest or its least time."""
    return max(min(at, _now() + STOP_S), _now() + MOMENT_S)


def _now() -> float:
    return asyncio.get_running_loop().time()
