"""SQLite reads, run on a reading connection's thread. `sqlite` calls these; `statements` holds the SQL."""

from __future__ import annotations

import heapq
import sqlite3
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from stigmer.store import statements as sql
from stigmer.store.base import Page, Query, Row, Window
from stigmer.store.lane import unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Read: TypeAlias = "Callable[[sqlite3.Connection], Any]"

NEWEST = 1 << 62
"""A creation sequence beyond every row's."""


def run_reads(connection: sqlite3.Connection, reads: Sequence[Read]) -> list[Any]:
    """Run each read; one that fails gives its exception and leaves the others alone."""
    return [_attempt(connection, read) for read in reads]


def one(statement: str, *parameters: str) -> Read:
    """The first row of a statement that selects COLUMNS, or None."""

    def read(connection: sqlite3.Connection) -> Row | None:
        found = connection.execute(statement, parameters).fetchone()
        return row_of(found) if found is not None else None

    return read


def several(statement: str, *parameters: str | int) -> Read:
    """All rows of a statement that selects COLUMNS."""

    def read(connection: sqlite3.Connection) -> list[Row]:
        return [row_of(found) for found in connection.execute(statement, parameters)]

    return read


def page(query: Query, window: Window) -> Read:
    """A page of a query, read as of one commit."""

    def read(connection: sqlite3.Connection) -> Page:
        connection.execute(sql.BEGIN_READ)
        try:
            values = _joined_values(connection, query)
            return _page(connection, query, window, values)
        finally:
            connection.execute(sql.COMMIT)

    return read


def row_of(columns: tuple[Any, ...]) -> Row:
    """A row from what a statement that selects COLUMNS gives."""
    kind, id_, namespace, slug, data, created_by, revision, sequence = columns
    return Row(kind, id_, namespace, slug, data, None, created_by, revision, sequence)


def _attempt(connection: sqlite3.Connection, read: Read) -> Any:  # noqa: ANN401 - each read has a result type of its own
    try:
        return read(connection)
    except sqlite3.Error as error:
        return unavailable(error)
    except (OverflowError, UnicodeEncodeError) as error:  # a parameter that SQLite cannot hold: its caller's alone
        return error


def _joined_values(connection: sqlite3.Connection, query: Query) -> list[str] | None:
    """What the joined field may hold: the ids of the rows that hold the join's key, and the value itself."""
    through = query.through
    if through is None:
        return None
    holders = [id_ for (id_,) in connection.execute(sql.HOLDERS, (through.kind, *through.key))]
    return list(dict.fromkeys((through.value, *holders)))


def _page(connection: sqlite3.Connection, query: Query, window: Window, values: list[str] | None) -> Page:
    before = window.before if window.before is not None else NEWEST
    sequences = islice(_sequences(connection, query, values, before), window.skip, None)
    rows: list[Row] = []
    size = 0
    more = False
    for sequence in sequences:
        if window.limit is not None and len(rows) >= window.limit:
            more = True
            break
        row = row_of(connection.execute(sql.BY_SEQUENCE, (sequence,)).fetchone())
        size += len(row.data)
        if rows and window.budget_bytes is not None and size > window.budget_bytes:
            more = True
            break
        rows.append(row)
    return Page(rows, more, _total(connection, query, values))


def _sequences(connection: sqlite3.Connection, query: Query, values: list[str] | None, before: int) -> Iterator[int]:
    """Sequences of the matching rows, newest first, read from the index alone as far as they are asked for."""
    if query.through is not None and values is not None:
        field = query.through.field
        walks = [_walk(connection, query.kind, ((field, value), *query.keys), before) for value in values]
        yield from heapq.merge(*walks, reverse=True)
    elif query.keys:
        keys = sorted(query.keys, key=partial(_sample, connection, query.kind))
        yield from _walk(connection, query.kind, keys, before)
    else:
        for (sequence,) in connection.execute(sql.SEQUENCES_OF_KIND, (query.kind, before)):
            yield sequence


def _walk(connection: sqlite3.Connection, kind: str, keys: Sequence[tuple[str, str]], before: int) -> Iterator[int]:
    first, *others = keys
    statement = sql.SEQUENCES_OF_KEY.format(also=sql.HAS_KEY * len(others))
    parameters = (kind, *first, before, *(part for key in others for part in key))
    for (sequence,) in connection.execute(statement, parameters):
        yield sequence


def _total(connection: sqlite3.Connection, query: Query, values: list[str] | None) -> int:
    if query.through is not None and values is not None:
        field = query.through.field
        return sum(_count(connection, query.kind, ((field, value), *query.keys)) for value in values)
    if query.keys:
        return _count(connection, query.kind, query.keys)
    found = connection.execute(sql.COUNT, (query.kind,)).fetchone()
    return int(found[0]) if found is not None else 0


def _count(connection: sqlite3.Connection, kind: str, keys: Sequence[tuple[str, str]]) -> int:
    first, *others = sorted(keys, key=partial(_sample, connection, kind)) if len(keys) > 1 else keys
    statement = sql.COUNT_OF_KEY.format(also=sql.HAS_KEY * len(others))
    return int(connection.execute(statement, (kind, *first, *(p for key in others for p in key))).fetchone()[0])


def _sample(connection: sqlite3.Connection, kind: str, key: tuple[str, str]) -> int:
    """How common a key is, counted no further than 1000: the rarest is walked, the others are looked up."""
    return int(connection.execute(sql.SAMPLE_OF_KEY, (kind, *key)).fetchone()[0])
