"""What SQLite's errors mean to who called: try again later, or never again."""

from __future__ import annotations

import sqlite3

from stigmer.store.errors import DamagedError, StoreError, StoreUnavailableError

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH)
"""Answers to a read or write that is right in itself: the file is not as SQLite left it."""
_PRIMARY = 0xFF  # of an extended error code
_UNDECODABLE = "Could not decode to UTF-8"  # the driver's own words, which come without a code


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the database file is damaged: no later try will pass."""
    code = getattr(error, "sqlite_errorcode", None)
    return (code is not None and code & _PRIMARY in _DAMAGE) or (
        isinstance(error, sqlite3.Error) and str(error).startswith(_UNDECODABLE)
    )


def failure(error: Exception, kind: str = "", id_: str = "") -> StoreError:
    """A driver's error as the store's own, about a row where it is known; the cause is kept for the log."""
    if is_damage(error):
        found: StoreError = DamagedError(kind, id_, str(error))
    else:
        found = StoreUnavailableError(f"the database does not answer: {error}")
    found.__cause__ = error
    return found
