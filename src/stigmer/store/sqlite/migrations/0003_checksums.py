"""A checksum in each row. Those that there are are read as they are, and summed."""

import sqlite3

from stigmer.store.sqlite.migrations.sums import named, sum_of

ROWS = 100
"""So many at a time: a statement over all keeps the database in memory (216 MB of one of 182; so it is 42)."""
FILL = (
    "UPDATE resources SET checksum = sum_of_row(kind, id, namespace, slug, created_by, revision, data)"
    " WHERE sequence BETWEEN ? AND ?"
)


def migrate(connection: sqlite3.Connection) -> None:
    """Add the column and fill it; 4 s a gigabyte."""
    connection.create_function("sum_of_row", 7, _sum, deterministic=True)
    connection.execute("ALTER TABLE resources ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0")
    (first, last) = connection.execute("SELECT min(sequence), max(sequence) FROM resources").fetchone()
    if last is not None:
        chunks = ((start, start + ROWS - 1) for start in range(first, last + 1, ROWS))
        connection.executemany(FILL, chunks)


def _sum(  # noqa: PLR0913, PLR0917 - the columns that there were
    kind: str, id_: str, namespace: str, slug: str | None, created_by: str, revision: int, data: bytes
) -> int:
    return sum_of(data, kind, id_, namespace, named(slug), created_by, revision)
