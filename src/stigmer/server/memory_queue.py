"""Those that wait for memory, in order, and how each wait ends: with memory, with a refusal, or by its caller.

`memory` has two queues for each connection.
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


class Owner(Protocol):
    """For whom calls wait."""

    def strain(self) -> None:
        """Somebody has to wait."""

    def relieved(self) -> bool:
        """Asked for each that waited long enough: whether others were refused in its place."""
        ...


def exhausted() -> ResourceExhausted:
    """The failure of a call for which there was no memory."""
    return ResourceExhausted("too much is held for requests and replies already: try again later", retry_after_s=1.0)


class _Waiter:
    """One that waits: `granted` is True when `take` was."""

    __slots__ = ("granted", "take", "timer")

    def __init__(self, take: Callable[[], bool], granted: asyncio.Future[bool]) -> None:
        self.take, self.granted = take, granted
        self.timer: asyncio.TimerHandle | None = None


class MemoryQueue:
    """Those that wait for memory, first come, first served.

    Args:
        wait_s: how long one waits.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._waiting: deque[_Waiter] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def wait(self, owner: Owner, take: Callable[[], bool], give_back: Callable[[], None] = lambda: None) -> None:
        """Wait until `take` takes what it asks for, after those who came before.

        Args:
            owner: for whom.
            take: takes it where it is there, and says whether it was.
            give_back: gives it back, where the caller is cancelled just then.

        Raises:
            ResourceExhausted: it was not there for `wait_s`.
        """
        if not self._waiting and take():
            return
        loop = asyncio.get_running_loop()
        waiter = _Waiter(take, loop.create_future())
        waiter.timer = loop.call_later(self._wait_s, self._late, owner, waiter)
        self._waiting.append(waiter)
        owner.strain()
        try:
            granted = await waiter.granted
        except asyncio.CancelledError:
            if not waiter.granted.cancelled() and waiter.granted.result():
                give_back()
            raise
        finally:
            waiter.timer.cancel()
        if not granted:
            raise exhausted()

    def advance(self) -> None:
        """Let go on whom there is memory for."""
        while self._waiting:
            waiter = self._waiting[0]
            if not waiter.granted.done():
                if not waiter.take():
                    return
                waiter.granted.set_result(True)
            self._waiting.popleft()

    def _late(self, owner: Owner, waiter: _Waiter) -> None:
        if waiter.granted.done():
            return
        if owner.relieved():
            waiter.timer = asyncio.get_running_loop().call_later(AGAIN_S, self._late, owner, waiter)
        else:
            waiter.granted.set_result(False)
            self.advance()
