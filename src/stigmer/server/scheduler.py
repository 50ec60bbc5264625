"""For which connection the event loop works next: a little for each, and first for those that have cost least.

Three things are work: acting on the bytes that a client sent, starting its calls, and letting these go on (`pacing`).
Whoever has cost little lately has it done at once, while this turn of the loop has time. All others wait for later
turns: the connection that has cost least goes first (least attained service), or that has least to be done, so that one
which fell behind catches up; one turn of a few is for the connection that has waited longest. What a connection has
cost is forgotten while little of it waits. So a flood waits for itself, and hardly anybody for a flood.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Protocol

TURN_S = 0.0005
"""How long those that cost much may take together of one turn of the loop, and all others after them."""
FEW, FOR_FEW = 8, 6
"""While no more connections wait, and no others have asked for anything, a turn is so many times as long: larger
batches cost less each."""
QUIET_S = 0.1
"""How long others are remembered to have asked for something."""
PIECE_S = 0.0005
"""How long a connection may take at one go."""
LITTLE_S = 0.005
"""A connection that has cost less is one that costs little."""
NEW_S = 2 * LITTLE_S
"""What a new connection is taken to have cost, so that nobody costs little again by a new one."""
LOOK_S = 0.001
"""How often it is looked at what a connection may use anyway: to sum up what waits of hundreds of calls takes time."""
PART = 0.1
"""Of the loop's time: what a connection may use without being one that costs much."""
MOST_S = 1.0
"""No connection is remembered to have cost more, so that none is one that costs much for long."""
OLDEST = 4
"""One turn of so many is for the connection that has waited longest."""

STALE = 64
"""So many entries of the heap may be there for connections that do not wait any more."""


class Work(Protocol):
    """What may have to be done for a connection."""

    @property
    def left_s(self) -> float:
        """What there is to do, in seconds of the loop, roughly."""
        ...

    def work(self) -> bool:
        """Do a small piece; whether there is more."""
        ...


class Account:
    """What one connection wants done, and what it has cost.

    Attributes:
        works: what is to be done, a piece of each in turn.
        cost_s: seconds of the loop; what it may use anyway is taken off while little of it waits.
        served: whether it waits for a turn, or has one now.
    """

    __slots__ = ("_seen_at", "cost_s", "served", "works")

    def __init__(self) -> None:
        self.works: dict[Work, None] = {}
        self.cost_s = NEW_S
        self.served = False
        self._seen_at = time.perf_counter()

    def __repr__(self) -> str:
        return f"<Account {self.cost_s:.4f} s, {len(self.works)} works>"

    @property
    def left_s(self) -> float:
        """What there is to do, roughly."""
        return sum(work.left_s for work in self.works)

    @property
    def rank_s(self) -> float:
        """Who goes first: of those that cost little who has least to be done; then who has cost least, or has that.

        What waits behind the least of it does not count: one whose calls have piled up would never catch up.
        """
        least_s = min((work.left_s for work in self.works), default=0.0)
        return least_s if self.cost_s < LITTLE_S else LITTLE_S + min(self.cost_s, least_s)

    def forget(self) -> None:
        """Take off what it may use anyway; not while much of it waits, as that of a flood always does."""
        now = time.perf_counter()
        if now - self._seen_at < LOOK_S:
            return
        if not self.served or self.left_s < 2 * PIECE_S:
            self.cost_s = max(0.0, self.cost_s - PART * (now - self._seen_at))
        self._seen_at = now

    def begin(self) -> None:
        """Something waits."""
        self.forget()
        self.served = True

    def end(self) -> None:
        """Nothing waits any more."""
        self.forget()
        self.served = False


class Scheduler:
    """The work of all connections."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, Account] = OrderedDict()  # by number, in the order in which they began to wait
        self._cheapest: list[tuple[float, int]] = []  # a heap of costs and numbers; some of the latter wait no more
        self._numbers = count(1)
        self._spent_s = 0.0  # in this turn of the loop
        self._last: Account | None = None  # which asked
        self._others_at = 0.0  # when another one asked that costs little
        self._handle: asyncio.Handle | None = None

    def __repr__(self) -> str:
        return f"<Scheduler of {len(self._waiting)} connections>"

    def charge(self, account: Account, cost_s: float) -> None:
        """A connection has cost so much more, or less, or is about to."""
        cost = account.cost_s + cost_s
        account.cost_s = 0.0 if cost < 0.0 else min(cost, MOST_S)
        self._spent_s += cost_s
        if self._handle is None:
            self._soon()

    def has_time(self, account: Account) -> bool:
        """Whether something may be done for a connection now, in this turn of the loop."""
        if account is self._last and self._spent_s < TURN_S:  # whatever it has cost; each step of each call asks
            return True
        account.forget()
        turn_s = self._turn_s()
        costs_little = account.cost_s < LITTLE_S
        if account is not self._last:
            self._last = account
            if costs_little:
                self._others_at = time.perf_counter()
        return self._spent_s < (2 * turn_s if costs_little else turn_s)

    def ready(self, account: Account, work: Work) -> None:
        """There is something to do: it is done at once as far as this turn of the loop has time for it."""
        account.works[work] = None
        if not account.served:
            account.begin()
            try:
                while account.works and self.has_time(account):
                    self._serve(account)
            finally:
                self._leave(account)

    def _turn_s(self) -> float:
        if len(self._waiting) > FEW or time.perf_counter() - self._others_at < QUIET_S:
            return TURN_S
        return FOR_FEW * TURN_S

    def _serve(self, account: Account) -> None:
        """Do pieces of its work."""
        limit_s = self._spent_s + PIECE_S
        while account.works and self._spent_s < limit_s:
            work = next(iter(account.works))
            del account.works[work]
            began = time.perf_counter()
            try:
                if work.work():
                    account.works[work] = None
            finally:
                self.charge(account, time.perf_counter() - began)

    def _leave(self, account: Account) -> None:
        """It had its turn: it waits for the next one, or for nothing."""
        if account.works:
            number = next(self._numbers)
            self._waiting[number] = account
            heappush(self._cheapest, (account.rank_s, number))
            if len(self._cheapest) > 2 * len(self._waiting) + STALE:
                self._cheapest = [(one.rank_s, number) for number, one in self._waiting.items()]
                heapify(self._cheapest)
        else:
            account.end()
        self._soon()

    def _soon(self) -> None:
        """Go on in the next turn of the loop, or forget then what was spent in this one."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._handle, self._spent_s = None, 0.0
        while self._waiting and self._spent_s < self._turn_s():
            account = self._waiting.pop(self._next())
            try:
                self._serve(account)
            finally:
                self._leave(account)

    def _next(self) -> int:
        if next(self._numbers) % OLDEST == 0:
            return next(iter(self._waiting))
        while True:
            _, number = heappop(self._cheapest)
            if number in self._waiting:
                return number
