"""A worker: one SQLite connection on a thread of its own, fed in batches.

What arrives while a batch runs goes together in the next one, so that many callers share the cost of one: commits as a
group commit here, reads one by one in `readers`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from stigmer.store.errors import StoreUnavailableError
from stigmer.store.sqlite.failures import failure
from stigmer.telemetry.current import CURRENT
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stigmer.store.sqlite.connection import SqliteConnection
    from stigmer.telemetry.current import Room

Item = TypeVar("Item")
Result = TypeVar("Result")
Found = TypeVar("Found")
T = TypeVar("T")

BATCH = 256
"""At most so many items a batch, so that nobody waits long for the next."""
BATCH_BYTES = 16 * 1024 * 1024
"""Once its items write so many bytes, a batch takes no more of them."""

log = get_logger("stigmer.store.sqlite.worker")


@dataclass(eq=False, slots=True)
class Entry(Generic[Item, Result]):
    """An item that waits, or runs.

    Attributes:
        item: what to run.
        result: what its caller waits for; cancelled where it waits no more.
        caller: who sent it; callers are served round robin.
        room: what is asked before rows are read for it.
    """

    item: Item
    result: asyncio.Future[Result]
    caller: str
    room: Room | None = None

    def settle(self, outcome: Result | Exception) -> None:
        """Tell the caller, if it still waits."""
        if self.result.done():
            return
        if isinstance(outcome, Exception):
            self.result.set_exception(outcome)
        else:
            self.result.set_result(outcome)


class FairQueue(Generic[T]):
    """Items by caller, served round robin: who sends a flood waits for itself, the others for one item of it."""

    def __init__(self) -> None:
        self._callers: OrderedDict[str, deque[T]] = OrderedDict()  # the next to be served first

    def __len__(self) -> int:
        return sum(map(len, self._callers.values()))

    def __bool__(self) -> bool:
        return bool(self._callers)

    def __repr__(self) -> str:
        return f"<FairQueue {len(self)} items of {len(self._callers)} callers>"

    def put(self, caller: str, item: T) -> None:
        """Add a caller's last item."""
        self._callers.setdefault(caller, deque()).append(item)

    def put_back(self, items: Iterable[tuple[str, T]]) -> None:
        """Return items, in the order in which they were taken: they are the next to be taken again."""
        for caller, item in reversed(list(items)):
            self._callers.setdefault(caller, deque()).appendleft(item)
            self._callers.move_to_end(caller, last=False)

    def take(self) -> T | None:
        """The next item; None where the queue is empty."""
        if not self._callers:
            return None
        caller, queue = self._callers.popitem(last=False)
        item = queue.popleft()
        if queue:
            self._callers[caller] = queue
        return item


class Worker(ABC, Generic[Item, Result, Found]):
    """Runs items on a connection, its callers round robin, from `open` to `shut`.

    A caller is what a connection's calls have in common, the peer of the outermost one. The connection is the store's
    to end, when the worker is settled or nobody waits for that.

    Args:
        connection: runs the items.
    """

    def __init__(self, connection: SqliteConnection) -> None:
        self.connection = connection
        self._waiting = FairQueue[Entry[Item, Result]]()
        self._idle = asyncio.Event()
        self._idle.set()
        self._open = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'open' if self._open else 'closed'}, {len(self._waiting)} waiting>"

    @property
    def is_busy(self) -> bool:
        """Whether items wait or run, or have still to be told of."""
        return not self._idle.is_set()

    def open(self) -> None:
        """Take items from now on."""
        self._open = True

    def shut(self) -> None:
        """Take no more items; those that were taken are run."""
        self._open = False

    async def settled(self) -> None:
        """Wait until those that were taken are done; a wait that is cancelled does not cancel them."""
        await self._idle.wait()

    async def submit(self, item: Item, *, first: bool = False) -> Result:
        """Run one item; with `first`, before all that wait.

        Cancelled before its batch is taken, the item never runs; cancelled later, it runs and the result is lost.

        Raises:
            StoreUnavailableError: the worker is closed, or the connection failed.
        """
        if not self._open:
            raise StoreUnavailableError("the store is closed")
        call = CURRENT.get()
        if call is None or first:
            caller, room = "", None
        else:
            caller, room = call.outermost.peer, call.outermost.room
        entry = Entry[Item, Result](item, asyncio.get_running_loop().create_future(), caller, room)
        self.add(entry, first=first)
        return await entry.result

    def add(self, entry: Entry[Item, Result], *, first: bool = False) -> None:
        """Run an entry after those before it, also one that a worker hands on when it is shut."""
        if first:
            self._waiting.put_back([(entry.caller, entry)])
        else:
            self._waiting.put(entry.caller, entry)
        if not self.is_busy:
            self._idle.clear()
            self._next()

    def _next(self) -> None:
        """Have the thread run the next batch, at once and by no task: that would be turns of the loop later."""
        while self._waiting:
            if batch := self._taken():
                try:
                    self.connection.post(partial(self._run, batch=batch), partial(self._ran, batch))
                except ValueError as error:  # aiosqlite's word for a closed connection
                    self._failed(batch, failure(error))
                else:
                    return
        self._idle.set()

    def _ran(self, batch: list[Entry[Item, Result]], found: Found | None, error: BaseException | None) -> None:
        """The thread is done with a batch; a fault in it is its callers' to see, and the worker goes on."""
        try:
            if isinstance(error, sqlite3.Error):
                self._failed(batch, failure(error))
            elif error is not None:
                self._failed(batch, error if isinstance(error, Exception) else RuntimeError(repr(error)))
            else:
                self._tell(batch, cast("Found", found))
        finally:
            self._next()

    def _taken(self) -> list[Entry[Item, Result]]:
        """The next batch, without what nobody waits for."""
        batch: list[Entry[Item, Result]] = []
        size = 0
        while len(batch) < BATCH and size < BATCH_BYTES and (entry := self._waiting.take()) is not None:
            if not entry.result.cancelled() and self._may_run(entry):
                batch.append(entry)
                size += self._size_of(entry.item)
        return batch

    def _may_run(self, entry: Entry[Item, Result]) -> bool:
        """Whether it may run now; one that may not is settled."""
        del entry
        return True

    def _size_of(self, item: Item) -> int:
        """How many bytes an item writes."""
        del item
        return 0

    @abstractmethod
    def _run(self, connection: sqlite3.Connection, batch: list[Entry[Item, Result]]) -> Found:
        """Run a batch, on the connection's thread."""

    @abstractmethod
    def _tell(self, batch: list[Entry[Item, Result]], found: Found) -> None:
        """Settle what was run, on the event loop; what was not is put back."""

    def _failed(self, batch: list[Entry[Item, Result]], error: Exception) -> None:
        """A batch failed as a whole."""
        for entry in batch:
            entry.settle(error)


class BatchWorker(Worker[Item, Result, Sequence[Result | Exception]]):
    """A worker whose batches are run as a whole, such as transactions in one commit.

    Args:
        connection: runs the batches.
        run_batch: called on the connection's thread; gives a result or an exception for each item.
        landed: called on the event loop with each batch and its results, before any waiter sees its own.
        size_of: how many bytes an item writes; a batch of BATCH_BYTES takes no more items.
    """

    def __init__(
        self,
        connection: SqliteConnection,
        run_batch: Callable[[sqlite3.Connection, Sequence[Item]], Sequence[Result | Exception]],
        landed: Callable[[Sequence[Item], Sequence[Result | Exception]], None] = lambda _items, _results: None,
        size_of: Callable[[Item], int] = lambda _item: 0,
    ) -> None:
        super().__init__(connection)
        self._run_batch = run_batch
        self._landed = landed
        self._weigh = size_of

    def _size_of(self, item: Item) -> int:
        return self._weigh(item)

    def _run(self, connection: sqlite3.Connection, batch: list[Entry[Item, Result]]) -> Sequence[Result | Exception]:
        return self._run_batch(connection, [entry.item for entry in batch])

    def _tell(self, batch: list[Entry[Item, Result]], found: Sequence[Result | Exception]) -> None:
        self._land([entry.item for entry in batch], found)
        for entry, result in zip(batch, found, strict=True):
            entry.settle(result)

    def _failed(self, batch: list[Entry[Item, Result]], error: Exception) -> None:
        self._tell(batch, [error] * len(batch))

    def _land(self, items: Sequence[Item], results: Sequence[Result | Exception]) -> None:
        try:
            self._landed(items, results)
        except Exception as error:  # what was committed is: its callers are told so, and the worker goes on
            log.exception("What landed could not be told", error=repr(error))
