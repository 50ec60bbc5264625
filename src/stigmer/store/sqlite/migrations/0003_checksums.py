"""A checksum in each row. Those that there are are read as they are, and summed."""

import sqlite3

from stigmer.store.sqlite.statements import ROW_CHECKSUM

ROWS = 100
"""So many at a time: a statement over all keeps the database in memory (216 MB of one of 182; so it is 42)."""
FILL = f"UPDATE resources SET checksum = {ROW_CHECKSUM} WHERE sequence BETWEEN ? AND ?"  # noqa: S608 - of constants


def migrate(connection: sqlite3.Connection) -> None:
    """Add the column and fill it; 4 s a gigabyte."""
    connection.execute("ALTER TABLE resources ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0")
    (first, last) = connection.execute("SELECT min(sequence), max(sequence) FROM resources").fetchone()
    if last is not None:
        chunks = ((start, start + ROWS - 1) for start in range(first, last + 1, ROWS))
        connection.executemany(FILL, chunks)
