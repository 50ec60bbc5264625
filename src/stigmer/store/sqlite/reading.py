"""Rows and records from what statements find: each is what was written, or it is known not to be.

Where a statement may find many rows they are read BULK at a time, as one value: SQLite needs Python's lock for each
row that it gives, and a busy event loop gives it up only so often.
"""

from __future__ import annotations

import json
import sqlite3
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from stigmer.store.errors import DamagedError
from stigmer.store.rows import Record, Row
from stigmer.store.sqlite import statements as sql
from stigmer.store.sqlite.checksum import checksum_of_record, checksum_of_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Select: TypeAlias = "Callable[..., sqlite3.Cursor]"
"""Runs a statement, with its last parameters."""

BULK = 32
"""So many rows are read as one value, those whose data is at most `sql.SMALL_BYTES` long."""

_DATA = sql.COLUMNS.split(", ").index("data")
_NO_COLUMNS = (None,) * len(sql.COLUMNS.split(", "))
"""Of a row that an index leads to, and that is not there."""


def rows_before(connection: sqlite3.Connection, select: Select, before: int, most: int) -> Iterator[Row]:
    """Rows before a sequence, the newest first, as many as there are.

    Args:
        connection: in a transaction.
        select: runs ROWS_BEFORE, with the sequence, or ROWS_IN_BULK, with how many rows as well.
        before: the sequence.
        most: so many are wanted, most likely.

    Raises:
        DamagedError: a row is not what was written.
    """
    size = max(1, min(most, BULK))
    while True:
        try:
            found = _columns(select(sql.ROWS_IN_BULK, before, size))
        except (sqlite3.Error, ValueError):  # damage, which is one row's: the others are read as they are
            yield from map(row_of, select(sql.ROWS_BEFORE, before))
            return
        for columns in found:
            row = _whole(connection, columns)
            before = row.sequence
            yield row
        if len(found) < size:
            return


def rows_at(connection: sqlite3.Connection, sequences: Iterator[int], most: int) -> Iterator[Row]:
    """The rows of these sequences, which fall; `most` and what it raises are as of `rows_before`."""
    size = max(1, min(most, BULK))
    while these := list(islice(sequences, size)):
        text = sql.THESE_IN_BULK.format(these=", ".join("?" * len(these)))
        try:
            found = _columns(connection.execute(text, these))
        except (sqlite3.Error, ValueError):  # as above
            found = []
        if len(found) == len(these):
            yield from (_whole(connection, columns) for columns in found)
        else:
            yield from (row_at(connection, sequence) for sequence in these)


def row_at(connection: sqlite3.Connection, sequence: int | None) -> Row:
    """The row of a sequence; raises DamagedError as `row_of`, also where it is not there."""
    return row_of(connection.execute(sql.BY_SEQUENCE, (sequence,)).fetchone() or _NO_COLUMNS)


def row_of(columns: Sequence[Any]) -> Row:
    """A row from what a statement that selects COLUMNS gives.

    Raises:
        DamagedError: it is not what was written.
    """
    kind, id_, namespace, slug, data, created_by, owner, sealed, revision, sequence, written = columns
    try:
        fits = checksum_of_row(kind, id_, namespace, slug, created_by, owner, sealed, revision, data) == written
    except (TypeError, ValueError):  # a column of another type than was written
        fits = False
    if not fits:
        raise DamagedError(str(kind or ""), str(id_ or ""), "its checksum does not fit")
    return Row(kind, id_, namespace, slug, data, None, created_by, owner, revision, sequence, bool(sealed))


def record_of(columns: Iterable[Any]) -> Record:
    """A record from what a statement that selects RECORD_COLUMNS gives; raises DamagedError as `row_of`."""
    *values, written = columns
    try:
        fits = checksum_of_record(*values) == written
    except TypeError:
        fits = False
    if not fits:
        raise DamagedError(str(values[0]), str(values[1]), "its checksum does not fit")
    return Record(*values)


def _whole(connection: sqlite3.Connection, columns: Sequence[Any]) -> Row:
    """The row of what `_columns` gives."""
    *_, sequence, _ = columns
    return row_of(columns) if columns[_DATA] is not None else row_at(connection, sequence)


def _columns(cursor: sqlite3.Cursor) -> list[list[Any]]:
    """The columns of the rows that ROWS_IN_BULK found; no data where that is long, or not there."""
    columns, data = cursor.fetchone()
    found: list[list[Any]] = json.loads(columns)
    at = 0
    for row in found:
        length = row[_DATA]
        if length is not None:
            row[_DATA] = data[at : at + length]
            at += length
    return found
