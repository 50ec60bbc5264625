"""Queues at contended rows: a run that lost a race waits for the row. `unit_of_work` runs losers again through here."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from stigmer.store.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

WAIT_S = 5.0
"""How long a call waits for a contended row before it tries without."""


class RowQueues:
    """One queue for each contended row: losers wait for it instead of racing again.

    A queue only spares useless runs; what is written is decided by the store alone. Hence nobody waits for longer than
    WAIT_S: a call may hold a row while it waits for another call that wants it.

    Attributes:
        interested: how many hold each contended row or wait for it.
    """

    def __init__(self) -> None:
        self._locks: defaultdict[tuple[str, ...], asyncio.Lock] = defaultdict(asyncio.Lock)
        self.interested: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def __repr__(self) -> str:
        return f"<RowQueues for {len(self._locks)} rows>"

    @asynccontextmanager
    async def queue(self) -> AsyncGenerator[Callable[[tuple[str, ...]], Awaitable[None]]]:
        """Call what it gives with a key to wait for that row; it is held until the next one, or the end."""
        held: list[tuple[str, ...]] = []

        async def hold(key: tuple[str, ...]) -> None:
            if key in held:
                return
            self._release(held)
            if await self._acquire(key):
                held.append(key)

        try:
            yield hold
        finally:
            self._release(held)

    def yield_to_queues(self, keys: Iterable[tuple[str, ...]]) -> None:
        """Let those go first who wait for one of the keys, where more than one does.

        Raises:
            ConflictError: they do.
        """
        for key in keys:
            if self.interested.get(key, 0) > 1:
                raise ConflictError(key)

    async def _acquire(self, key: tuple[str, ...]) -> bool:
        self.interested[key] += 1
        try:
            async with asyncio.timeout(WAIT_S):
                await self._locks[key].acquire()
        except BaseException as error:
            self._forget(key)
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def _release(self, held: list[tuple[str, ...]]) -> None:
        for key in held:
            self._locks[key].release()
            self._forget(key)
        held.clear()

    def _forget(self, key: tuple[str, ...]) -> None:
        self.interested[key] -= 1
        if not self.interested[key]:
            del self.interested[key], self._locks[key]
