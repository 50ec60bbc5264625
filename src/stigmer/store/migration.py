"""Brings a database to this version's schema: numbered SQL files, each applied once, in order, in one transaction."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from stigmer.startup import StartupError

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID = 0x53544947
"""`STIG`: marks a SQLite file as ours (PRAGMA application_id)."""


def scripts() -> list[str]:
    """The migrations' SQL, in order; number 1 comes first."""
    folder = files("stigmer.store") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text(encoding="utf-8") for name in names]


def check(connection: sqlite3.Connection) -> None:
    """See that the file is ours to open; changes nothing in it.

    Raises:
        StartupError: the file belongs to another program, or to a newer version of this one.
        sqlite3.Error: the file is corrupt or locked.
    """
    known = len(scripts())
    version = _pragma(connection, "user_version")
    if _pragma(connection, "application_id") not in (0, APPLICATION_ID) or (version == 0 and _has_tables(connection)):
        raise StartupError("the database file is another program's: use another --data-dir")
    if version > known:
        raise StartupError(
            f"the database has schema version {version}, this stigmer knows {known}:"
            " install the newer stigmer-server that wrote it, or use another --data-dir"
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what is missing to a file that `check` let pass.

    Raises:
        sqlite3.Error: the file is corrupt or locked, or the disk is full; the version is the last that was whole.
    """
    version = _pragma(connection, "user_version")
    for number, script in enumerate(scripts()[version:], version + 1):
        _apply(connection, number, script)


def _apply(connection: sqlite3.Connection, number: int, script: str) -> None:
    connection.executescript(
        f"BEGIN IMMEDIATE; {script} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
    )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None
