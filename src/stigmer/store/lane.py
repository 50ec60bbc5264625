"""A lane: one SQLite connection on a thread of its own, fed in batches.

What arrives while a batch runs goes together in the next hop, so that many callers share the cost of one: commits as a
group commit, reads as a group read.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Generic, TypeVar

from stigmer.store.base import StoreUnavailableError
from stigmer.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stigmer.store.connection import Connection

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH = 256
"""At most so many items a hop, so that a waiter's turn stays short."""


class Lane(Generic[Item, Result]):
    """Runs items on a connection, batch by batch, in order, from `open` to `shut`.

    The connection is the store's to end, when the lane is settled or nobody waits for that.

    Args:
        connection: runs the batches.
        run_batch: called on the connection's thread; gives a result or an exception for each item.
        landed: called on the event loop with each batch's results, before any waiter sees its own.
    """

    def __init__(
        self,
        connection: Connection,
        run_batch: Callable[[sqlite3.Connection, Sequence[Item]], Sequence[Result | Exception]],
        landed: Callable[[Sequence[Result | Exception]], None] | None = None,
    ) -> None:
        self.connection = connection
        self._run_batch = run_batch
        self._landed = landed
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._worker: asyncio.Task[None] | None = None
        self._open = False

    def __repr__(self) -> str:
        return f"<Lane {'open' if self._open else 'closed'}, {len(self._waiting)} waiting>"

    def open(self) -> None:
        """Take items from now on."""
        self._open = True

    def shut(self) -> None:
        """Take no more items; those that were taken are run."""
        self._open = False

    async def settled(self) -> None:
        """Wait until those that were taken are done; a wait that is cancelled does not cancel them."""
        if self._worker is not None:
            await asyncio.wait((self._worker,))

    async def submit(self, item: Item) -> Result:
        """Run one item.

        Cancelled before its batch is taken, the item never runs; cancelled later, it runs and the result is lost.

        Raises:
            StoreUnavailableError: the lane is closed, or the connection failed.
        """
        if not self._open:
            raise StoreUnavailableError("the store is closed")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            taken = [(item, future) for item, future in self._waiting[:BATCH] if not future.cancelled()]
            del self._waiting[:BATCH]
            if taken:
                await self._hop(taken)
        self._worker = None

    async def _hop(self, taken: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        items = [item for item, _ in taken]
        try:
            results = await self.connection.run(lambda connection: self._run_batch(connection, items))
        except (sqlite3.Error, ValueError) as error:  # ValueError: aiosqlite's word for a closed connection
            results = [failure(error)] * len(taken)
        except Exception as error:  # noqa: BLE001 - a fault in the batch is its callers' to see; the lane goes on
            results = [error] * len(taken)
        if self._landed is not None:
            self._landed(results)
        for (_, future), result in zip(taken, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
