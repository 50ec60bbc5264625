"""A checksum in each row. Those that there are are read as they are, and summed."""

import sqlite3

from stigmer.store.statements import ROW_CHECKSUM


def migrate(connection: sqlite3.Connection) -> None:
    """Add the column and fill it, in one statement that reads each row once."""
    connection.execute("ALTER TABLE resources ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0")
    connection.execute(f"UPDATE resources SET checksum = {ROW_CHECKSUM}")  # noqa: S608 - of constants
