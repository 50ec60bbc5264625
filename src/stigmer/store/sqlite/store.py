"""The SQLite backend: a writing worker that commits in groups, reading workers, a row cache.

`app` opens one. WAL and synchronous=FULL: an acknowledged write survives `kill -9` and power loss. SQL stands in
`statements`, what runs on the connections' threads in `queries` and `writer`, the schema in `migrations/`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from stigmer.access.principal import includes
from stigmer.access.threads import on_thread
from stigmer.store.changes import Changes
from stigmer.store.errors import StoreUnavailableError
from stigmer.store.feed import LocalFeed
from stigmer.store.lifetime import LEAST_S, PATIENCE_S, Grace, outlast, tell, undoable
from stigmer.store.rows import SEALED, secret_of
from stigmer.store.sqlite import queries
from stigmer.store.sqlite.cache import RowCache
from stigmer.store.sqlite.connection import SqliteConnection, end_all
from stigmer.store.sqlite.failures import failure
from stigmer.store.sqlite.files import FILE_NAME, size_bytes
from stigmer.store.sqlite.opening import Database, open_database
from stigmer.store.sqlite.readers import Readers
from stigmer.store.sqlite.shredder import Shredder
from stigmer.store.sqlite.worker import BatchWorker, Worker
from stigmer.store.sqlite.writer import Commit, Outcome, Writer, Written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

    from stigmer.access.principal import Owners
    from stigmer.store.changes import Change
    from stigmer.store.rows import LogEntry, Page, Query, Record, Row, Use, Window
    from stigmer.store.sqlite.readers import Reader

T = TypeVar("T")

CACHE_BYTES = 64 * 1024 * 1024
LOG_BYTES = 1 * 1024 * 1024
"""Once so much was committed, the write-ahead log is moved into the database: as often as SQLite would by itself."""
COMMIT_BYTES = 24 * 1024
"""What a commit adds to the log beside its rows, roughly."""


class SqliteStore:
    """A store in one directory; what its methods do, `contract.Store` says.

    An async context manager; it holds the directory's lock while it is open.

    Args:
        directory: made (mode 0700) where it is missing; holds the database and the lock file.
        max_subscriptions: for the change feed.
        cache_bytes: bound of the row cache; 0 turns it off.
        grace: what it may take to close; as long as it takes where None.
        observe: told how many transactions went in each commit, and how many seconds it took; on the writer's thread.

    Raises:
        StartupError: on entering; see `open_database`.
        StoreUnavailableError: on leaving, when the grace is over and the disk does not answer. Nothing acknowledged is
            lost; the directory stays locked until the disk answers, or the process ends.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_subscriptions: int = 10_000,
        cache_bytes: int = CACHE_BYTES,
        grace: Grace | None = None,
        observe: Callable[[int, float], None] = lambda _transactions, _duration_s: None,
    ) -> None:
        self._directory = directory
        self._feed = LocalFeed(max_subscriptions)
        self._cache_bytes = cache_bytes
        self._cache = RowCache(self._feed, cache_bytes)
        self._grace, self._observe = grace, observe
        self._closed = asyncio.Event()
        self._closed.set()
        self._workers: tuple[Worker[Any, Any, Any], ...] = ()
        self._path = directory / FILE_NAME
        self._shredder = Shredder(self._log_cut)

    def __repr__(self) -> str:
        return f"<SqliteStore {self._path}>"

    @property
    def feed(self) -> LocalFeed:
        return self._feed

    async def __aenter__(self) -> Self:
        database = await undoable(partial(open_database, self._directory, self._cache_bytes), Database.close)
        self._run(database)  # no await from here on: what is open has an owner
        self._feed.reopen(database.revision)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Run what was asked for, then close; where it is cancelled it closes at once, and it may be tried again."""
        self._feed.shut()
        self._shredder.stop()  # when the last connection closes, SQLite removes the log
        for worker in self._workers:
            worker.shut()
        try:
            await self._settled()
        except asyncio.CancelledError:
            self._end()
            with suppress(asyncio.CancelledError):
                await outlast(self._closed, PATIENCE_S)
            raise
        self._end()
        if not await outlast(self._closed, self._grace.closing_s() if self._grace is not None else None):
            raise StoreUnavailableError(
                f"{self._path} does not close, because the disk does not answer: it stays locked until this process"
                " ends; what was acknowledged is safe"
            )

    def _run(self, database: Database) -> None:
        """Set threads to work on an open database."""
        self._lock, self._closed, self._root_key = database.lock, asyncio.Event(), database.root_key
        self._cut, self._check, self._logged_bytes = database.cut_log, database.check_files, 0
        self._compact = database.compact
        self._shredder = Shredder(self._log_cut)
        self._cache.keep(database.newest)
        self._writer = Writer(database.revision, database.check_files)
        self._writes = BatchWorker[Commit, Written](
            SqliteConnection(database.writes), self._timed, self._publish, lambda commit: commit.changes.size_bytes
        )
        self._reads = Readers(database.readers, database.revision, lambda: self._writes.is_busy)
        self._workers = (self._writes, *self._reads.workers)
        for worker in self._workers:
            worker.open()

    def _timed(self, connection: sqlite3.Connection, batch: Sequence[Commit]) -> Sequence[Outcome]:
        started = time.perf_counter()
        outcomes = self._writer.run(connection, batch)
        if transactions := sum(commit is not _NOTHING for commit in batch):
            self._observe(transactions, time.perf_counter() - started)
        return outcomes

    async def _settled(self) -> None:
        """Wait for what was asked for, as long as there is time for it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace.left_s() - LEAST_S if self._grace is not None else None):
                for worker in self._workers:
                    await worker.settled()

    def _end(self) -> None:
        """Have the threads close what they work on, the writing one last, and let go of the directory."""
        workers, self._workers = self._workers, ()
        self._cache.clear()  # the next owner of the directory writes without telling us
        if workers:
            self._reads.publish(self._writer.revision)
            loop, lock, closed = asyncio.get_running_loop(), self._lock, self._closed

            def release() -> None:
                lock.release()
                tell(loop, closed.set)

            end_all([worker.connection for worker in reversed(workers)], release)

    def _publish(self, batch: Sequence[Commit], outcomes: Sequence[Outcome]) -> None:
        try:
            for commit, outcome in zip(batch, outcomes, strict=True):
                if not commit.dry_run and not isinstance(outcome, Exception):
                    self._feed.publish(outcome.changes)
                    self._cache.note_records(outcome.records)
        except BaseException:
            self._cache.clear()  # rows and records may be of different commits
            raise
        finally:
            self._reads.publish(self._writer.revision)
            if self._writer.shreds != self._shredder.done:
                self._shredder.note(self._writer.shreds)
            self._move_log(COMMIT_BYTES + sum(commit.changes.size_bytes for commit in batch))

    def _move_log(self, size: int) -> None:
        """Note what was committed; while much was, no commit waits for the disk to take all of it."""
        self._logged_bytes += size
        if self._logged_bytes > LOG_BYTES:
            self._logged_bytes = 0
            self._reads.move_log(self._check)

    def secret(self, name: str) -> bytes:
        return secret_of(self._root_key, name)

    async def get(self, kind: str, id_: str, owners: Owners | None = None) -> Row | None:
        cached = self._cache.by_id(kind, id_)
        if cached is not None and includes(owners, cached.owner):
            return cached
        return await self._filled(lambda reader: queries.by_id(reader, kind, id_, owners))

    async def by_slug(self, kind: str, slug: str, namespace: str, owners: Owners | None = None) -> Row | None:
        cached = self._cache.by_slug(kind, slug, namespace)
        if cached is not None and includes(owners, cached.owner):
            return cached
        return await self._filled(lambda reader: queries.by_slug(reader, kind, slug, namespace, owners))

    async def by_slug_anywhere(
        self, kind: str, slug: str, owners: Owners | None = None, limit: int = 2
    ) -> Sequence[Row]:
        def read() -> Awaitable[Sequence[Row]]:
            return self._reads.point(lambda reader: queries.by_slug_anywhere(reader, kind, slug, owners, limit))

        only = self._cache.only(kind, slug)
        if only is not None and includes(owners, only.owner):
            return [only]
        if owners is not None or limit == 1:  # then one that is found need not be the only one
            return await read()
        return await self._cache.fill_only(kind, slug, read)

    async def page(self, query: Query, window: Window) -> Page:
        return await self._reads.list(lambda reader: queries.page(reader, query, window), window.limit)

    async def intact(self, kind: str, before: int | None, limit: int) -> tuple[Sequence[Row], int | None]:
        return await self._reads.list(lambda reader: queries.intact(reader, kind, before, limit), limit)

    async def newest(self, kind: str, field: str, value: str) -> Row | None:
        return await self._reads.point(lambda reader: queries.newest(reader, kind, field, value))

    async def holders(self, kind: str, field: str, values: Iterable[str]) -> Sequence[str]:
        return await self._reads.list(lambda reader: queries.holders(reader, kind, field, values))

    async def now_ms(self) -> int:
        """This process's clock, as it alone owns the database."""
        return time.time_ns() // 1_000_000

    async def record(self, table: str, key: str) -> Record | None:
        def read() -> Awaitable[Record | None]:
            return self._reads.point(lambda reader: queries.record(reader, table, key))

        if table != SEALED:
            return await read()
        return self._cache.record(key) or await self._cache.fill_record(key, read)

    async def records(self, table: str, prefix: str = "", after: str = "", limit: int = 1000) -> Sequence[Record]:
        return await self._reads.list(lambda reader: queries.records(reader, table, prefix, after, limit), limit)

    async def log(self, name: str, after: int = 0, limit: int = 1000) -> Sequence[LogEntry]:
        return await self._reads.list(lambda reader: queries.log(reader, name, after, limit), limit)

    async def unused(self, since_ms: int, after: Use | None = None, limit: int = 100) -> Sequence[Use]:
        return await self._reads.list(lambda reader: queries.unused(reader, since_ms, after, limit), limit)

    async def last_entry(self, name: str) -> LogEntry | None:
        return await self._reads.point(lambda reader: queries.last_entry(reader, name))

    async def commit(self, changes: Changes, *, dry_run: bool = False) -> Sequence[Change]:
        return (await self._writes.submit(Commit(changes, dry_run))).changes

    async def size_bytes(self) -> int:
        return await on_thread(lambda: size_bytes(self._directory))

    async def maintain(self) -> None:
        """Move the write-ahead log into the database and cut it off, unless reads are in the way just now."""
        await self._log_cut()

    async def compact(self) -> None:
        await self._alone(self._compact)

    async def _log_cut(self) -> bool:
        return await self._alone(self._cut)

    async def _alone(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run what moves the log on the writing connection, while no reader does."""
        await self._reads.log_moved()
        try:
            return await self._writes.connection.run(work)
        except (sqlite3.Error, ValueError) as error:  # ValueError: it is closed
            raise failure(error) from error

    async def probe(self) -> None:
        """Open a transaction on the writing worker before those that wait, and read on a worker of its own."""
        await self._writes.submit(_NOTHING, first=True)  # first: it knows best what is wrong with a file
        await self._reads.probe()

    async def _filled(self, read: Callable[[Reader], Row | None]) -> Row | None:
        return await self._cache.fill(lambda: self._reads.point(read))


_NOTHING = Commit(Changes())
