"""Who may have the server hold how many bytes: a budget for all connections, and what each of them uses of it.

Three things count: what came of requests and of the calls that wait for them, the announced sizes of larger requests,
and replies that wait for their readers. `inbound` and `stream` report them.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from stigmer.server.memory_queue import AGAIN_S, MemoryQueue, Refusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.server.limits import Limits

SMALL_BYTES = 64 * 1024  # requests up to this size are not counted against their connection
CALL_BYTES = 16 * 1024  # what a call whose request is not whole comes to beside its bytes

REQUESTS_PART = 3 / 4  # of the server's bytes that announced requests may fill: the rest is for what cannot wait
RELAXED_PART = 7 / 8  # of the server's bytes below which connections are read again


class MemoryBudget:
    """The bytes that the server holds for all its clients.

    Attributes:
        held: how many they are now.
        limit: how many they may be; connections that hold no more than a fair part go on beyond it.
        strained: the connections for which somebody waits, or which are not read.
        line: those of them with requests for which the server has no memory, in order.
        holders: the connections for which anything is held.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits, self.limit = limits, limits.max_memory_bytes
        self.held = 0
        self.strained: set[ConnectionMemory] = set()
        self.line: dict[ConnectionMemory, None] = {}
        self.holders: set[ConnectionMemory] = set()
        self._relaxing = False
        self._shed_at = -AGAIN_S

    def __repr__(self) -> str:
        return f"<MemoryBudget {self.held} of {self.limit} bytes, {len(self.holders)} connections>"

    @property
    def fair(self) -> int:
        """What each connection may hold whatever the others do; those that hold nothing are not counted."""
        return self.limit // (8 * max(1, len(self.holders)))

    def leave(self, memory: ConnectionMemory) -> None:
        """The connection is closed."""
        self.holders.discard(memory)
        self.strained.discard(memory)
        self.line.pop(memory, None)
        self.relax()

    def relax(self) -> None:
        """Later in this turn of the loop, let go on whom there is memory for again."""
        if self.strained and not self._relaxing:
            self._relaxing = True
            asyncio.get_running_loop().call_soon(self._relax)

    def _relax(self) -> None:
        self._relaxing = False
        for memory in [*self.line, *self.strained.difference(self.line)]:
            memory.advance()

    def relieve(self, memory: ConnectionMemory) -> bool:
        """Refuse what the connection that holds most has unfinished; False where that is the one that asks."""
        now = asyncio.get_running_loop().time()
        if now - self._shed_at < AGAIN_S:
            return True
        worst = max(self.holders, key=lambda one: one.held, default=memory)
        if worst is memory or worst.held <= memory.held or not worst.shed():
            return False
        self._shed_at = now
        return True


class ConnectionMemory:
    """The bytes that the server holds for one connection.

    Args:
        budget: of the server.
        read_changed: called when the connection is to be read no more, and when again; see `read_since`.

    Attributes:
        requests: of requests as they came, and of calls that wait for them.
        reserved: the announced sizes of requests that are larger than SMALL_BYTES.
        replies: of replies that wait for their reader, and of rows that running calls have read for theirs.
        unfinished: what waits for the client.
        read_since: when the client began to be read, on the loop's clock; None while it holds too much to be read.
    """

    def __init__(self, budget: MemoryBudget, read_changed: Callable[[], None]) -> None:
        self.budget, self.limits = budget, budget.limits
        self.requests = self.reserved = self.replies = 0
        self.unfinished: set[Refusable] = set()
        self._loop = asyncio.get_running_loop()
        self.read_since: float | None = self._loop.time()
        self._read_changed = read_changed
        self._paused: asyncio.TimerHandle | None = None
        self._reservations = MemoryQueue(self.limits.memory_wait_s)
        self._starts = MemoryQueue(self.limits.memory_wait_s)

    def __repr__(self) -> str:
        return f"<ConnectionMemory {self.requests} + {self.reserved} + {self.replies} bytes>"

    @property
    def held(self) -> int:
        """All of it."""
        return self.requests + self.reserved + self.replies

    # Requests.

    def hold(self, size: int) -> None:
        """`size` bytes more of requests are here; while the server holds too much, those who hold most are not read."""
        self.requests += size
        self._rose(size)
        if self.budget.held > self.budget.limit and self._paused is None and self.requests > self.budget.fair:
            self._pause()

    def release(self, size: int) -> None:
        """`size` of those bytes are gone."""
        self.requests -= size
        self._fell(size)

    async def reserve(self, size: int) -> None:
        """Wait for memory for a request of `size` bytes.

        Raises:
            ResourceExhausted: there was none for too long.
        """
        await self._reservations.wait(self, partial(self._reserve, size), partial(self.give_back, size))

    def _reserve(self, size: int) -> bool:
        budget = self.budget
        if self.reserved + self.replies + size > self.limits.max_connection_memory_bytes:
            budget.line.pop(self, None)
            return False
        budget.line.setdefault(self)
        if next(iter(budget.line)) is not self or budget.held + size > budget.limit * REQUESTS_PART:
            return False
        del budget.line[self]  # its next one waits behind the others'
        self.reserved += size
        self._rose(size)
        return True

    def give_back(self, size: int) -> None:
        """End a reservation."""
        self.reserved -= size
        self._fell(size)

    # Calls and replies.

    async def may_start(self) -> None:
        """Wait until a call may start, or read: while too much waits for its reader, none does.

        Raises:
            ResourceExhausted: it might not for too long.
        """
        await self._starts.wait(self, self.has_room)

    def has_room(self) -> bool:
        """Whether more may be made that its client has to read."""
        budget, most = self.budget, self.limits.max_connection_memory_bytes
        return self.replies <= most and (budget.held <= budget.limit or self.held <= budget.fair)

    def replying(self, size: int) -> None:
        """A reply of `size` bytes waits to be sent."""
        self.replies += size
        self._rose(size)

    def replied(self, size: int) -> None:
        """It does not wait any more."""
        self.replies -= size
        self._fell(size)

    # Too much.

    def strain(self) -> None:
        """Somebody has to wait."""
        self.budget.strained.add(self)

    def relieved(self) -> bool:
        """Whether another connection's calls were refused in place of this one's."""
        return self.budget.relieve(self)

    def shed(self) -> bool:
        """Refuse what is unfinished; whether there was any."""
        unfinished = list(self.unfinished)
        for one in unfinished:
            one.refuse()
        return bool(unfinished)

    def advance(self) -> None:
        """Let go on what there is memory for."""
        budget = self.budget
        relaxed = budget.held <= budget.limit * RELAXED_PART or self.requests <= budget.fair // 2
        if self._paused is not None and relaxed:
            self._paused.cancel()
            self._paused, self.read_since = None, self._loop.time()
            self._read_changed()
        for queue in (self._reservations, self._starts):
            queue.advance()
        if not self._reservations:
            budget.line.pop(self, None)
        if not (self._paused or self._reservations or self._starts):
            budget.strained.discard(self)

    def close(self) -> None:
        """The connection is closed."""
        if self._paused is not None:
            self._paused.cancel()
        self._read_changed = lambda: None  # no cycle: nothing waits for the collector
        self.budget.leave(self)

    def _rose(self, size: int) -> None:
        self.budget.held += size
        self.budget.holders.add(self)

    def _fell(self, size: int) -> None:
        self.budget.held -= size
        if not self.held:
            self.budget.holders.discard(self)
        if self.budget.strained:
            self.budget.relax()

    def _pause(self) -> None:
        self.read_since = None
        self._read_changed()
        self.strain()
        self._shed_in(self.limits.memory_wait_s)

    def _shed_in(self, wait_s: float) -> None:
        self._paused = self._loop.call_later(wait_s, self._shed_again)

    def _shed_again(self) -> None:
        self.shed()
        self._shed_in(AGAIN_S)
