"""All that a store keeps, to be compared: whatever is not kept shows in none of it."""

from __future__ import annotations

import copy
import sqlite3
from contextlib import closing
from typing import Any

from stigmer.store.memory import MemoryStore
from stigmer.store.sqlite import SqliteStore

Stores = SqliteStore | MemoryStore


def everything_kept(store: Stores) -> dict[str, Any]:
    """Each table of it; of a MemoryStore, each dictionary."""
    if isinstance(store, MemoryStore):
        return copy.deepcopy(vars(store._tables))
    with closing(sqlite3.connect(store._path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: sorted(map(repr, database.execute(f"SELECT * FROM {name}"))) for name in tables}
