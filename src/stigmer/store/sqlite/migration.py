"""Brings a database to this version's schema: numbered migrations, each applied once, in order, in one transaction.

A migration is a SQL file, or a module with a function `migrate(connection)` where the rows' contents have to be read.
"""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING, TypeAlias, cast

from stigmer.errors import StartupError
from stigmer.store.sqlite import checksum
from stigmer.store.sqlite import statements as sql

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    Script: TypeAlias = str | Callable[[sqlite3.Connection], None]

PACKAGE = "stigmer.store.sqlite.migrations"
"""Where the migrations are: `0001_<what>.sql`, `0002_<what>.py`."""

APPLICATION_ID = 0x53544947
"""`STIG`: marks a SQLite file as ours (PRAGMA application_id)."""


def scripts() -> list[Script]:
    """The migrations, in order; number 1 comes first."""
    names = sorted(entry.name for entry in files(PACKAGE).iterdir() if entry.name[0].isdigit())
    return [_script(name) for name in names]


def _script(name: str) -> Script:
    """The text of a SQL file, or the function of a module; it runs within the transaction and leaves it open."""
    if name.endswith(".py"):
        return cast("Script", import_module(f"{PACKAGE}.{name.removesuffix('.py')}").migrate)
    return (files(PACKAGE) / name).read_text(encoding="utf-8")


def check(connection: sqlite3.Connection) -> None:
    """See that the file is ours to open; changes nothing in it.

    Raises:
        StartupError: the file belongs to another program, or to a newer version of this one.
        sqlite3.Error: the file is corrupt or locked.
    """
    known = len(scripts())
    version = _pragma(connection, "user_version")
    if _pragma(connection, "application_id") not in (0, APPLICATION_ID) or (version == 0 and _has_tables(connection)):
        raise StartupError("the database file is another program's: use another data directory")
    if version > known:
        raise StartupError(
            f"the database has schema version {version}, this stigmer knows {known}:"
            " install the newer stigmer-server that wrote it, or use another data directory"
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what is missing to a file that `check` let pass.

    Raises:
        sqlite3.Error: the file is corrupt or locked, or the disk is full; the version is the last that was whole. As
            after whatever else a migration's function raises.
    """
    checksum.add_to(connection)  # what changes a row sums it anew: see statements.ROW_CHECKSUM
    version = _pragma(connection, "user_version")
    for number, script in enumerate(scripts()[version:], version + 1):
        _apply(connection, number, script)


def _apply(connection: sqlite3.Connection, number: int, script: Script) -> None:
    end = (f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {number}", sql.COMMIT)
    if isinstance(script, str):
        connection.executescript(f"{sql.BEGIN_WRITE}; {script} {'; '.join(end)};")
        return
    connection.execute(sql.BEGIN_WRITE)
    script(connection)
    for statement in end:
        connection.execute(statement)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None
