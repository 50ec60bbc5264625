"""When calls start: once their requests are there, those of all connections by turns, a few in one turn of the loop.

Until then a call is a stream and its bytes alone, with no task. `protocol` has a Lineup for each connection, `listener`
the Starts of all.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.transport.http2 import Stream

STARTS_AT_ONCE = 12  # in one turn of the loop, of all connections together; each takes some 0.2 ms of the next
FEW = 32  # calls that a connection may have open before it has to wait for those that have no more
FOR_FEW = 3  # of four starts, where connections with few calls and with many wait
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


class Starts:
    """The connections with calls that may start; those with few of them have three turns of four.

    Who floods the server so waits for itself, and hardly for others who do.
    """

    def __init__(self) -> None:
        self._few: OrderedDict[Lineup, None] = OrderedDict()
        self._many: OrderedDict[Lineup, None] = OrderedDict()
        self._started = 0
        self._left = STARTS_AT_ONCE
        self._handle: asyncio.Handle | None = None

    def __repr__(self) -> str:
        return f"<Starts of {len(self._few)} + {len(self._many)} connections>"

    def ready(self, lineup: Lineup) -> None:
        """A call of the connection may start: at once, where nobody has to wait for a turn."""
        if not (self._few or self._many) and self._left:
            self._left -= 1
            lineup.start_next()
            self._soon()
        else:
            self._add(lineup)

    def _add(self, lineup: Lineup) -> None:
        if lineup.has_few:
            self._few[lineup] = None
        else:
            self._few.pop(lineup, None)
            self._many[lineup] = None
        self._soon()

    def _soon(self) -> None:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._handle = None
        self._left = STARTS_AT_ONCE
        while self._left and (self._few or self._many):
            lineup, _ = self._next().popitem(last=False)
            if lineup.may_start:
                self._left -= 1
                self._started += 1
                lineup.start_next()
                if lineup.may_start:
                    self._add(lineup)
        if self._few or self._many:
            self._soon()

    def _next(self) -> OrderedDict[Lineup, None]:
        if self._few and self._many:
            return self._few if self._started % (FOR_FEW + 1) < FOR_FEW else self._many
        return self._few or self._many


class Lineup:
    """The calls of one connection that have not started: those whose requests come, and those that wait for a turn.

    Args:
        starts: of all connections.
        request_timeout_s: how long a request may go on without a byte.
        called: told of each call that comes.

    Attributes:
        in_hand: its unary calls that are worked on, but for those that wait for the client.
    """

    def __init__(self, starts: Starts, request_timeout_s: float, called: Callable[[], None]) -> None:
        self._starts = starts
        self._called = called
        self._look_s = request_timeout_s / LOOKS
        self._coming: dict[Stream, Waiting] = {}
        self._ready: OrderedDict[Stream, Waiting] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._at_once = False
        self.in_hand = 0

    def __repr__(self) -> str:
        return f"<Lineup {len(self._coming)} coming, {len(self._ready)} ready, {self.in_hand} in hand>"

    @property
    def may_start(self) -> bool:
        """Whether a call waits, and may start."""
        return bool(self._ready) and self.in_hand < IN_HAND

    @property
    def has_few(self) -> bool:
        """Whether it has few calls, those in hand included."""
        return len(self._ready) + self.in_hand <= FEW

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

    def start_next(self) -> None:
        """Start the call that has waited longest."""
        stream, waiting = self._ready.popitem(last=False)
        if waiting.unary:
            self.in_hand += 1
            stream.in_hand_of = self
        waiting.start()

    def left(self) -> None:
        """A call is in hand no more."""
        self.in_hand -= 1
        if self._ready:
            self._starts.ready(self)

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
                self._starts.ready(self)

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
