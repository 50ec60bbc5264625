"""The SQLite backend: one process owns a database; commits in groups on one thread, reads on others, a row cache."""

from stigmer.store.sqlite.store import CACHE_BYTES, SqliteStore

__all__ = ["CACHE_BYTES", "SqliteStore"]
