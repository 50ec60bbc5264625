"""When a connection's calls start: once their requests are there, and when the scheduler comes to it.

Until then a call is a stream and its bytes alone, with no task. `protocol` has a queue for each connection.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from stigmer.server.pacing import Paced

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from stigmer.server.scheduler import Account, Scheduler
    from stigmer.server.stream import Stream

START_S = 0.00015  # what a call costs the loop when it starts, until that is known
IN_PROGRESS = 64  # unary calls of one connection that are worked on at once, 25 KB each; those that wait cost less
LOOKS = 8  # at requests that do not come further, within the time that they have


class AdmissionQueue:
    """The calls of one connection that have not started: those whose requests come, and those that may start.

    Args:
        scheduler: of all connections.
        account: what the connection costs.
        request_timeout_s: how long a request may go on without a byte.
        start: starts a call.

    Attributes:
        in_progress: its unary calls that are worked on, but for those that wait for the client.
    """

    def __init__(
        self, scheduler: Scheduler, account: Account, request_timeout_s: float, start: Callable[[Stream], None]
    ) -> None:
        self._scheduler, self._account, self._start = scheduler, account, start
        self._look_s = request_timeout_s / LOOKS
        self._coming: dict[Stream, None] = {}
        self._ready: OrderedDict[Stream, None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = 0.0  # when the timer is due: uvloop's has no `when` where that is at once
        self._at_once = False
        self._call_s = START_S
        self.in_progress = 0

    def __repr__(self) -> str:
        return f"<AdmissionQueue {len(self._coming)} coming, {len(self._ready)} ready, {self.in_progress} in progress>"

    def add(self, stream: Stream) -> None:
        """A call whose request comes."""
        if self._at_once:
            self._start(stream)
            return
        self._coming[stream] = None
        stream.inbound.when_there(partial(self._there, stream))
        self._look_again(stream.time_left_s)

    def identify(self, principal: str) -> None:
        """Its calls are this principal's; see `scheduler.Scheduler`."""
        self._scheduler.identify(self._account, principal)

    def charge(self, cost_s: float) -> None:
        """The connection has something done that is not done here."""
        self._scheduler.charge(self._account, cost_s)

    def remove(self, stream: Stream) -> bool:
        """The client gave a call up; whether it had not started."""
        for waiting in (self._coming, self._ready):
            if stream in waiting:
                del waiting[stream]
                return True
        return False

    @property
    def left_s(self) -> float:
        """What the calls that may start will cost."""
        return self._call_s * len(self._ready)

    def work(self) -> bool:
        """Start the call that has waited longest; whether another one may start."""
        if not self._may_start():
            return False
        stream, _ = self._ready.popitem(last=False)
        if stream.unary:
            self.in_progress += 1
            stream.on_leave = self._left
        self._scheduler.charge(self._account, START_S)
        self._start(stream)
        return self._may_start()

    def paced(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> Coroutine[Any, Any, None]:
        """The coroutine of a call that starts, charged to the connection and held back where that costs much."""
        return self._run(Paced(self._scheduler, self._account, START_S, begin))

    async def _run(self, call: Paced) -> None:
        await call
        self._call_s += (call.left_s - self._call_s) / 8

    def start_all(self) -> None:
        """Start all, and those to come: the server stops, and tells them so."""
        self._at_once = True
        for stream in self.clear():
            self._start(stream)

    def clear(self) -> list[Stream]:
        """Forget those that have not started; which they were."""
        waiting = [*self._coming, *self._ready]
        self._coming.clear()
        self._ready.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return waiting

    def _may_start(self) -> bool:
        return bool(self._ready) and self.in_progress < IN_PROGRESS

    def _left(self) -> None:
        """A call is in progress no more."""
        self.in_progress -= 1
        if self._ready:
            self._scheduler.ready(self._account, self)

    def _there(self, stream: Stream) -> None:
        if stream in self._coming:
            del self._coming[stream]
            self._ready[stream] = None
            if self.in_progress < IN_PROGRESS:
                self._scheduler.ready(self._account, self)

    def _look(self) -> None:
        """Start those whose time is over: each fails by itself, and says why."""
        self._timer = None
        for stream in [stream for stream in self._coming if stream.time_left_s <= 0]:
            self._there(stream)
        if self._coming:
            self._look_again(min(stream.time_left_s for stream in self._coming))

    def _look_again(self, within_s: float) -> None:
        loop = asyncio.get_running_loop()
        when = loop.time() + min(self._look_s, within_s)
        if self._timer is None or when < self._looks_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._looks_at = loop.call_at(when, self._look), when
