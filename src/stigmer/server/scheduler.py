"""For whom the event loop works next: start-time fair queueing of callers, and of the connections of each.

Three things are work: acting on the bytes that a client sent, starting its calls, and letting these go on (`pacing`).
Each caller, and within it each connection, has a virtual time: the seconds of the loop that it has used. Whose is least
goes first. Who wants nothing for a while is set forward to just before those that wait, so that nobody saves up much.
So whoever wants less than its part is served at once; a flood waits for itself, by however many connections it comes,
and nobody waits for ever: the others' virtual times pass its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol, TypeAlias
from weakref import WeakValueDictionary

from stigmer.server.shares import CREDIT_S, FairShares, Share

TURN_S = 0.0005
"""How long those that have had their part may take together of one turn of the loop, and all others after them."""
FEW, FOR_FEW = 8, 6
"""While no more connections wait, and no others have asked for anything, a turn is so many times as long: larger
batches cost less each."""
QUIET_S = 0.1
"""How long others are remembered to have asked for something."""
PIECE_S = 0.0005
"""How long a connection may take at one go."""
WELCOMES, WELCOMES_PER_S = 20, 40
"""So many new callers have that credit from the start, and so many more each second: a fifth of the loop's time."""
NEW_S = 0.0005
"""What a new connection is taken to have cost."""
RECENT = 256
"""So many callers are remembered at least, so that none is rid of its debt by a new connection."""

Name: TypeAlias = tuple[str, str]


class Work(Protocol):
    """What may have to be done for a connection."""

    @property
    def left_s(self) -> float:
        """What there is to do, in seconds of the loop, roughly."""
        ...

    def work(self) -> bool:
        """Do a small piece; whether there is more."""
        ...


class Caller(Share):
    """Whoever calls from one address, and by one principal's credentials where there are any.

    Attributes:
        name: its address, and the principal once that is known.
        accounts: its connections that wait.
    """

    __slots__ = ("__weakref__", "accounts", "name")

    def __init__(self, name: Name, virtual_s: float) -> None:
        super().__init__(virtual_s)
        self.name = name
        self.accounts = FairShares[Account]()


class Account(Share):
    """What one connection wants done, and what it has cost.

    Attributes:
        caller: whose it is, or was before it was identified.
        name: of its caller.
        works: what is to be done, a piece of each in turn.
        served: whether it waits for a turn, or has one now.
    """

    __slots__ = ("caller", "name", "served", "works")

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller.accounts.now_s)
        self.caller, self.name = caller, caller.name
        self.works: dict[Work, None] = {}
        self.served = False

    def __repr__(self) -> str:
        return f"<Account {self.virtual_s:.4f} s, {len(self.works)} works>"

    @property
    def rank_s(self) -> float:
        """When its next piece will have been done: of two that have used as much, who wants less goes first."""
        return self.virtual_s + min(PIECE_S, min((work.left_s for work in self.works), default=0.0))


class Scheduler:
    """The work of all connections."""

    def __init__(self) -> None:
        self._callers: WeakValueDictionary[Name, Caller] = WeakValueDictionary()
        self._recent: deque[Caller] = deque(maxlen=RECENT)
        self._waiting = FairShares[Caller]()
        self._waits = 0  # connections
        self._welcomes, self._welcomed_at = float(WELCOMES), time.perf_counter()
        self._spent_s = 0.0  # in this turn of the loop
        self._last: Account | None = None  # which asked
        self._others_at = 0.0  # when another one asked that is served before others
        self._handle: asyncio.Handle | None = None

    def __repr__(self) -> str:
        return f"<Scheduler of {self._waits} connections that wait>"

    def account(self, address: str) -> Account:
        """For a new connection from there."""
        account = Account(self._caller((address, "")))
        account.caller.accounts.charge(account, NEW_S)
        self._waiting.charge(account.caller, NEW_S)
        return account

    def identify(self, account: Account, principal: str) -> None:
        """A connection's calls are this principal's, who is a caller of its own from now on; of several, the first."""
        if not account.name[1]:
            account.name = account.name[0], principal

    def charge(self, account: Account, cost_s: float) -> None:
        """A connection has cost so much more, or less, or is about to."""
        caller = account.caller
        caller.accounts.charge(account, cost_s)
        self._waiting.charge(caller, cost_s)
        self._spent_s += cost_s
        if self._handle is None:
            self._soon()

    def has_time(self, account: Account) -> bool:
        """Whether something may be done for a connection now, in this turn of the loop."""
        if account is self._last and self._spent_s < TURN_S:  # whatever it has cost; each step of each call asks
            return True
        turn_s, caller = self._turn_s(), account.caller
        is_next = self._waiting.is_next(caller) and caller.accounts.is_next(account)
        if account is not self._last:
            self._last = account
            if is_next:
                self._others_at = time.perf_counter()
        return self._spent_s < (2 * turn_s if is_next else turn_s)

    def ready(self, account: Account, work: Work) -> None:
        """There is something to do: it is done at once as far as this turn of the loop has time for it."""
        account.works[work] = None
        if not account.served:
            self._begin(account)
            try:
                while account.works and self.has_time(account):
                    self._serve(account)
            finally:
                self._leave(account)

    def _caller(self, name: Name) -> Caller:
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = Caller(name, self._waiting.now_s - self._welcome_s())
            self._recent.append(caller)
        return caller

    def _welcome_s(self) -> float:
        """The credit of a new caller; an endless supply of them has less than the loop's time by it."""
        now = time.perf_counter()
        self._welcomes = min(WELCOMES, self._welcomes + (now - self._welcomed_at) * WELCOMES_PER_S)
        self._welcomed_at = now
        if self._welcomes < 1:
            return 0.0
        self._welcomes -= 1
        return CREDIT_S

    def _turn_s(self) -> float:
        if self._waits > FEW or time.perf_counter() - self._others_at < QUIET_S:
            return TURN_S
        return FOR_FEW * TURN_S

    def _begin(self, account: Account) -> None:
        """Something waits of one of which nothing did."""
        account.served = True
        if account.name is not account.caller.name:  # it was identified
            account.caller = self._caller(account.name)
            account.name, account.virtual_s = account.caller.name, account.caller.accounts.now_s
        caller = account.caller
        if not caller.accounts:
            self._waiting.begin(caller)
        caller.accounts.begin(account)

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
            accounts = account.caller.accounts
            accounts.push(account)
            self._waits += 1
            if len(accounts) == 1:
                self._waiting.push(account.caller)
        else:
            account.served = False
        self._soon()

    def _soon(self) -> None:
        """Go on in the next turn of the loop, or forget then what was spent in this one."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._handle, self._spent_s = None, 0.0
        while self._waiting and self._spent_s < self._turn_s():
            caller = self._waiting.pop()
            account = caller.accounts.pop()
            self._waits -= 1
            if caller.accounts:
                self._waiting.push(caller)
            try:
                self._serve(account)
            finally:
                self._leave(account)
