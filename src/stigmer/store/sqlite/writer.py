"""SQLite writes, run on the writing connection's thread: one batch of transactions, one commit."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from stigmer.store.applying import Application
from stigmer.store.errors import ConflictError, StoreUnavailableError
from stigmer.store.rows import ABSENT, LogEntry, Record, Row
from stigmer.store.sqlite import statements as sql
from stigmer.store.sqlite.checksum import checksum_of_record, checksum_of_row
from stigmer.store.sqlite.failures import failure, is_damage

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from stigmer.store.changes import Change, Changes
    from stigmer.store.rows import Key


class Written(NamedTuple):
    """What a transaction has written.

    Attributes:
        changes: of rows, in order.
        records: by table and key, as they are now; None where one was deleted.
    """

    changes: Sequence[Change]
    records: Mapping[Key, Record | None]


Outcome: TypeAlias = Written | Exception

REFUSALS = (ConflictError, OverflowError, UnicodeEncodeError)
"""What is wrong with one transaction alone: a precondition, or a value that SQLite cannot hold."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction to be committed, or only checked."""

    changes: Changes
    dry_run: bool = False


class Writer:
    """Applies batches, on the writing connection's thread.

    Attributes:
        revision: the last revision that was given.
        shreds: how many commits have taken away or replaced what rows had sealed.

    Args:
        check: called before each batch; raises StoreUnavailableError where nothing must be written any more.
    """

    def __init__(self, revision: int, check: Callable[[], None] = lambda: None) -> None:
        self.revision = revision
        self.shreds = 0
        self._check = check
        self._failing = False

    def run(self, connection: sqlite3.Connection, batch: Sequence[Commit]) -> list[Outcome]:
        """Write a batch of transactions in one commit.

        Returns:
            for each what it wrote, or what was wrong with it: it then wrote nothing.
        """
        before = self.revision
        try:
            self._check()
            connection.execute(sql.BEGIN_WRITE)
            shared = _Batch()
            outcomes = [self._attempt(connection, commit, shared, alone=len(batch) == 1) for commit in batch]
            connection.executemany(sql.COUNT_UP, [(kind, count) for kind, count in shared.counts.items() if count])
            if self._failing:  # then even a probe's empty batch writes, a number that SQLite does not have yet
                self.revision += 1
            if self.revision != before:
                connection.execute(sql.SET_COUNT, ("", self.revision))
            connection.execute(sql.COMMIT)
            self._failing = False
        except StoreUnavailableError as error:
            return [error for _ in batch]
        except sqlite3.Error as error:
            self.revision, self._failing = before, True
            if connection.in_transaction:
                connection.execute(sql.ROLLBACK)
            if is_damage(error) and len(batch) > 1:  # who does not meet it is not to suffer from it
                return [outcome for commit in batch for outcome in self.run(connection, [commit])]
            return [failure(error, *_named(commit.changes)) for commit in batch]
        except BaseException:
            self.revision = before
            connection.execute(sql.ROLLBACK)
            raise
        return outcomes

    def _attempt(self, connection: sqlite3.Connection, commit: Commit, shared: _Batch, *, alone: bool) -> Outcome:
        application = _Application(connection, self.revision, shared.last_entries)
        guard = _begin_again if alone else _savepoint
        try:
            with guard(connection) if _may_be_taken_back(commit) else nullcontext():
                application.apply(commit.changes)
                _refuse_to_keep(commit)
        except _DryRunError:
            return Written(application.changes, application.records)
        except REFUSALS as error:
            return error
        self.revision = application.revision
        self.shreds += application.shreds
        shared.counts.update(application.counts)
        shared.last_entries.update(application.last_entries)
        return Written(application.changes, application.records)


class _Batch:
    """What the transactions of a batch have in common.

    Attributes:
        counts: how many rows of each kind there are more.
        last_entries: the newest entry of each log that was looked at.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.last_entries: dict[str, LogEntry] = {}


class _DryRunError(Exception):
    """Not to be kept."""


def _refuse_to_keep(commit: Commit) -> None:
    if commit.dry_run:
        raise _DryRunError


def _columns(row: Row) -> tuple[str, str, str, str | None, str, str, bool, int, bytes]:
    """What is written of a row, and summed."""
    return row.kind, row.id, row.namespace, row.slug, row.created_by, row.owner, row.sealed, row.revision, row.data


def _named(changes: Changes) -> tuple[str, str]:
    """Kind and id of the row that a transaction is about, most likely; empty where it is about none."""
    for put in changes.puts:
        return put.row.kind, put.row.id
    for remove in changes.removes:
        return remove.kind, remove.id
    return "", ""


def _may_be_taken_back(commit: Commit) -> bool:
    """Whether it may be refused when part of it is written.

    One row is refused at its first write; what is written after it is not, unless for a text that SQLite cannot hold.
    """
    changes = commit.changes
    others = (changes.removes, changes.cascades, changes.requires, changes.trims)
    if commit.dry_run or any(others) or len(changes.puts) > 1:
        return True
    keys = [key for put in changes.puts for key in put.row.keys or ()]
    named = (*keys, *changes.records, *changes.uses, *((one.log,) for one in changes.appends))
    texts = map("".join, named)
    return not "".join(texts).isprintable()  # such a text never is


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Generator[None]:
    """Undo what a transaction wrote before it was refused; any other error ends the whole batch."""
    connection.execute(sql.SAVEPOINT)
    try:
        yield
    except (*REFUSALS, _DryRunError):
        connection.execute(sql.ROLLBACK_TO)
        connection.execute(sql.RELEASE)
        raise
    connection.execute(sql.RELEASE)


@contextmanager
def _begin_again(connection: sqlite3.Connection) -> Generator[None]:
    """As `_savepoint`, for a transaction that is alone in its batch.

    A savepoint keeps in memory what each page was: 250 MB for a deletion of 16,000 large rows.
    """
    try:
        yield
    except (*REFUSALS, _DryRunError):
        connection.execute(sql.ROLLBACK)
        connection.execute(sql.BEGIN_WRITE)
        raise


class _Application(Application):
    """One transaction's writes within a batch.

    Args:
        connection: in a transaction.
        revision: the last one that was given.
        last_entries: the newest entry of logs, as those of the batch before it have left them.

    Attributes:
        counts: how many rows of each kind there are more.
        last_entries: the newest entry of each log that this one looked at, or wrote.
    """

    def __init__(self, connection: sqlite3.Connection, revision: int, last_entries: Mapping[str, LogEntry]) -> None:
        super().__init__(revision)
        self._left, self.last_entries = last_entries, dict[str, LogEntry]()
        self._execute, self._executemany = connection.execute, connection.executemany
        self.counts: Counter[str] = Counter()

    def head(self, kind: str, id_: str) -> Row | None:
        found = self._execute(sql.HEAD, (kind, id_)).fetchone()
        if found is None:
            return None
        sequence, revision, namespace, slug, created_by, owner, sealed = found
        return Row(kind, id_, namespace, slug, b"", None, created_by, owner, revision, sequence, bool(sealed))

    def dependents(self, kind: str, field: str, id_: str) -> list[str]:
        return [child for (child,) in self._execute(sql.DEPENDENTS, (kind, field, id_)).fetchall()]

    def insert(self, row: Row) -> int | None:
        values = _columns(row)
        try:
            cursor = self._execute(sql.INSERT, (*values, checksum_of_row(*values), row.owner))
        except sqlite3.IntegrityError:
            return None
        sequence = int(cursor.lastrowid or 0)
        self._add_keys(row, sequence, row.keys or ())
        self.counts[row.kind] += 1
        return sequence

    def update(self, row: Row) -> None:
        self._execute(sql.UPDATE, (row.data, row.revision, row.sealed, checksum_of_row(*_columns(row)), row.sequence))
        have, want = set(self._execute(sql.KEYS, (row.sequence,))), set(row.keys or ())
        self._executemany(sql.DROP_KEY, [(row.kind, *key, row.sequence) for key in have - want])
        self._add_keys(row, row.sequence, want - have)

    def _add_keys(self, row: Row, sequence: int, keys: Iterable[tuple[str, str]]) -> None:
        self._executemany(sql.ADD_KEY, [(row.kind, *key, sequence, row.owner, row.owner) for key in keys])

    def delete(self, head: Row) -> None:
        self._execute(sql.DELETE, (head.sequence,))
        self.counts[head.kind] -= 1

    def record_revision(self, key: Key) -> int:
        found = self._execute(sql.RECORD_REVISION, key).fetchone()
        return int(found[0]) if found is not None else ABSENT

    def record_value(self, key: Key) -> bytes | None:
        found = self._execute(sql.RECORD_VALUE, key).fetchone()
        return found[0] if found is not None else None

    def write_record(self, record: Record) -> None:
        values = (record.table, record.key, record.value, record.revision)
        self._execute(sql.PUT_RECORD, (*values, checksum_of_record(*values)))

    def delete_record(self, key: Key) -> None:
        self._execute(sql.DELETE_RECORD, key)

    def used_ms(self, kind: str, id_: str) -> int:
        found = self._execute(sql.USED, (kind, id_)).fetchone()
        return int(found[0]) if found is not None else 0

    def write_use(self, kind: str, id_: str, used_ms: int) -> None:
        self._execute(sql.PUT_USE, (used_ms, kind, id_))

    def last_entry(self, log: str) -> LogEntry | None:
        known = self.last_entries.get(log) or self._left.get(log)
        if known is not None:
            return known
        found = self._execute(sql.LAST_ENTRY, (log,)).fetchone()
        return LogEntry(*found) if found is not None else None

    def write_entry(self, entry: LogEntry) -> None:
        self._execute(sql.APPEND, (entry.log, entry.number, entry.value, entry.link))
        self.last_entries[entry.log] = entry

    def trim(self, log: str, through: int) -> None:
        self._execute(sql.TRIM, (log, through))
