"""The audit of a plane, as tests look at it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from stigmer.secrets.audit import LOG, Event
from stigmer.store.sqlite.files import FILE_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.store.contract import Store


async def events(store: Store, after: int = 0) -> list[Event]:
    """The records after that number, each read as it is stored."""
    return [Event.of(entry.value) for entry in await store.log(LOG, after)]


async def count(store: Store) -> int:
    """The number of the last record."""
    last = await store.last_entry(LOG)
    return last.number if last is not None else 0


def entries_of(directory: Path) -> list[bytes]:
    """The records of a database's file, which a server may have open."""
    with closing(sqlite3.connect(f"file:{directory / FILE_NAME}?mode=ro", uri=True)) as database:
        found = database.execute("SELECT value FROM log_entries WHERE log = ? ORDER BY number", (LOG,))
        return [value for (value,) in found]
