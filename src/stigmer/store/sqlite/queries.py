"""SQLite reads. `store` hands them to `readers`, which run them on a connection's thread; `statements` has the SQL."""

from __future__ import annotations

import sqlite3
from itertools import islice, pairwise, takewhile
from typing import TYPE_CHECKING

from stigmer.access.principal import PERSONAL, SHARED
from stigmer.store.errors import DamagedError
from stigmer.store.rows import LogEntry, Page, Record, Row, Selection, chained
from stigmer.store.sqlite import statements as sql
from stigmer.store.sqlite.failures import failure
from stigmer.store.sqlite.reading import BULK, record_of, row_at, row_of, rows_before
from stigmer.store.sqlite.search import NEWEST, OLDEST, Search, search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stigmer.access.principal import Owner, Owners
    from stigmer.store.rows import Query, Window
    from stigmer.store.sqlite.readers import Read, Reader
    from stigmer.store.sqlite.search import Found

_NOT_PERSONAL = (("< ?", PERSONAL), (">= ?", chr(ord(PERSONAL) + 1)))
"""The namespaces of what no single caller owns."""
CHECKED = 32
"""After so many rows it is asked whether the read may go on."""


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


def by_slug_anywhere(kind: str, slug: str, owners: Owners | None, limit: int) -> Read:
    """The owners' rows that hold the slug, by namespace, at most `limit`; read as of one commit."""
    asked = [(sql.BY_SLUG_ANYWHERE, ())] if owners is None else [each for one in owners for each in _slugs_of(one)]

    def read(connection: Reader) -> list[Row]:
        with connection.snapshot():
            found = (connection.execute(statement, (kind, slug, *more, limit)) for statement, more in asked)
            rows = [row_of(columns) for cursor in found for columns in cursor]
        return sorted(rows, key=lambda row: row.namespace)[:limit]

    return read


def _slugs_of(owner: Owner) -> list[tuple[str, tuple[str, ...]]]:
    """Statements that find an owner's rows by slug, each with its parameters between the slug and the limit."""
    if owner == SHARED:
        return [(sql.SLUGS_SHARED.format(range=range_), (bound,)) for range_, bound in _NOT_PERSONAL]
    _, _, name = owner.partition(":")
    return [(sql.SLUGS_OF_NAMESPACE, (name, owner)), (sql.SLUGS_OF_OWNER, (owner,))]


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
    found = search(connection, query, before)
    if window.skip:  # in the index: the data of rows that are left out are not read
        before = next(islice(found.sequences(before), window.skip - 1, None), OLDEST)
    selection, more = Selection(window), False
    most = window.limit + 1 if window.limit is not None else BULK
    for row in _rows(connection, found, before, most):
        if row.kind != query.kind:
            raise DamagedError(query.kind, "", f"its index leads to {row.kind} {row.id}")
        if not selection.add(row):
            more = True
            break
        if len(selection.rows) % CHECKED == 0:
            connection.check()
    return Page(selection.rows, more, found.total())


def _rows(connection: Reader, found: Found, before: int, most: int) -> Iterator[Row]:
    """The rows before a sequence, the newest first, of which so many are wanted, most likely."""
    if isinstance(found, Search):
        return rows_before(connection, found.select, before, most)
    return (row_at(connection, sequence) for sequence in found.sequences(before))
