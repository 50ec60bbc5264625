"""SQLite reads. `store` has `readers` run them on a connection's thread; `statements` has the SQL."""

from __future__ import annotations

import sqlite3
from itertools import islice, pairwise, takewhile
from typing import TYPE_CHECKING

from stigmer.access.principal import PERSONAL, SHARED
from stigmer.store.errors import DamagedError
from stigmer.store.rows import LogEntry, Page, Record, Row, Selection, Use, chained
from stigmer.store.sqlite import statements as sql
from stigmer.store.sqlite.failures import failure, is_damage
from stigmer.store.sqlite.reading import BULK, record_of, row_at, row_of, rows_at, rows_before
from stigmer.store.sqlite.search import NEWEST, OLDEST, Search, has, realm_of, search

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stigmer.access.principal import Owner, Owners
    from stigmer.store.rows import Query, Window
    from stigmer.store.sqlite.readers import Reader
    from stigmer.store.sqlite.search import Found

_NOT_PERSONAL = (("< ?", PERSONAL), (">= ?", chr(ord(PERSONAL) + 1)))
"""The namespaces of what no single caller owns."""
CHECKED = 32
"""After so many rows it is asked whether the read may go on."""


def by_id(connection: Reader, kind: str, id_: str, owners: Owners | None = None) -> Row | None:
    """The row with that id, where one of the owners has it."""
    row = _one_of(connection, owners, (kind, id_), (sql.GET, sql.SEQUENCE_OF_ID), kind, id_)
    return _asked_for(row, (kind, id_), fits=row is None or (row.kind, row.id) == (kind, id_))


def by_slug(connection: Reader, kind: str, slug: str, namespace: str, owners: Owners | None = None) -> Row | None:
    """The row that holds the slug in the namespace, where one of the owners has it."""
    asked = (kind, slug, namespace)
    row = _one_of(connection, owners, (kind, slug), (sql.BY_SLUG, sql.SEQUENCE_OF_SLUG), *asked)
    return _asked_for(row, (kind, slug), fits=row is None or (row.kind, row.slug, row.namespace) == asked)


def newest(connection: Reader, kind: str, field: str, value: str) -> Row | None:
    """The newest row of a kind whose field holds the value."""
    return _one(connection, (kind, ""), sql.NEWEST_OF_KEY, kind, field, value)


def by_slug_anywhere(connection: Reader, kind: str, slug: str, owners: Owners | None, limit: int) -> list[Row]:
    """The owners' rows that hold the slug, by namespace, at most `limit`; read as of one commit."""
    asked = [(sql.BY_SLUG_ANYWHERE, ())] if owners is None else [each for one in owners for each in _slugs_of(one)]
    with connection.snapshot():
        found = (connection.execute(statement, (kind, slug, *more, limit)) for statement, more in asked)
        rows = [row_of(columns) for cursor in found for columns in cursor]
    return sorted(rows, key=lambda row: row.namespace)[:limit]


def _slugs_of(owner: Owner) -> list[tuple[str, tuple[str, ...]]]:
    """Statements that find an owner's rows by slug, each with its parameters between the slug and the limit."""
    if owner == SHARED:
        return [(sql.SLUGS_SHARED.format(range=range_), (bound,)) for range_, bound in _NOT_PERSONAL]
    _, _, name = owner.partition(":")
    return [(sql.SLUGS_OF_NAMESPACE, (name, owner)), (sql.SLUGS_OF_OWNER, (owner,))]


def holders(connection: Reader, kind: str, field: str, values: Iterable[str]) -> list[str]:
    """The ids of the rows of a kind whose field holds one of the values, read as of one commit."""
    with connection.snapshot():
        found = (connection.execute(sql.DEPENDENTS, (kind, field, value)) for value in values)
        return list(dict.fromkeys(id_ for cursor in found for (id_,) in cursor))


def page(connection: Reader, query: Query, window: Window) -> Page:
    """A page of a query, read as of one commit."""
    try:
        with connection.snapshot():
            return _page(connection, query, window)
    except sqlite3.Error as error:
        raise failure(error, query.kind) from error


def intact(connection: Reader, kind: str, before: int | None, limit: int) -> tuple[list[Row], int | None]:
    """The rows of a kind that are as they were written, of the newest `limit` before a sequence; and where to go on."""
    asked = (kind, NEWEST if before is None else before, limit)
    rows: list[Row] = []
    with connection.snapshot():
        sequences = [sequence for (sequence,) in connection.execute(sql.SEQUENCES_OF_KIND, asked)]
        for sequence in sequences:
            try:
                rows.append(row_at(connection, sequence))
            except DamagedError:
                continue
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
    return rows, sequences[-1] if len(sequences) == limit else None


def record(connection: Reader, table: str, key: str) -> Record | None:
    """The record under that key."""
    found = connection.execute(sql.RECORD, (table, key)).fetchone()
    if found is not None and found[:2] != (table, key):
        raise DamagedError(table, key, "its index leads to another record")
    return record_of(found) if found is not None else None


def records(connection: Reader, table: str, prefix: str, after: str, limit: int) -> list[Record]:
    """The records whose keys begin with the prefix and come after the key, at most `limit`."""
    start = max(prefix, f"{after}\0") if after else prefix  # no text is between `after` and the same with NUL
    found = map(record_of, connection.execute(sql.RECORDS, (table, start, limit)))
    return [*takewhile(lambda one: one.key.startswith(prefix), found)]


def unused(connection: Reader, since_ms: int, after: Use | None, limit: int) -> list[Use]:
    """The last uses up to that time, after that one, at most `limit`."""
    used_ms, sequence = (-1, 0) if after is None else after[:2]
    return [*map(Use._make, connection.execute(sql.UNUSED, (since_ms, used_ms, sequence, limit)))]


def log(connection: Reader, name: str, after: int, limit: int) -> list[LogEntry]:
    """The entries of a log after that number, at most `limit`, each linked to the one before, where that is there."""
    found = entries(connection, name, after - 1, limit + 1)
    is_first = bool(found) and found[0].number == 1
    for before, entry in pairwise([None, *found] if is_first else found):
        if entry is not None and chained(before, name, entry.value) != entry:
            raise DamagedError(name, str(entry.number), "its link does not fit")
    return [entry for entry in found if entry.number > after][:limit]


def entries(connection: Reader, name: str, after: int, limit: int) -> list[LogEntry]:
    """As `log`, whatever the links say."""
    return [LogEntry(*columns) for columns in connection.execute(sql.ENTRIES, (name, after + 1, limit))]


def last_entry(connection: Reader, name: str) -> LogEntry | None:
    """The newest entry of a log."""
    found = connection.execute(sql.LAST_ENTRY, (name,)).fetchone()
    return LogEntry(*found) if found is not None else None


def _one_of(
    connection: Reader, owners: Owners | None, name: tuple[str, str], statements: tuple[str, str], *parameters: str
) -> Row | None:
    """The row that the first statement finds, where one of the owners has it; the second gives its sequence alone.

    Indexes tell whose it is, all owners being asked for whatever there is: to what others have no time is given away.
    """
    whole, index = statements
    if owners is None:
        return _one(connection, name, whole, *parameters)
    try:
        with connection.snapshot():
            found = connection.execute(index, parameters).fetchone()
            sequence = OLDEST if found is None else found[0]
            is_theirs = [has(connection, name[0], realm_of(owner), sequence) for owner in owners]
            return _one(connection, name, sql.BY_SEQUENCE, sequence) if any(is_theirs) else None
    except sqlite3.Error as error:
        raise failure(error, *name) from error


def _one(connection: Reader, name: tuple[str, str], statement: str, *parameters: str | int) -> Row | None:
    """The first row of a statement that selects COLUMNS; `name` is what is told where it cannot be read."""
    try:
        found = connection.execute(statement, parameters).fetchone()
    except sqlite3.Error as error:
        raise failure(error, *name) from error
    return row_of(found) if found is not None else None


def _asked_for(row: Row | None, name: tuple[str, str], *, fits: bool) -> Row | None:
    """The row, which is the one that was asked for: a damaged index leads to others."""
    if not fits:
        raise DamagedError(*name, "its index leads to another row")
    return row


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
    return rows_at(connection, found.sequences(before), most)
