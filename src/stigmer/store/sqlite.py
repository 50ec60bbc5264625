"""The SQLite backend: a writing lane that commits in groups, two reading lanes, a row cache.

`app` opens one. WAL and synchronous=FULL: an acknowledged write survives `kill -9` and power loss. SQL stands in
`statements`, what runs on the connections' threads in `reading` and `writing`, the schema in `migrations/`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from anyio import to_thread

from stigmer.startup import StartupError
from stigmer.store import reading
from stigmer.store import statements as sql
from stigmer.store.base import Changes, StoreUnavailableError
from stigmer.store.cache import RowCache
from stigmer.store.feed import ChangeFeed
from stigmer.store.lane import Lane, connect
from stigmer.store.migration import check, migrate
from stigmer.store.writing import Outcome, Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

    from stigmer.store.base import Change, Page, Query, Row, Window

FILE_NAME = "stigmer.db"
LOCK_NAME = "stigmer.lock"
CACHE_BYTES = 64 * 1024 * 1024
BUSY_TIMEOUT_S = 5.0


class SqliteStore:
    """A store in one directory. An async context manager; it holds the directory's lock while it is open.

    Args:
        directory: made (mode 0700) where it is missing; holds the database and the lock file.
        max_subscriptions: for the change feed.
        cache_bytes: bound of the row cache; 0 turns it off.

    Raises (on entering):
        StartupError: the directory cannot be written, another process has it, or the database is corrupt or newer.
    """

    def __init__(self, directory: Path, *, max_subscriptions: int = 10_000, cache_bytes: int = CACHE_BYTES) -> None:
        self._directory = directory
        self._feed = ChangeFeed(max_subscriptions)
        self._cache = RowCache(cache_bytes)
        self._feed.listen(self._cache.note)
        self._stack = AsyncExitStack()
        self._path = directory / FILE_NAME

    def __repr__(self) -> str:
        return f"<SqliteStore {self._path}>"

    @property
    def feed(self) -> ChangeFeed:
        """Committed changes in commit order."""
        return self._feed

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            hold = Hold(self._directory)
            stack.callback(hold.release)
            await to_thread.run_sync(hold.take)
            await to_thread.run_sync(_make_private, self._path)
            await self._open(stack)
            self._stack = stack.pop_all()
        self._feed.reopen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.shut()
        try:
            await self._stack.aclose()
        finally:
            self._cache.clear()  # the next owner of the directory writes without telling us

    async def _open(self, stack: AsyncExitStack) -> None:
        lock = await to_thread.run_sync(Place, self._directory / LOCK_NAME)
        database = await to_thread.run_sync(Place, self._path)

        def check_files() -> None:
            lock.check()
            database.check()

        writer = Writer(0, check_files)
        self._writes = Lane["Changes", "list[Change]"](self._connection(), writer.run, self._publish)
        self._points = Lane["reading.Read", Any](self._connection(), reading.run_reads)
        self._pages = Lane["reading.Read", Any](self._connection(), reading.run_reads)
        try:
            await stack.enter_async_context(self._writes)
            writer.revision = await self._writes.connection.run(_prepared)
            self._root_key = await self._writes.connection.run(_root_key)
            for lane in (self._points, self._pages):
                await stack.enter_async_context(lane)
                await lane.connection.run(_reader)
        except sqlite3.Error as error:
            raise _cannot_open(self._path, error) from error

    def _connection(self) -> Any:  # noqa: ANN401 - lane.Connection, which mypy sees as untyped
        return connect(self._path, timeout_s=BUSY_TIMEOUT_S)

    def _publish(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if not isinstance(outcome, Exception):
                self._feed.publish(outcome)

    def secret(self, name: str) -> bytes:
        """32 bytes of this database's own for the name."""
        return hashlib.blake2b(name.encode(), key=self._root_key, digest_size=32).digest()

    async def get(self, kind: str, id_: str) -> Row | None:
        """The row with that id."""
        return self._cache.by_id(kind, id_) or await self._filled(reading.one(sql.GET, kind, id_))

    async def by_slug(self, kind: str, slug: str, namespace: str) -> Row | None:
        """The row that holds the slug in the namespace."""
        cached = self._cache.by_slug(kind, slug, namespace)
        return cached or await self._filled(reading.one(sql.BY_SLUG, kind, slug, namespace))

    async def by_slug_anywhere(self, kind: str, slug: str, limit: int = 2) -> Sequence[Row]:
        """At most `limit` rows that hold the slug; the one in the empty namespace comes first."""
        rows: list[Row] = await self._points.submit(reading.several(sql.BY_SLUG_ANYWHERE, kind, slug, limit))
        return rows

    async def page(self, query: Query, window: Window) -> Page:
        """The query's rows within the window, read as of one commit."""
        page: Page = await self._pages.submit(reading.page(query, window))
        return page

    async def newest(self, kind: str, field: str, value: str) -> Row | None:
        """The newest row of the kind whose `field` holds the value."""
        row: Row | None = await self._points.submit(reading.one(sql.NEWEST_OF_KEY, kind, field, value))
        return row

    async def holders(self, kind: str, field: str, values: Iterable[str]) -> Sequence[str]:
        """The ids of the kind's rows whose `field` holds one of the values."""
        ids: list[str] = await self._pages.submit(reading.holders(kind, field, values))
        return ids

    async def commit(self, changes: Changes) -> Sequence[Change]:
        """Write all of it durably, or nothing; see `base.Store.commit`."""
        return await self._writes.submit(changes)

    async def probe(self) -> None:
        """Read one row on each reading lane, and open a transaction on the writing one."""
        for lane in (self._points, self._pages):
            await lane.submit(lambda connection: connection.execute(sql.PROBE).fetchone())
        await self._writes.submit(_NOTHING)

    async def _filled(self, read: reading.Read) -> Row | None:
        return await self._cache.fill(lambda: self._points.submit(read))


_NOTHING = Changes()


class Place:
    """A file of the running store: where it stands must not be taken from under it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._standing()

    def __repr__(self) -> str:
        return f"<Place {self._path}>"

    def check(self) -> None:
        """Raise StoreUnavailableError where the file was deleted or replaced: what is written would be lost."""
        if self._standing() != self._file:
            raise StoreUnavailableError(
                f"{self._path} was deleted or replaced while the server runs: stop it, put the file back, start again"
            )

    def _standing(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


class Hold:
    """The lock on a data directory: no other process, and no other store of this one, can hold it meanwhile."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._handle: int | None = None

    def __repr__(self) -> str:
        return f"<Hold on {self._directory}, {'free' if self._handle is None else 'held'}>"

    def take(self) -> None:
        """Make the directory where it is missing, and lock it; blocks for some file operations.

        Raises:
            StartupError: another has it, or it cannot be made or written.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = os.open(self._directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartupError(
                f"cannot write the data directory {self._directory} ({error.strerror}): choose another with --data-dir"
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartupError(
                f"another stigmer has the data directory {self._directory}: stop it, or choose another with --data-dir"
            ) from error

    def release(self) -> None:
        """Let go of the directory, if it was taken."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def _make_private(path: Path) -> None:
    """Make the database file, for its owner's eyes only; SQLite gives its log and index the same mode.

    Raises:
        StartupError: it cannot be made.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StartupError(
            f"cannot open the database {path} ({error.strerror}): check its permissions and the disk's free space"
        ) from error


def _prepared(connection: sqlite3.Connection) -> int:
    """Set the writing connection up; gives the last revision."""
    check(connection)  # before the first pragma changes a file that is not ours
    for pragma in sql.PRAGMAS:
        connection.execute(pragma)
    migrate(connection)
    found = connection.execute(sql.PROBE).fetchone()
    return int(found[0]) if found is not None else 0


def _root_key(connection: sqlite3.Connection) -> bytes:
    return bytes(connection.execute(sql.ROOT_KEY).fetchone()[0])


def _reader(connection: sqlite3.Connection) -> None:
    for pragma in (*sql.PRAGMAS, sql.READ_ONLY):
        connection.execute(pragma)


def _cannot_open(path: Path, error: sqlite3.Error) -> StartupError:
    if "locked" in str(error):
        return StartupError(f"another program has the database {path} locked: close it and start again")
    lacks = any(words in str(error) for words in ("no such", "has no column"))  # what its version says is not in it
    if isinstance(error, sqlite3.OperationalError) and not lacks:
        return StartupError(
            f"cannot open the database {path} ({error}): check its permissions and the disk's free space"
        )
    return StartupError(f"the database {path} is damaged ({error}): restore a backup, or use another --data-dir")
