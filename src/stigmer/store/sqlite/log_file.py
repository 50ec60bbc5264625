"""The logs of a database, read from its file, whether a server has it open or not; nothing is ever written.

For commands that look at the audit: what they are told is what stands in the file, as of one commit.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from stigmer.access.threads import on_thread
from stigmer.errors import StartupError
from stigmer.store.rows import secret_of
from stigmer.store.sqlite import queries
from stigmer.store.sqlite import statements as sql
from stigmer.store.sqlite.files import FILE_NAME
from stigmer.store.sqlite.readers import Reader

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from stigmer.store.rows import LogEntry, Record

BUSY_TIMEOUT_S = 5.0


class LogFile:
    """Reads the logs, and the records that belong to them, with the methods of `Store` that do.

    Args:
        connection: in a transaction; any one thread at a time may use it.
    """

    def __init__(self, connection: Reader) -> None:
        self._connection = connection
        self._root_key = bytes(connection.execute(sql.ROOT_KEY).fetchone()[0])

    def __repr__(self) -> str:
        return f"<LogFile of {self._connection!r}>"

    async def log(self, name: str, after: int = 0, limit: int = 1000) -> Sequence[LogEntry]:
        """At most `limit` entries after a number, whatever their links say, so that damage can be looked at."""
        return await on_thread(lambda: queries.entries(self._connection, name, after, limit))

    async def last_entry(self, name: str) -> LogEntry | None:
        """The newest entry."""
        return await on_thread(lambda: queries.last_entry(self._connection, name))

    async def record(self, table: str, key: str) -> Record | None:
        """The record under that key; raises DamagedError."""
        return await on_thread(lambda: queries.record(self._connection, table, key))

    def secret(self, name: str) -> bytes:
        """The secret that belongs to the name."""
        return secret_of(self._root_key, name)


@contextmanager
def log_file(directory: Path) -> Generator[LogFile]:
    """The logs of the database in a directory; blocks where it is entered and left.

    Raises:
        StartupError: it is not there, cannot be read, or is damaged beyond its logs.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        raise StartupError(f"{path}: no such file; give the data directory of a server with --data-dir")
    try:
        with closing(_connected(path)) as connection, connection.snapshot():
            yield LogFile(connection)
    except sqlite3.Error as error:
        raise StartupError(
            f"{path}: cannot be read ({error}); run this as the server's user, on a database of this version of stigmer"
        ) from None


def _connected(path: Path) -> Reader:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(
        uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, factory=Reader
    )
