"""Those that wait for room in a budget, in order, and how each wait ends: with room, with a refusal, or by its caller.

`budget` has a queue for each kind of room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from stigmer.errors import ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Callable

AGAIN_S = 1.0  # how long refused calls may take to give their bytes back before others are refused


class Refusable(Protocol):
    """What waits for a client's doing and holds bytes meanwhile."""

    def refuse(self) -> None:
        """End it with `exhausted()`."""


def exhausted() -> ResourceExhausted:
    """The failure of a call for which there was no room."""
    return ResourceExhausted("too much is held for requests and replies already: try again later", retry_after_s=1.0)


class _Ticket:
    """One that waits for room."""

    __slots__ = ("size", "timer", "turn")

    def __init__(self, size: int, turn: asyncio.Future[bool]) -> None:
        self.size, self.turn = size, turn
        self.timer: asyncio.TimerHandle | None = None


class Queue:
    """Those that wait for one kind of room, first come, first served.

    Args:
        take: takes the room for so many bytes where it is there, and says whether it was.
        give: gives it back.
        strained: told when somebody has to wait.
        relieved: asked for each that waited long enough: whether others were refused in its place.
        wait_s: how long one waits.
    """

    def __init__(
        self,
        take: Callable[[int], bool],
        give: Callable[[int], None],
        strained: Callable[[], None],
        relieved: Callable[[], bool],
        wait_s: float,
    ) -> None:
        self._take, self._give, self._strained, self._relieved = take, give, strained, relieved
        self._wait_s = wait_s
        self._waiting: deque[_Ticket] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def room_now(self, size: int) -> bool:
        """Take room for `size` bytes where nobody has to wait; whether there was any."""
        return not self._waiting and self._take(size)

    async def room(self, size: int) -> None:
        """Take room for `size` bytes, after those who came before.

        Raises:
            ResourceExhausted: there was none for `wait_s`.
        """
        if self.room_now(size):
            return
        loop = asyncio.get_running_loop()
        ticket = _Ticket(size, loop.create_future())
        ticket.timer = loop.call_later(self._wait_s, self._late, ticket)
        self._waiting.append(ticket)
        self._strained()
        try:
            granted = await ticket.turn
        except asyncio.CancelledError:
            if not ticket.turn.cancelled() and ticket.turn.result():
                self._give(size)
            raise
        finally:
            ticket.timer.cancel()
        if not granted:
            raise exhausted()

    def advance(self) -> None:
        """Let in whom there is room for."""
        while self._waiting:
            ticket = self._waiting[0]
            if not ticket.turn.done():
                if not self._take(ticket.size):
                    return
                ticket.turn.set_result(True)
            self._waiting.popleft()

    def _late(self, ticket: _Ticket) -> None:
        if ticket.turn.done():
            return
        if self._relieved():
            ticket.timer = asyncio.get_running_loop().call_later(AGAIN_S, self._late, ticket)
        else:
            ticket.turn.set_result(False)
            self.advance()
