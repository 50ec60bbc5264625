"""Opens the database of a data directory, all of it on one thread; `store` runs it there.

The order is: lock, files, what the file is, migrations, connections. Whatever is wrong is one StartupError.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import StartupError
from stigmer.store.errors import DamagedError
from stigmer.store.sqlite import statements as sql
from stigmer.store.sqlite.cache import size_of
from stigmer.store.sqlite.connection import Raw, connect
from stigmer.store.sqlite.failures import is_damage
from stigmer.store.sqlite.files import FILE_NAME, DirectoryLock, WatchedFile, make_private, watched_files
from stigmer.store.sqlite.inspection import inspect
from stigmer.store.sqlite.migration import check, migrate
from stigmer.store.sqlite.readers import READERS, Reader
from stigmer.store.sqlite.reading import row_of

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from stigmer.store.rows import Row

BUSY_TIMEOUT_S = 5.0
READ_AHEAD_S = 0.5
"""How long rows are read for the cache, so that the first calls find them there; some 200,000 of them."""
_OTHER_SCHEMA = ("no such", "has no column", "duplicate column", "already exists")
"""What SQLite says where the schema is not that of the version that the file claims to have."""
LEAST_SQLITE = (3, 37)
"""STRICT tables came with it."""


@dataclass(frozen=True, slots=True)
class Database:
    """An open database, no thread at work on it yet.

    Attributes:
        lock: on its directory; release it when the connections are closed.
        writes: the connection that writes.
        readers: those that read.
        files: its files.
        revision: the last one that was given.
        root_key: of the secrets that the store gives out.
        newest: the newest rows, the newest last: as many as the cache takes, and as could be read in READ_AHEAD_S.
    """

    lock: DirectoryLock
    writes: sqlite3.Connection
    readers: tuple[Reader, ...]
    files: list[WatchedFile]
    revision: int
    root_key: bytes
    newest: list[Row]

    def check_files(self) -> None:
        """Raise StoreUnavailableError where a file was taken, or cut short, from under the store."""
        for file in self.files:
            file.check()

    def cut_log(self, writes: sqlite3.Connection) -> bool:
        """Move the write-ahead log into the database and cut it off; False where that has to wait for a reader."""
        self.check_files()
        (wait_ms,) = writes.execute(sql.BUSY_TIMEOUT).fetchone()
        writes.execute(sql.NO_WAIT)
        try:
            busy, _, _ = writes.execute(sql.CHECKPOINT).fetchone()
        finally:
            writes.execute(f"{sql.BUSY_TIMEOUT} = {wait_ms}")
        for file in self.files:
            file.note()
        return not busy

    def compact(self, writes: sqlite3.Connection) -> None:
        """Write the database anew, without what is deleted, and cut the log off; the files may get shorter."""
        self.check_files()
        for statement in sql.COMPACT:
            writes.execute(statement)
        for file in self.files:
            file.note()
        self.cut_log(writes)

    def close(self) -> None:
        """Close all of it, on the calling thread."""
        try:
            for connection in (*self.readers, self.writes):
                connection.close()
        finally:
            self.lock.release()


def open_database(directory: Path, cache_bytes: int, unwanted: threading.Event) -> Database:
    """Open the database in a directory, which is made where it is missing; blocks.

    Args:
        directory: of the database, its log, its index and the lock file.
        cache_bytes: how much the row cache takes.
        unwanted: once it is set, no long statement is run to its end.

    Raises:
        StartupError: the directory cannot be written, another process has it, or the database is corrupt or newer.
    """
    refuse_old_sqlite()
    with ExitStack() as stack:
        lock = DirectoryLock(directory)
        stack.callback(lock.release)
        lock.acquire()
        make_private(directory)
        try:
            database = _connected(directory, lock, cache_bytes, unwanted, stack)
        except (sqlite3.Error, TypeError, ValueError) as error:  # the latter: a value of another type than was written
            raise _cannot_open(directory / FILE_NAME, error) from error
        stack.pop_all()
        return database


def refuse_old_sqlite() -> None:
    """See that this Python's SQLite can do what the schema needs.

    Raises:
        StartupError: it cannot.
    """
    if sqlite3.sqlite_version_info < LEAST_SQLITE:
        least = ".".join(map(str, LEAST_SQLITE))
        raise StartupError(
            f"this Python's SQLite is {sqlite3.sqlite_version}; stigmer needs {least} or newer: use another Python"
        )


def _connected(
    directory: Path, lock: DirectoryLock, cache_bytes: int, unwanted: threading.Event, stack: ExitStack
) -> Database:
    def connection(kind: type[Raw]) -> Raw:
        opened = connect(directory / FILE_NAME, timeout_s=BUSY_TIMEOUT_S, kind=kind)
        stack.enter_context(closing(opened))
        opened.set_progress_handler(unwanted.is_set, 10_000)
        return opened

    writes = connection(sqlite3.Connection)
    _prepare(writes)
    root_key = bytes(writes.execute(sql.ROOT_KEY).fetchone()[0])
    readers = tuple(connection(Reader) for _ in range(READERS))
    for reader in readers:
        for pragma in (*sql.PRAGMAS, sql.READ_ONLY):
            reader.execute(pragma)
    revision = max(reader.head() for reader in readers)  # each is known to read
    newest = _newest(readers[0], cache_bytes)
    writes.set_progress_handler(None, 0)
    for reader in readers:
        reader.watch()
    return Database(lock, writes, readers, watched_files(directory), revision, root_key, newest)


def _newest(connection: sqlite3.Connection, cache_bytes: int) -> list[Row]:
    """Rows for the cache, damaged ones left out: what is wrong with them is told to who asks for them."""
    rows: list[Row] = []
    end = time.monotonic() + READ_AHEAD_S
    with suppress(sqlite3.Error):
        for columns in connection.execute(sql.NEWEST_ROWS):
            with suppress(DamagedError):
                row = row_of(columns)
                cache_bytes -= size_of(row)
                rows.append(row)
            if cache_bytes < 0 or time.monotonic() > end:
                break
    return rows[::-1]


def _prepare(connection: sqlite3.Connection) -> None:
    """Set the writing connection up, and bring the schema to this version."""
    check(connection)  # before the first pragma changes a file that is not ours
    for pragma in sql.PRAGMAS:
        connection.execute(pragma)
    migrate(connection)
    inspect(connection)


def _cannot_open(path: Path, error: Exception) -> StartupError:
    if _says(error, "locked"):
        return StartupError(f"another program has the database {path} locked: close it and start again")
    if isinstance(error, sqlite3.OperationalError) and not is_damage(error) and not _says(error, *_OTHER_SCHEMA):
        return StartupError(
            f"cannot open the database {path} ({error}): check its permissions and the disk's free space"
        )
    return StartupError(f"the database {path} is damaged ({error}): restore a backup, or use another data directory")


def _says(error: Exception, *words: str) -> bool:
    return any(each in str(error) for each in words)
