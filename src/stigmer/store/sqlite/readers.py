"""Reading workers: what nobody waits for stops, slow reads make way for quick ones, no result is ahead of the feed.

`store` reads through `Readers`; `queries` has what runs here.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
import traceback
from contextlib import contextmanager, suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from stigmer.store.errors import StoreUnavailableError
from stigmer.store.rows import Page, Row
from stigmer.store.sqlite import statements as sql
from stigmer.store.sqlite.connection import SqliteConnection
from stigmer.store.sqlite.failures import failure
from stigmer.store.sqlite.worker import Entry, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from stigmer.telemetry.current import Room

Read: TypeAlias = "Callable[[Reader], Any]"
Reading: TypeAlias = "Entry[Read, Any]"
Done: TypeAlias = "list[tuple[Reading, Any]]"
T = TypeVar("T")

READERS = 5
"""How many connections read."""
SHORT = 100
"""A page of at most so many rows does not wait for longer ones."""
STEPS = 20_000
"""So many steps of SQLite's virtual machine, a millisecond or two, between two looks at whether a read may go on."""
BATCH_S = 0.002
"""Once the reads of a batch took so long, what they found is handed out, and the next batch begins."""
BUDGET_S = 0.005
"""CPU time of a read on an ordinary worker; one that takes more starts again on the worker for slow reads."""
MOVES = 3
"""So often the write-ahead log is moved on, each time what was committed meanwhile: once all is, it begins anew."""


class StoppedError(Exception):
    """A read was stopped: nobody waits for it, or its budget is used up."""


class NoRoomError(Exception):
    """A read may not begin: its client has the server hold too much already.

    Attributes:
        room: where to wait until it may.
    """

    def __init__(self, room: Room) -> None:
        self.room = room


class Reader(sqlite3.Connection):
    """A reading connection, which runs one read at a time and stops it where it must not go on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - sqlite3's own
        super().__init__(*args, **kwargs)
        self._stopped = False
        self._until_s: float | None = inf
        self._free()

    def watch(self) -> None:
        """Look after the reads from now on."""
        self.set_progress_handler(self._must_stop, STEPS)

    def attempt(self, read: Read, is_gone: Callable[[], bool], budget_s: float) -> Any:  # noqa: ANN401 - each has its own
        """What a read gives, or the exception that it ends with: StoppedError where it must not go on."""
        self._is_gone, self._budget_s, self._until_s, self._stopped = is_gone, budget_s, None, False
        try:
            return read(self)
        except Exception as error:  # noqa: BLE001 - it is this read's caller's to see; the reads of others go on
            _let_go(error)
            if self._stopped:  # whatever was made of the interrupt
                return StoppedError()
            return failure(error) if isinstance(error, sqlite3.Error) else error
        finally:
            self._free()
            if self.in_transaction:
                self.execute(sql.ROLLBACK)

    def check(self) -> None:
        """Raise StoppedError where the read must not go on; for loops over many short statements."""
        if self._must_stop():
            raise StoppedError

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """Read as of one commit."""
        self.execute(sql.BEGIN_READ)
        try:
            yield
        finally:
            self._free()  # whatever is said of the read, the transaction is ended
            self.execute(sql.COMMIT)

    def head(self) -> int:
        """The last revision committed."""
        found = self.execute(sql.REVISION).fetchone()
        return int(found[0]) if found is not None else 0

    def _free(self) -> None:
        self._is_gone, self._budget_s, self._until_s = _never, inf, inf

    def _must_stop(self) -> bool:
        if self._until_s is None:  # the first look; most reads are done before it
            self._until_s = time.thread_time() + self._budget_s
        must = self._is_gone() or time.thread_time() > self._until_s
        self._stopped |= must
        return must


class ReadWorker(Worker[Read, Any, "tuple[Done, int]"]):
    """Runs reads one by one; what they found is handed out after BATCH_S, and not before it is published.

    Args:
        connection: to a Reader.
        is_ahead: whether a revision is one that the change feed has still to tell.
        is_writing: whether a commit runs, or has still to be told.
        slower: where a read goes that takes more than BUDGET_S; without, a read may take what it needs.
    """

    def __init__(
        self,
        connection: SqliteConnection,
        is_ahead: Callable[[int], bool],
        is_writing: Callable[[], bool],
        slower: ReadWorker | None = None,
    ) -> None:
        super().__init__(connection)
        self._is_ahead = is_ahead
        self._is_writing = is_writing
        self._slower = slower
        self._held: list[Done] = []

    async def submit(self, item: Read, *, first: bool = False) -> Any:  # noqa: ANN401 - each read has a result type of its own
        """Run a read, once there is room for what it may find; raises as `Worker.submit`, and ResourceExhausted."""
        while True:
            try:
                return await super().submit(item, first=first)
            except NoRoomError as error:
                room = error.room
            await room.start()

    def _may_run(self, entry: Reading) -> bool:
        room = entry.room
        if room is None or room.may_read:
            return True
        entry.settle(NoRoomError(room))
        return False

    def release(self) -> None:
        """Hand out what was held: the feed has told all that is committed."""
        held, self._held = self._held, []
        for done in held:
            self._settle(done)

    def _tell(self, batch: list[Reading], found: tuple[Done, int]) -> None:
        done, head = found
        if len(done) < len(batch):
            self._waiting.put_back((entry.caller, entry) for entry in batch[len(done) :])
        if self._is_ahead(head):
            self._held.append(done)
        else:
            self._settle(done)

    def _run(self, connection: sqlite3.Connection, batch: list[Reading]) -> tuple[Done, int]:
        """On the connection's thread: as many reads as fit into BATCH_S, and the last commit that they may have seen.

        While nothing is being written, the feed has told whatever they saw.
        """
        assert isinstance(connection, Reader)  # noqa: S101 - for the type checkers: `Readers` connects so
        budget_s = BUDGET_S if self._slower is not None else inf
        done: Done = []
        end = time.perf_counter() + BATCH_S
        for entry in batch:
            is_gone = entry.result.cancelled
            found = StoppedError() if is_gone() else connection.attempt(entry.item, is_gone, budget_s)
            done.append((entry, found))
            if time.perf_counter() > end:
                break
        return done, connection.head() if self._is_writing() else 0

    def _settle(self, done: Done) -> None:
        for entry, found in done:
            if not isinstance(found, StoppedError):
                if entry.room is not None and not entry.result.done():
                    entry.room.read(size_of(found))
                entry.settle(found)
            elif self._slower is not None and not entry.result.cancelled():
                self._slower.add(entry)


class Readers:
    """The reading workers of a database: rows by a key, short lists, long lists, health checks, and what takes longer.

    Args:
        readers: READERS connections.
        published: the last revision that the change feed has told, to begin with.
        is_writing: whether a commit runs, or has still to be told.

    Attributes:
        workers: in the order in which they are to be settled.
    """

    def __init__(self, readers: Sequence[Reader], published: int, is_writing: Callable[[], bool]) -> None:
        self._published = published
        self._is_writing = is_writing
        points, short, lists, probes, slow = map(SqliteConnection, readers)
        self._slow = ReadWorker(slow, self._is_ahead, is_writing)
        self._points = ReadWorker(points, self._is_ahead, is_writing, self._slow)
        self._short = ReadWorker(short, self._is_ahead, is_writing, self._slow)
        self._lists = ReadWorker(lists, self._is_ahead, is_writing, self._slow)
        self._probes = ReadWorker(probes, self._is_ahead, is_writing)
        self._moved: asyncio.Future[None] | None = None
        self.workers = (self._points, self._short, self._lists, self._probes, self._slow)

    def __repr__(self) -> str:
        return f"<Readers {self.workers}>"

    async def point(self, read: Callable[[Reader], T]) -> T:
        """Read what is found by a key."""
        return cast("T", await self._points.submit(read))

    async def list(self, read: Callable[[Reader], T], limit: int | None = None) -> T:
        """Read what may be long; `limit` rows at most, where that is known."""
        worker = self._short if limit is not None and limit <= SHORT else self._lists
        return cast("T", await worker.submit(read))

    async def probe(self) -> None:
        """See that the database can be read, whatever is being read."""
        await self._probes.submit(lambda connection: connection.execute(sql.PROBE).fetchone())

    def move_log(self, check: Callable[[], None]) -> None:
        """Have what was committed moved from the write-ahead log into the database, where no commit waits for that.

        Args:
            check: called before, on the thread; raises StoreUnavailableError where nothing must be written any more.
        """
        if self._moved is None or self._moved.done():
            self._moved = asyncio.get_running_loop().create_future()
            self._lists.add(Entry(partial(_move_log, check), self._moved, ""), first=True)

    async def log_moved(self) -> None:
        """Wait until what is being moved has been."""
        if self._moved is not None:
            await asyncio.wait((self._moved,))

    def publish(self, revision: int) -> None:
        """The feed has told all up to a revision, the last one committed."""
        self._published = revision
        for worker in self.workers:
            worker.release()

    def _is_ahead(self, revision: int) -> bool:
        return revision > self._published and self._is_writing()


def _move_log(check: Callable[[], None], connection: Reader) -> None:
    """Nobody is told of a failure: the next commit meets what is wrong."""
    with suppress(StoreUnavailableError, sqlite3.Error):
        check()
        for _ in range(MOVES):
            _, pages, moved = connection.execute(sql.MOVE).fetchone()
            if pages == moved:
                break


def _let_go(error: BaseException | None) -> None:
    """Clear the frames that an error has passed: a cursor there would keep later reads at the commit that it read."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def size_of(found: object) -> int:
    """How many bytes of rows a read has found."""
    if isinstance(found, Row):
        return len(found.data)
    rows = found.rows if isinstance(found, Page) else cast("list[object]", found) if isinstance(found, list) else ()
    return sum(len(row.data) for row in rows if isinstance(row, Row))


def _never() -> bool:
    return False
