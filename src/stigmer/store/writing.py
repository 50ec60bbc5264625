"""SQLite writes, run on the writing connection's thread: one batch of transactions, one commit."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from stigmer.store import statements as sql
from stigmer.store.base import (
    ABSENT,
    Change,
    Changes,
    ConflictError,
    Dependent,
    Put,
    Remove,
    Require,
    Row,
    StoreUnavailableError,
)
from stigmer.store.checksum import checksum
from stigmer.store.failures import failure, is_damage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence
    from contextlib import AbstractContextManager

Outcome: TypeAlias = "list[Change] | Exception"
Guard: TypeAlias = "Callable[[sqlite3.Connection], AbstractContextManager[None]]"

REFUSALS = (ConflictError, OverflowError, UnicodeEncodeError)
"""What is wrong with one transaction alone: a precondition, or a value that SQLite cannot hold."""


class Writer:
    """Applies batches, on the writing connection's thread.

    Attributes:
        revision: the last revision that was given.

    Args:
        check: called before each batch; raises StoreUnavailableError where nothing must be written any more.
    """

    def __init__(self, revision: int, check: Callable[[], None] = lambda: None) -> None:
        self.revision = revision
        self._check = check
        self._failing = False

    def run(self, connection: sqlite3.Connection, batch: Sequence[Changes]) -> list[Outcome]:
        """Write a batch of transactions in one commit.

        Returns:
            for each its changes in order, or what was wrong with it: it then wrote nothing.
        """
        before = self.revision
        try:
            self._check()
            connection.execute(sql.BEGIN_WRITE)
            counts: Counter[str] = Counter()
            guard = _savepoint if len(batch) > 1 else _begin_again
            outcomes = [self._attempt(connection, changes, counts, guard) for changes in batch]
            connection.executemany(sql.COUNT_UP, [(kind, count) for kind, count in counts.items() if count])
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
                return [outcome for changes in batch for outcome in self.run(connection, [changes])]
            return [failure(error, *_named(changes)) for changes in batch]
        except BaseException:
            self.revision = before
            connection.execute(sql.ROLLBACK)
            raise
        return outcomes

    def _attempt(self, connection: sqlite3.Connection, changes: Changes, counts: Counter[str], guard: Guard) -> Outcome:
        attempt = _Attempt(connection, self.revision)
        try:
            with guard(connection) if _may_stop_halfway(changes) else nullcontext():
                attempt.apply(changes)
        except REFUSALS as error:
            return error
        self.revision = attempt.revision
        counts.update(attempt.counts)
        return attempt.changes


def _columns(row: Row) -> tuple[str, str, str, str | None, str, int, bytes]:
    """What is written of a row, and summed."""
    return row.kind, row.id, row.namespace, row.slug, row.created_by, row.revision, row.data


def _named(changes: Changes) -> tuple[str, str]:
    """Kind and id of the row that a transaction is about, most likely; empty where it is about none."""
    for put in changes.puts:
        return put.row.kind, put.row.id
    for remove in changes.removes:
        return remove.kind, remove.id
    return "", ""


def _may_stop_halfway(changes: Changes) -> bool:
    """Whether it may be refused when part of it is written; one row is refused at its first write, unless for a key."""
    if len(changes.puts) != 1 or changes.removes or changes.cascades or changes.requires:
        return True
    keys = "".join(map("".join, changes.puts[0].row.keys or ()))
    return not keys.isprintable()  # a text that SQLite cannot hold never is


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Generator[None]:
    """Undo what a transaction wrote before it was refused; any other error ends the whole batch."""
    connection.execute(sql.SAVEPOINT)
    try:
        yield
    except REFUSALS:
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
    except REFUSALS:
        connection.execute(sql.ROLLBACK)
        connection.execute(sql.BEGIN_WRITE)
        raise


class _Attempt:
    """One transaction's writes within a batch."""

    def __init__(self, connection: sqlite3.Connection, revision: int) -> None:
        self._connection = connection
        self.revision = revision
        self.changes: list[Change] = []
        self.counts: Counter[str] = Counter()

    def apply(self, changes: Changes) -> None:
        """Apply all of it.

        Raises:
            ConflictError: a precondition does not hold.
        """
        for remove in changes.removes:
            self._expect(remove)
        kept = {(put.row.kind, put.row.id) for put in changes.puts if put.expected != ABSENT}
        for cascade in changes.cascades:
            self._delete_dependents(cascade.dependent, cascade.id, kept)
        for remove in changes.removes:
            self._remove(remove.kind, remove.id)
        for put in changes.puts:
            self._put(put)
        for require in changes.requires:
            self._require(require)

    def _expect(self, remove: Remove) -> None:
        if remove.expected is None:
            return
        head = self._head(remove.kind, remove.id)
        if head is None or head[1] != remove.expected:
            raise ConflictError((remove.kind, remove.id))

    def _delete_dependents(self, dependent: Dependent, id_: str, kept: Collection[tuple[str, str]]) -> None:
        found = self._connection.execute(sql.DEPENDENTS, (dependent.kind, dependent.field, id_)).fetchall()
        for (child,) in found:
            if (dependent.kind, child) in kept:
                continue
            for inner in dependent.dependents:
                self._delete_dependents(inner, child, kept)
            self._remove(dependent.kind, child)

    def _remove(self, kind: str, id_: str) -> None:
        head = self._head(kind, id_)
        if head is None:
            return
        self._connection.execute(sql.DELETE, (head[0],))
        self.counts[kind] -= 1
        self._note(kind, id_, None)

    def _put(self, put: Put) -> None:
        row = replace(put.row, revision=self.revision + 1)
        stored = self._insert(row) if put.expected == ABSENT else self._update(row, put.expected)
        self._note(row.kind, row.id, stored)

    def _insert(self, row: Row) -> Row:
        values = _columns(row)
        try:
            cursor = self._connection.execute(sql.INSERT, (*values, checksum(*values)))
        except sqlite3.IntegrityError:
            raise ConflictError(self._taken(row)) from None
        sequence = int(cursor.lastrowid or 0)
        self._connection.executemany(sql.ADD_KEY, [(row.kind, *key, sequence) for key in row.keys or ()])
        self.counts[row.kind] += 1
        return replace(row, sequence=sequence)

    def _taken(self, row: Row) -> tuple[str, ...]:
        if row.slug is None or self._head(row.kind, row.id) is not None:
            return (row.kind, row.id)
        return (row.kind, row.slug, row.namespace)

    def _update(self, row: Row, expected: int) -> Row:
        found = self._connection.execute(sql.IDENTITY, (row.kind, row.id)).fetchone()
        if found is None or found[1] != expected:
            raise ConflictError((row.kind, row.id))
        sequence, _, namespace, slug, created_by = found
        row = replace(row, namespace=namespace, slug=slug, created_by=created_by, sequence=sequence)
        self._connection.execute(sql.UPDATE, (row.data, row.revision, checksum(*_columns(row)), sequence))
        have = set(self._connection.execute(sql.KEYS, (sequence,)))
        want = set(row.keys or ())
        self._connection.executemany(sql.DROP_KEY, [(row.kind, *key, sequence) for key in have - want])
        self._connection.executemany(sql.ADD_KEY, [(row.kind, *key, sequence) for key in want - have])
        return row

    def _require(self, require: Require) -> None:
        if self._head(require.kind, require.id) is None:
            raise ConflictError((require.kind, require.id))

    def _head(self, kind: str, id_: str) -> tuple[int, int] | None:
        found: tuple[int, int] | None = self._connection.execute(sql.HEAD, (kind, id_)).fetchone()
        return found

    def _note(self, kind: str, id_: str, row: Row | None) -> None:
        self.revision += 1
        self.changes.append(Change(kind, id_, self.revision, row))
