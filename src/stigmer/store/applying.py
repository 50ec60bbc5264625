"""How a transaction is applied, for backends that look rows up one by one; each gives the look-ups and the writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

from stigmer.store.changes import Append, Change
from stigmer.store.errors import ConflictError
from stigmer.store.rows import ABSENT, SEALED, Record, chained, sealed_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from stigmer.store.changes import AppendForRemoved, Changes, Dependent, Put
    from stigmer.store.rows import Key, LogEntry, Row


class Application(ABC):
    """One transaction on its way into a store; what it wrote before a ConflictError is the backend's to take back.

    Args:
        revision: the last one that was given.

    Attributes:
        revision: the same, this transaction's own included.
        changes: what the feed will tell.
        records: those that it writes by their table and key; None where one is deleted.
        shreds: whether it takes away or replaces what a row had sealed.
    """

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.changes: list[Change] = []
        self.records: dict[Key, Record | None] = {}
        self.shreds = False
        self._for_removed: AppendForRemoved | None = None
        self._of_removed: list[Append] = []

    def apply(self, changes: Changes) -> None:
        """Apply all of it, in the order that `Changes` gives.

        Raises:
            ConflictError: a precondition does not hold.
        """
        self._expect(changes)
        self._for_removed = changes.removed
        kept = {(put.row.kind, put.row.id) for put in changes.puts if put.expected != ABSENT}
        for cascade in changes.cascades:
            self._remove_dependents(cascade.dependent, cascade.id, kept)
        for remove in changes.removes:
            self._remove(remove.kind, remove.id)
        for put in changes.puts:
            self._put(put)
        for require in changes.requires:
            if self.head(require.kind, require.id) is None:
                raise ConflictError((require.kind, require.id))
        created = {sealed_key(put.row.kind, put.row.id) for put in changes.puts if put.expected == ABSENT}
        for key, value in changes.records.items():
            replaces = key[0] == SEALED and key not in created and self.record_revision(key) != ABSENT
            self.shreds = self.shreds or replaces
            self._write(key, value)
        self._append(changes)
        for (kind, id_), used_ms in changes.uses.items():
            self.write_use(kind, id_, used_ms)

    @abstractmethod
    def head(self, kind: str, id_: str) -> Row | None:
        """The row, its data and keys left out."""

    @abstractmethod
    def dependents(self, kind: str, field: str, id_: str) -> Iterable[str]:
        """The ids of the kind's rows whose field holds the id."""

    @abstractmethod
    def insert(self, row: Row) -> int | None:
        """Write a new row; gives its sequence, None where its id or its slug is taken."""

    @abstractmethod
    def update(self, row: Row) -> None:
        """Write a row in place of the one with its sequence."""

    @abstractmethod
    def delete(self, head: Row) -> None:
        """Take a row out."""

    @abstractmethod
    def record_revision(self, key: Key) -> int:
        """The revision of a record, or ABSENT."""

    @abstractmethod
    def record_value(self, key: Key) -> bytes | None:
        """What a record holds."""

    @abstractmethod
    def write_record(self, record: Record) -> None:
        """Write a record, in place of the one with its key where that is there."""

    @abstractmethod
    def delete_record(self, key: Key) -> None:
        """Take a record out, where it is there."""

    @abstractmethod
    def used_ms(self, kind: str, id_: str) -> int:
        """When a row was used last; 0 where it does not expire, or is not there."""

    @abstractmethod
    def write_use(self, kind: str, id_: str, used_ms: int) -> None:
        """Note that a row was used, where it is there and no later use is noted."""

    @abstractmethod
    def last_entry(self, log: str) -> LogEntry | None:
        """The newest entry of a log."""

    @abstractmethod
    def write_entry(self, entry: LogEntry) -> None:
        """Write a log's entry."""

    @abstractmethod
    def trim(self, log: str, through: int) -> None:
        """Drop a log's entries up to a number."""

    def _append(self, changes: Changes) -> None:
        for one in (*changes.appends, *self._of_removed):
            self.write_entry(chained(self.last_entry(one.log), one.log, one.value))
        for trim in changes.trims:
            self.trim(trim.log, trim.through)

    def _expect(self, changes: Changes) -> None:
        for remove in changes.removes:
            if remove.expected is not None:
                self._expected(remove.kind, remove.id, remove.expected)
        for require in changes.requires:
            if require.revision is not None:
                self._expected(require.kind, require.id, require.revision)
        for key, revision in changes.expects.items():
            if self.record_revision(key) != revision:
                raise ConflictError(key)
        for key, used_ms in changes.unused.items():
            if self.used_ms(*key) > used_ms:
                raise ConflictError(key)

    def _expected(self, kind: str, id_: str, revision: int) -> Row:
        head = self.head(kind, id_)
        if head is None or head.revision != revision:
            raise ConflictError((kind, id_))
        return head

    def _remove_dependents(self, dependent: Dependent, id_: str, kept: Collection[Key]) -> None:
        for child in self.dependents(dependent.kind, dependent.field, id_):
            if (dependent.kind, child) in kept:
                continue
            for inner in dependent.dependents:
                self._remove_dependents(inner, child, kept)
            self._remove(dependent.kind, child)
            for table in dependent.records:
                self.delete_record((table, child))

    def _remove(self, kind: str, id_: str) -> None:
        head = self.head(kind, id_)
        if head is not None:
            if head.sealed and (told := self._for_removed) is not None:
                sealed = self.record_value(sealed_key(kind, id_))
                self._of_removed.append(Append(told.log, told.value(head, sealed)))
            self.delete(head)
            self._shred(head)
            self.changes.append(Change(kind, id_, self._next_revision(), None))

    def _write(self, key: Key, value: bytes | None) -> None:
        if value is None:
            self.delete_record(key)
            self.records[key] = None
        else:
            self.records[key] = record = Record(*key, value, self._next_revision())
            self.write_record(record)

    def _put(self, put: Put) -> None:
        row = replace(put.row, revision=self.revision + 1)
        row = self._inserted(row) if put.expected == ABSENT else self._updated(row, put.expected)
        self.changes.append(Change(row.kind, row.id, self._next_revision(), row))

    def _inserted(self, row: Row) -> Row:
        sequence = self.insert(row)
        if sequence is not None:
            return replace(row, sequence=sequence)
        if row.slug is None or self.head(row.kind, row.id) is not None:
            raise ConflictError((row.kind, row.id))
        raise ConflictError((row.kind, row.slug, row.namespace))

    def _updated(self, row: Row, expected: int) -> Row:
        head = self._expected(row.kind, row.id, expected)
        row = replace(row, namespace=head.namespace, slug=head.slug, sequence=head.sequence)
        row = replace(row, created_by=head.created_by, owner=head.owner)
        self.update(row)
        if not row.sealed:
            self._shred(head)
        return row

    def _shred(self, head: Row) -> None:
        """Take out what a row had sealed."""
        if head.sealed:
            self.delete_record(sealed_key(head.kind, head.id))
            self.shreds = True

    def _next_revision(self) -> int:
        self.revision += 1
        return self.revision
