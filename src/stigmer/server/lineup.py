"""When a connection's calls start: once their requests are there, and when the scheduler comes to it.

Until then a call is a stream and its bytes alone, with no task. `protocol` has a Lineup for each connection.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.server.scheduler import Account, Scheduler
    from stigmer.server.stream import Stream

START_S = 0.00015  # what a call costs the loop once it has started, roughly
BYTE_S = 3e-9  # and each byte of a large request
IN_HAND = 64  # unary calls of one connection that are worked on at once, 25 KB each; the others wait, and cost less
LOOKS = 8  # at requests that do not come further, within the time that they have


class Waiting(NamedTuple):
    """A call that has not started.

    Attributes:
        start: starts it.
        gone: its client gave it up.
        unary: whether it counts among those in hand.
    """

    start: Callable[[], None]
    gone: Callable[[], None]
    unary: bool


class Lineup:
    """The calls of one connection that have not started: those whose requests come, and those that wait for a turn.

    Args:
        scheduler: of all connections.
        account: the connection's.
        request_timeout_s: how long a request may go on without a byte.
        called: told of each call that comes.

    Attributes:
        in_hand: its unary calls that are worked on, but for those that wait for the client.
    """

    def __init__(
        self, scheduler: Scheduler, account: Account, request_timeout_s: float, called: Callable[[], None]
    ) -> None:
        self._scheduler, self.account = scheduler, account
        self._called = called
        self._look_s = request_timeout_s / LOOKS
        self._coming: dict[Stream, Waiting] = {}
        self._ready: OrderedDict[Stream, Waiting] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._at_once = False
        self.in_hand = 0

    def __repr__(self) -> str:
        return f"<Lineup {len(self._coming)} coming, {len(self._ready)} ready, {self.in_hand} in hand>"

    def add(self, stream: Stream, waiting: Waiting) -> None:
        """A call whose request comes."""
        self._called()
        if self._at_once:
            waiting.start()
            return
        self._coming[stream] = waiting
        stream.buffer.when_there(lambda: self._there(stream))
        self._look_again(stream.time_left_s)

    def remove(self, stream: Stream) -> bool:
        """The client gave a call up; whether it had not started."""
        waiting = self._coming.pop(stream, None) or self._ready.pop(stream, None)
        if waiting is not None:
            waiting.gone()
        return waiting is not None

    def work(self) -> bool:
        """Start the call that has waited longest; whether another one may start."""
        if not self._may_start():
            return False
        stream, waiting = self._ready.popitem(last=False)
        if waiting.unary:
            self.in_hand += 1
            stream.in_hand_of = self
        self._scheduler.charge(self.account, START_S + BYTE_S * stream.buffer.announced)
        waiting.start()
        return self._may_start()

    def _may_start(self) -> bool:
        return bool(self._ready) and self.in_hand < IN_HAND

    def left(self) -> None:
        """A call is in hand no more."""
        self.in_hand -= 1
        if self._ready:
            self._scheduler.ready(self.account, self)

    def start_all(self) -> None:
        """Start all, and those to come: the server stops, and tells them so."""
        self._at_once = True
        waiting = [*self._coming.values(), *self._ready.values()]
        self._forget()
        for one in waiting:
            one.start()

    def close(self) -> None:
        """The connection is closed."""
        waiting = [*self._coming.values(), *self._ready.values()]
        self._forget()
        for one in waiting:
            one.gone()

    def _forget(self) -> None:
        self._coming.clear()
        self._ready.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _there(self, stream: Stream) -> None:
        waiting = self._coming.pop(stream, None)
        if waiting is not None:
            self._ready[stream] = waiting
            if self.in_hand < IN_HAND:
                self._scheduler.ready(self.account, self)

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
        if self._timer is None or when < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(when, self._look)
