"""For which connection the event loop works next: a little for each, and first for those that have cost least.

Two things are work: acting on the bytes that a client sent, and starting its calls. The connection that has cost least
goes first (least attained service), or that has least to be done, so that one which fell behind catches up; of each few
turns one is for the connection that has waited longest. What a connection has cost is forgotten while nothing of it
waits. So a flood waits for itself, and hardly anybody for a flood.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Protocol

TURN_S = 0.001
"""How long all of this may take of one turn of the loop; what started calls will cost counts as well."""
FEW, FOR_FEW = 8, 3
"""While no more connections wait, a turn may take so many times as long: larger batches cost less each."""
PIECE_S = 0.0005
"""How long a connection may take at one go."""
LITTLE_S = 0.005
"""A connection that has cost less has some time in each turn of the loop, whoever else waits."""
PART = 0.1
"""Of the loop's time: what a connection may use without being one that costs much."""
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
        cost_s: seconds of the loop; what it may use anyway is taken off while nothing of it waits.
        served: whether it waits for a turn, or has one now.
    """

    __slots__ = ("_idle_since", "cost_s", "served", "works")

    def __init__(self) -> None:
        self.works: dict[Work, None] = {}
        self.cost_s = 0.0
        self.served = False
        self._idle_since = 0.0

    def __repr__(self) -> str:
        return f"<Account {self.cost_s:.4f} s, {len(self.works)} works>"

    @property
    def rank_s(self) -> float:
        """Who goes first: who has cost least, or has least to be done."""
        return min(self.cost_s, sum(work.left_s for work in self.works))

    def begin(self) -> None:
        """Something waits."""
        self.served = True
        self.cost_s = max(0.0, self.cost_s - PART * (time.perf_counter() - self._idle_since))

    def end(self) -> None:
        """Nothing waits any more."""
        self.served = False
        self._idle_since = time.perf_counter()


class Scheduler:
    """The work of all connections."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, Account] = OrderedDict()  # by number, in the order in which they began to wait
        self._cheapest: list[tuple[float, int]] = []  # a heap of costs and numbers; some of the latter wait no more
        self._numbers = count(1)
        self._spent_s = 0.0  # in this turn of the loop
        self._handle: asyncio.Handle | None = None

    def __repr__(self) -> str:
        return f"<Scheduler of {len(self._waiting)} connections>"

    def charge(self, account: Account, cost_s: float) -> None:
        """A connection has cost so much, or is about to."""
        account.cost_s += cost_s
        self._spent_s += cost_s

    def ready(self, account: Account, work: Work) -> None:
        """There is something to do: a piece of it is done at once, more where this turn of the loop has time for it."""
        account.works[work] = None
        if not account.served:
            account.begin()
            try:
                self._serve(account)
                while account.works and self._has_time(account):
                    self._serve(account)
            finally:
                self._leave(account)

    def _has_time(self, account: Account) -> bool:
        return self._spent_s < (self._turn_s() if account.cost_s >= LITTLE_S else 2 * self._turn_s())

    def _turn_s(self) -> float:
        return TURN_S if len(self._waiting) > FEW else FOR_FEW * TURN_S

    def _serve(self, account: Account) -> None:
        """Do pieces of its work."""
        limit_s = account.cost_s + PIECE_S
        while account.works and account.cost_s < limit_s:
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
