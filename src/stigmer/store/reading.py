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
    from collections.abc import Callable, Iterable, Iterator, Sequence

Read: TypeAlias = "Callable[[sqlite3.Connection], Any]"

Walk: TypeAlias = "tuple[tuple[str, str], ...]"
"""Keys that a row must have: the index is walked along the first, the others are looked up; none for a whole kind."""

OLDEST, NEWEST = 0, 1 << 62
"""Creation sequences before and beyond every row's."""


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


def holders(kind: str, field: str, values: Iterable[str]) -> Read:
    """The ids of the rows of a kind whose field holds one of the values, read as of one commit."""

    def read(connection: sqlite3.Connection) -> list[str]:
        connection.execute(sql.BEGIN_READ)
        try:
            found = (connection.execute(sql.DEPENDENTS, (kind, field, value)) for value in values)
            return list(dict.fromkeys(id_ for cursor in found for (id_,) in cursor))
        finally:
            connection.execute(sql.COMMIT)

    return read


def page(query: Query, window: Window) -> Read:
    """A page of a query, read as of one commit."""

    def read(connection: sqlite3.Connection) -> Page:
        connection.execute(sql.BEGIN_READ)
        try:
            return _page(connection, query, window)
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


def _page(connection: sqlite3.Connection, query: Query, window: Window) -> Page:
    walks = _walks(connection, query)
    before = NEWEST if window.before is None else window.before
    if window.skip:  # in the index: the data of rows that are left out are not read
        skipped = _sequences(connection, query.kind, walks, before)
        before = next(islice(skipped, window.skip - 1, None), OLDEST)
    rows: list[Row] = []
    size = 0
    more = False
    for row in _rows(connection, query.kind, walks, before):
        size += len(row.data)
        full = window.limit is not None and len(rows) >= window.limit
        if full or (rows and window.budget_bytes is not None and size > window.budget_bytes):
            more = True
            break
        rows.append(row)
    return Page(rows, more, sum(_count(connection, query.kind, walk) for walk in walks))


def _walks(connection: sqlite3.Connection, query: Query) -> list[Walk]:
    """The walks whose rows are the query's: one; for a join one for each value that the joined field may hold.

    Those are the ids of the rows that hold the join's key, and the join's own value.
    """
    through = query.through
    if through is None:
        return [_rarest_first(connection, query.kind, query.keys)]
    holders = [id_ for (id_,) in connection.execute(sql.HOLDERS, (through.kind, *through.key))]
    values = dict.fromkeys((through.value, *holders))
    return [_rarest_first(connection, query.kind, ((through.field, value), *query.keys)) for value in values]


def _rarest_first(connection: sqlite3.Connection, kind: str, keys: Walk) -> Walk:
    return tuple(sorted(keys, key=partial(_sample, connection, kind))) if len(keys) > 1 else keys


def _sample(connection: sqlite3.Connection, kind: str, key: tuple[str, str]) -> int:
    """How common a key is, counted no further than 1000."""
    return int(connection.execute(sql.SAMPLE_OF_KEY, (kind, *key)).fetchone()[0])


def _rows(connection: sqlite3.Connection, kind: str, walks: Sequence[Walk], before: int) -> Iterator[Row]:
    """The rows of the walks, newest first, read as far as they are asked for."""
    if len(walks) == 1:
        return map(row_of, _select(connection, (sql.ROWS_OF_KIND, sql.ROWS_OF_KEY), kind, walks[0], before))
    sequences = _sequences(connection, kind, walks, before)
    return (row_of(connection.execute(sql.BY_SEQUENCE, (sequence,)).fetchone()) for sequence in sequences)


def _sequences(connection: sqlite3.Connection, kind: str, walks: Sequence[Walk], before: int) -> Iterator[int]:
    """The sequences of the walks' rows, newest first, read from the index alone as far as they are asked for."""
    statements = (sql.SEQUENCES_OF_KIND, sql.SEQUENCES_OF_KEY)
    found = [_select(connection, statements, kind, walk, before) for walk in walks]
    return (sequence for (sequence,) in heapq.merge(*found, reverse=True))


def _select(
    connection: sqlite3.Connection, statements: tuple[str, str], kind: str, walk: Walk, before: int
) -> sqlite3.Cursor:
    """Start a walk with the first statement where it is over the whole kind, else with the second."""
    of_kind, of_key = statements
    if not walk:
        return connection.execute(of_kind, (kind, before))
    statement, parameters = _of_keys(of_key, kind, walk)
    return connection.execute(statement, (*parameters, before))


def _count(connection: sqlite3.Connection, kind: str, walk: Walk) -> int:
    statement, parameters = _of_keys(sql.COUNT_OF_KEY, kind, walk) if walk else (sql.COUNT, (kind,))
    found = connection.execute(statement, parameters).fetchone()
    return int(found[0]) if found is not None else 0


def _of_keys(statement: str, kind: str, walk: Walk) -> tuple[str, tuple[str, ...]]:
    """The statement for as many keys as the walk has, and its parameters."""
    also = sql.HAS_KEY * (len(walk) - 1)
    return statement.format(also=also), (kind, *(part for key in walk for part in key))
