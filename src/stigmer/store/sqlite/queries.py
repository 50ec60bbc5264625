"""SQLite reads. `store` hands them to `readers`, which run them on a connection's thread; `statements` has the SQL."""

from __future__ import annotations

import heapq
import sqlite3
from itertools import islice, pairwise, takewhile
from typing import TYPE_CHECKING, Any, TypeAlias

from stigmer.store.errors import DamagedError
from stigmer.store.rows import LogEntry, Page, Query, Record, Row, Selection, Window, chained
from stigmer.store.sqlite import statements as sql
from stigmer.store.sqlite.checksum import checksum_of_record, checksum_of_row
from stigmer.store.sqlite.failures import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stigmer.store.sqlite.readers import Read, Reader

Keys: TypeAlias = "tuple[tuple[str, str], ...]"
"""Keys that a row must have: the index is walked along the first, the others are looked up; none for a whole kind."""

_NO_COLUMNS = (None,) * len(sql.COLUMNS.split(", "))
"""Of a row that an index leads to, and that is not there."""
FIRST_SAMPLE = 64
"""How many rows of each key are counted at first, to find the rarest."""
CHECKED = 32
"""After so many rows it is asked whether the read may go on."""

OLDEST, NEWEST = 0, 1 << 62
"""Creation sequences before and beyond every row's."""


def one(statement: str, *parameters: str) -> Read:
    """The first row of a statement that selects COLUMNS, or None."""

    def read(connection: Reader) -> Row | None:
        found = connection.execute(statement, parameters).fetchone()
        return row_of(found) if found is not None else None

    return read


def by_id(kind: str, id_: str) -> Read:
    """The row with that id, or None."""
    return _checked(one(sql.GET, kind, id_), lambda row: (row.kind, row.id) == (kind, id_), (kind, id_))


def by_slug(kind: str, slug: str, namespace: str) -> Read:
    """The row that holds the slug in the namespace, or None."""
    asked = (kind, slug, namespace)
    return _checked(one(sql.BY_SLUG, *asked), lambda row: (row.kind, row.slug, row.namespace) == asked, (kind, slug))


def several(statement: str, *parameters: str | int) -> Read:
    """All rows of a statement that selects COLUMNS."""

    def read(connection: Reader) -> list[Row]:
        return [row_of(found) for found in connection.execute(statement, parameters)]

    return read


def holders(kind: str, field: str, values: Iterable[str]) -> Read:
    """The ids of the rows of a kind whose field holds one of the values, read as of one commit."""

    def read(connection: Reader) -> list[str]:
        with connection.snapshot():
            found = (connection.execute(sql.DEPENDENTS, (kind, field, value)) for value in values)
            return list(dict.fromkeys(id_ for cursor in found for (id_,) in cursor))

    return read


def page(query: Query, window: Window) -> Read:
    """A page of a query, read as of one commit."""

    def read(connection: Reader) -> Page:
        try:
            with connection.snapshot():
                return _page(connection, query, window)
        except sqlite3.Error as error:
            raise failure(error, query.kind) from error

    return read


def record(table: str, key: str) -> Read:
    """The record under that key, or None."""

    def read(connection: Reader) -> Record | None:
        found = connection.execute(sql.RECORD, (table, key)).fetchone()
        if found is not None and found[:2] != (table, key):
            raise DamagedError(table, key, "its index leads to another record")
        return record_of(found) if found is not None else None

    return read


def records(table: str, prefix: str, after: str, limit: int) -> Read:
    """The records whose keys begin with the prefix and come after the key, at most `limit`."""
    start = max(prefix, f"{after}\0") if after else prefix  # no text is between `after` and the same with NUL

    def read(connection: Reader) -> list[Record]:
        found = map(record_of, connection.execute(sql.RECORDS, (table, start, limit)))
        return [*takewhile(lambda one: one.key.startswith(prefix), found)]

    return read


def log(name: str, after: int, limit: int) -> Read:
    """The entries of a log after that number, at most `limit`, each linked to the one before."""

    def read(connection: Reader) -> list[LogEntry]:
        found = [LogEntry(*columns) for columns in connection.execute(sql.ENTRIES, (name, after, limit + 1))]
        for before, entry in pairwise([None, *found] if after == 0 else found):
            if entry is not None and chained(before, name, entry.value) != entry:
                raise DamagedError(name, str(entry.number), "its link does not fit")
        return [entry for entry in found if entry.number > after][:limit]

    return read


def record_of(columns: tuple[Any, ...]) -> Record:
    """A record from what a statement that selects RECORD_COLUMNS gives; raises DamagedError as `row_of`."""
    *values, written = columns
    try:
        fits = checksum_of_record(*values) == written
    except TypeError:
        fits = False
    if not fits:
        raise DamagedError(str(values[0]), str(values[1]), "its checksum does not fit")
    return Record(*values)


def row_of(columns: tuple[Any, ...]) -> Row:
    """A row from what a statement that selects COLUMNS gives.

    Raises:
        DamagedError: it is not what was written.
    """
    kind, id_, namespace, slug, data, created_by, revision, sequence, written = columns
    try:
        fits = checksum_of_row(kind, id_, namespace, slug, created_by, revision, data) == written
    except TypeError:  # a column of another type than was written
        fits = False
    if not fits:
        raise DamagedError(str(kind or ""), str(id_ or ""), "its checksum does not fit")
    return Row(kind, id_, namespace, slug, data, None, created_by, revision, sequence)


def _checked(read: Read, fits: Callable[[Row], bool], name: tuple[str, str]) -> Read:
    """A read whose row is the one that was asked for: a damaged index leads to others."""

    def checked(connection: Reader) -> Row | None:
        try:
            row: Row | None = read(connection)
        except sqlite3.Error as error:
            raise failure(error, *name) from error
        if row is not None and not fits(row):
            raise DamagedError(*name, "its index leads to another row")
        return row

    return checked


def _page(connection: Reader, query: Query, window: Window) -> Page:
    before = NEWEST if window.before is None else window.before
    search = _Search(connection, query, before)
    if window.skip:  # in the index: the data of rows that are left out are not read
        before = next(islice(search.sequences(before), window.skip - 1, None), OLDEST)
    selection, more = Selection(window), False
    for row in search.rows(before):
        if row.kind != query.kind:
            raise DamagedError(query.kind, "", f"its index leads to {row.kind} {row.id}")
        if not selection.add(row):
            more = True
            break
        if len(selection.rows) % CHECKED == 0:
            connection.check()
    return Page(selection.rows, more, search.total())


class _Search:
    """The rows of one query, within one transaction: newest first, read no further than they are asked for.

    Args:
        connection: in a transaction.
        query: which rows.
        before: no row of a later sequence is asked for.
    """

    def __init__(self, connection: Reader, query: Query, before: int) -> None:
        self._connection = connection
        self._query = query
        self._keys = _rarest_first(connection, query.kind, query.keys) if query.through is None else query.keys
        self._branches = _branches(connection, query, self._keys, before)

    def rows(self, before: int) -> Iterator[Row]:
        """The rows before a sequence."""
        if self._query.through is None:
            return map(row_of, self._select((sql.ROWS_OF_KIND, sql.ROWS_OF_KEY), self._keys, before))
        found = (self._connection.execute(sql.BY_SEQUENCE, (sequence,)) for sequence in self.sequences(before))
        return (row_of(cursor.fetchone() or _NO_COLUMNS) for cursor in found)

    def sequences(self, before: int) -> Iterator[int]:
        """The sequences of the rows before one, read from the index alone."""
        through = self._query.through
        if through is None:
            return self._walk(self._keys, before)
        heads = [((through.field, value), head) for value, (_, head) in self._branches.items() if head is not None]
        return heapq.merge(*(self._branch(key, head, before) for key, head in heads), reverse=True)

    def total(self) -> int:
        """How many rows the query has in all."""
        if self._query.through is not None:
            return sum(count for count, _ in self._branches.values())
        kind, keys = self._query.kind, self._keys
        statement, parameters = _of_keys(sql.COUNT_OF_KEY, kind, keys) if keys else (sql.COUNT, (kind,))
        found = self._connection.execute(statement, parameters).fetchone()
        return int(found[0]) if found is not None else 0

    def _branch(self, key: tuple[str, str], head: int, before: int) -> Iterator[int]:
        """The sequences under one value of the joined field; the index is not asked before the head has been taken."""
        if head < before:
            yield head
        yield from self._walk((key, *self._keys), min(head, before))

    def _walk(self, keys: Keys, before: int) -> Iterator[int]:
        statements = (sql.SEQUENCES_OF_KIND, sql.SEQUENCES_OF_KEY)
        return (sequence for (sequence,) in self._select(statements, keys, before))

    def _select(self, statements: tuple[str, str], keys: Keys, before: int) -> sqlite3.Cursor:
        """Run the first statement where it is about the whole kind, else the second."""
        of_kind, of_key = statements
        if not keys:
            return self._connection.execute(of_kind, (self._query.kind, before))
        statement, parameters = _of_keys(of_key, self._query.kind, keys)
        return self._connection.execute(statement, (*parameters, before))


def _branches(connection: Reader, query: Query, keys: Keys, before: int) -> dict[str, tuple[int, int | None]]:
    """The values that the join's field holds: how many rows have each, and the newest of them before a sequence.

    Such a value is the id of a row that holds the join's key, or the join's own value.
    """
    through = query.through
    if through is None:
        return {}
    of_value = (query.kind, through.field, *(part for key in keys for part in key))
    parameters = (*of_value, *of_value, before, through.kind, *through.key, through.value)
    found = connection.execute(sql.BRANCHES.format(also=_also(keys)), parameters)
    return {value: (count, head) for value, count, head in found if count}


def _rarest_first(connection: Reader, kind: str, keys: Keys) -> Keys:
    """The keys, the rarest first: they are counted only as far as it takes to tell it from the others.

    That costs a few times as many index entries a key as the rarest has, so that no common key is counted through.
    """
    limit = FIRST_SAMPLE
    while len(keys) > 1:
        counts = _counted(connection, kind, keys, limit)
        if min(counts.values()) < limit:
            return tuple(sorted(keys, key=lambda key: counts.get(key, limit)))
        limit *= 8
    return keys


def _counted(connection: Reader, kind: str, keys: Keys, limit: int) -> dict[tuple[str, str], int]:
    """How many rows have each key, up to the limit; ends at a key that none has: with it, none has all."""
    counts: dict[tuple[str, str], int] = {}
    for key in keys:
        connection.check()
        counts[key] = int(connection.execute(sql.SAMPLE_OF_KEY, (kind, *key, limit)).fetchone()[0])
        if not counts[key]:
            break
    return counts


def _of_keys(statement: str, kind: str, keys: Keys) -> tuple[str, tuple[str, ...]]:
    """The statement for as many keys, and its parameters."""
    return statement.format(also=_also(keys[1:])), (kind, *(part for key in keys for part in key))


def _also(keys: Keys) -> str:
    return sql.HAS_KEYS.format(wanted=", ".join(["(?, ?)"] * len(keys))) if keys else ""
