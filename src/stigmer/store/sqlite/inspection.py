"""What is looked at each time a database is opened; `opening` calls it after the migrations.

A small file is checked as a whole, which takes 0.4 s for WHOLE_BYTES; of a larger one what all else rests on: its
schema and its counters. Rows are checked against their checksums whenever they are read.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

from stigmer.store.errors import DamagedError
from stigmer.store.sqlite import statements as sql
from stigmer.store.sqlite.migration import migrate
from stigmer.store.sqlite.reading import record_of
from stigmer.telemetry.logs import get_logger

WHOLE_BYTES = 128 * 2**20
"""Files up to this size are checked as a whole."""
MOST_TOLD = 100
"""So many damaged rows are named in the log."""

REMEDY = "restore it from a backup"
_OF_ROWS = "index resources_by_"
"""What a finding says that is about an index of rows, which can be made anew."""

log = get_logger("stigmer.store")


def inspect(connection: sqlite3.Connection) -> None:
    """See that the database is whole, as far as that can be seen in short; numbers of rows are counted anew.

    Raises:
        sqlite3.DatabaseError: it is damaged beyond single rows.
    """
    _check_schema(connection)
    _set_revision(connection, _check_whole(connection) if _size(connection) <= WHOLE_BYTES else None)
    _count_again(connection)


def _check_schema(connection: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        migrate(fresh)
        wanted = _schema(fresh)
    found = _schema(connection)
    for name, what in wanted.items():
        if found.get(name) != what:
            raise sqlite3.DatabaseError(f"its schema is not what it should be: {' '.join(name)}")


def _schema(connection: sqlite3.Connection) -> dict[tuple[str, str], tuple[str, str | None]]:
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    return {(type_, name): (table, text) for type_, name, table, text in found}


def _size(connection: sqlite3.Connection) -> int:
    """Bytes of the database, what stands in its log included."""
    pages, bytes_ = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages) * int(bytes_)


def _check_whole(connection: sqlite3.Connection) -> int:
    """Every page, index and row; single rows that are damaged are told, and no reason not to start.

    Returns:
        the last revision that a whole row or record has.
    """
    damaged, last = connection.execute(sql.SUMMED).fetchone()
    for name in connection.execute(sql.DAMAGED, (MOST_TOLD,)) if damaged else ():
        kind, id_ = ((part or b"").decode(errors="replace") for part in name)
        log.error("Stored data is damaged", kind=kind, id=id_, remedy=REMEDY)
    last = max(last, _check_records(connection))
    findings = _findings(connection)
    if findings and not damaged and all(_OF_ROWS in text for text in findings):
        connection.execute("REINDEX resources")  # all rows are as they were written: so the index is not
        log.warning("An index was damaged: made anew from the rows", found=findings[0])
        findings = _findings(connection)
    if not all(damaged and _OF_ROWS in text for text in findings):  # an index may differ from rows that are damaged
        raise sqlite3.DatabaseError(findings[0])
    return int(last)


def _check_records(connection: sqlite3.Connection) -> int:
    """Tell of damaged records; gives the last revision that a whole one has."""
    last = 0
    for found in connection.execute(sql.ALL_RECORDS):
        try:
            last = max(last, record_of(found).revision)
        except DamagedError as error:
            name = {"table": error.kind, "key": error.id}
            log.error("Stored data is damaged", **name, remedy=REMEDY)  # noqa: TRY400 - no traceback says more
    return last


def _findings(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong, each on one line."""
    found = [str(text).replace("\n", " ") for (text,) in connection.execute("PRAGMA integrity_check")]
    return [] if found == ["ok"] else found


def _set_revision(connection: sqlite3.Connection, last: int | None) -> None:
    """See that no revision is given twice: `last` is one that a row has, None where the rows were not looked at."""
    (counted,) = connection.execute(sql.REVISION).fetchone() or (None,)
    if counted is None and last is None and connection.execute(sql.COUNT_ROWS).fetchone() is not None:
        raise sqlite3.DatabaseError("its last revision is missing")
    if last is not None and last > int(counted or 0):
        log.warning("The last revision was not right: it is that of the rows", kept=counted, found=last)
        connection.execute(sql.SET_COUNT, ("", last))


def _count_again(connection: sqlite3.Connection) -> None:
    kept, counted = dict(connection.execute(sql.COUNTS)), dict(connection.execute(sql.COUNT_ROWS))
    if kept != counted:
        log.warning("The numbers of rows were not right: counted again", kept=kept, counted=counted)
        connection.execute(sql.BEGIN_WRITE)
        connection.execute(sql.DROP_COUNTS)
        connection.executemany(sql.SET_COUNT, counted.items())
        connection.execute(sql.COMMIT)
