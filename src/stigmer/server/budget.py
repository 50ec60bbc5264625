"""Who may have the server hold how many bytes: one Budget for all connections, a Share of it for each.

Three things count: what came of requests and of the calls that wait for them, the announced sizes of larger requests,
and replies that wait for their readers. `inbound` and `stream` report them, `edge` asks before it starts a call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stigmer.server.room import AGAIN_S, Queue, Refusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.server.limits import Limits

SMALL_BYTES = 64 * 1024  # requests up to this size need no room in their connection's budget
CALL_BYTES = 16 * 1024  # what a call whose request is not whole comes to beside its bytes

REQUESTS_PART = 3 / 4  # of the server's bytes that announced requests may fill: the rest is for what cannot wait
RELAXED_PART = 7 / 8  # of the server's bytes below which connections are read again


class Budget:
    """The bytes that the server holds for all its clients.

    Attributes:
        held: how many they are now.
        limit: how many they may be; connections that hold no more than a fair part go on beyond it.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits, self.limit = limits, limits.max_memory_bytes
        self.held = 0
        self.strained: set[Share] = set()  # those for which somebody waits, or which are not read
        self.line: dict[Share, None] = {}  # those of them with requests for which the server has no room, in order
        self.holders: set[Share] = set()  # those for whom anything is held
        self._relaxing = False
        self._shed_at = -AGAIN_S

    def __repr__(self) -> str:
        return f"<Budget {self.held} of {self.limit} bytes, {len(self.holders)} connections>"

    @property
    def fair(self) -> int:
        """What each connection may hold whatever the others do; those that hold nothing are not counted."""
        return self.limit // (8 * max(1, len(self.holders)))

    def share(self, read: Callable[[bool], None]) -> Share:
        """A new connection's; `read` is told when it is to be read no more, and when again."""
        return Share(self, read)

    def leave(self, share: Share) -> None:
        """The connection is closed."""
        self.holders.discard(share)
        self.strained.discard(share)
        self.line.pop(share, None)
        self.relax()

    def relax(self) -> None:
        """Later in this turn of the loop, let go on whom there is room for again."""
        if self.strained and not self._relaxing:
            self._relaxing = True
            asyncio.get_running_loop().call_soon(self._relax)

    def _relax(self) -> None:
        self._relaxing = False
        for share in [*self.line, *self.strained.difference(self.line)]:
            share.advance()

    def relieve(self, share: Share) -> bool:
        """Refuse what the connection that holds most has unfinished; False where that is `share`."""
        now = asyncio.get_running_loop().time()
        if now - self._shed_at < AGAIN_S:
            return True
        worst = max(self.holders, key=lambda one: one.held, default=share)
        if worst is share or worst.held <= share.held or not worst.shed():
            return False
        self._shed_at = now
        return True


class Share:
    """The bytes that the server holds for one connection.

    Attributes:
        requests: of requests as they came, and of calls that wait for them.
        reserved: the announced sizes of requests that are larger than SMALL_BYTES.
        replies: of replies that wait for their reader, and of rows that running calls have read for theirs.
        unfinished: what waits for the client.
        starts: where calls wait until they may start, or read: while too much waits for its reader, none does.
    """

    def __init__(self, budget: Budget, read: Callable[[bool], None]) -> None:
        self.budget = budget
        self.requests = self.reserved = self.replies = 0
        self.unfinished: set[Refusable] = set()
        self._limit = budget.limits.max_connection_memory_bytes
        self._read = read
        self._paused: asyncio.TimerHandle | None = None
        self._reservations = self._queue(self._take_request, self.give_back)
        self.starts = self._queue(lambda _size: self.has_room, lambda _size: None)

    def __repr__(self) -> str:
        return f"<Share {self.requests} + {self.reserved} + {self.replies} bytes>"

    def _queue(self, take: Callable[[int], bool], give: Callable[[int], None]) -> Queue:
        return Queue(take, give, self._strain, self._relieved, self.budget.limits.memory_wait_s)

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
        """Wait for room for a request of `size` bytes.

        Raises:
            ResourceExhausted: there was none for too long.
        """
        await self._reservations.room(size)

    def _take_request(self, size: int) -> bool:
        budget = self.budget
        if self.reserved + self.replies + size > self._limit:
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

    @property
    def has_room(self) -> bool:
        """Whether more may be made that its client has to read."""
        budget = self.budget
        return self.replies <= self._limit and (budget.held <= budget.limit or self.held <= budget.fair)

    def replying(self, size: int) -> None:
        """A reply of `size` bytes waits to be sent."""
        self.replies += size
        self._rose(size)

    def replied(self, size: int) -> None:
        """It does not wait any more."""
        self.replies -= size
        self._fell(size)

    # Too much.

    def shed(self) -> bool:
        """Refuse what is unfinished; whether there was any."""
        unfinished = list(self.unfinished)
        for one in unfinished:
            one.refuse()
        return bool(unfinished)

    def advance(self) -> None:
        """Let go on what there is room for."""
        budget = self.budget
        relaxed = budget.held <= budget.limit * RELAXED_PART or self.requests <= budget.fair // 2
        if self._paused is not None and relaxed:
            self._paused.cancel()
            self._paused = None
            self._read(True)
        for queue in (self._reservations, self.starts):
            queue.advance()
        if not self._reservations:
            budget.line.pop(self, None)
        if not (self._paused or self._reservations or self.starts):
            budget.strained.discard(self)

    def close(self) -> None:
        """The connection is closed."""
        if self._paused is not None:
            self._paused.cancel()
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

    def _strain(self) -> None:
        self.budget.strained.add(self)

    def _relieved(self) -> bool:
        return self.budget.relieve(self)

    def _pause(self) -> None:
        self._read(False)
        self._strain()
        self._wait_paused(self.budget.limits.memory_wait_s)

    def _wait_paused(self, wait_s: float) -> None:
        self._paused = asyncio.get_running_loop().call_later(wait_s, self._paused_for_long)

    def _paused_for_long(self) -> None:
        self.shed()
        self._wait_paused(AGAIN_S)
