"""A store in dictionaries: for planes whose resources need not outlive the process, and for tests."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Self, TypeVar

from stigmer.store.applying import Application
from stigmer.store.errors import StoreUnavailableError
from stigmer.store.feed import LocalFeed
from stigmer.store.memory.tables import Tables, indexed, names_of, owned_names, union
from stigmer.store.rows import ABSENT, Page, Query, Selection, Use, Window, owned, secret_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from stigmer.access.principal import Owners
    from stigmer.store.changes import Change, Changes
    from stigmer.store.rows import Key, LogEntry, Record, Row

K = TypeVar("K")
V = TypeVar("V")


class MemoryStore:
    """A store in this process; what its methods do, `contract.Store` says. An async context manager.

    Args:
        tables: what it keeps; new ones where None.
        max_subscriptions: for the change feed.
        observe: told how many transactions went in each commit, here one, and how many seconds it took.
    """

    def __init__(
        self,
        tables: Tables | None = None,
        *,
        max_subscriptions: int = 10_000,
        observe: Callable[[int, float], None] = lambda _transactions, _duration_s: None,
    ) -> None:
        self._tables = Tables() if tables is None else tables
        self._observe = observe
        self._feed = LocalFeed(max_subscriptions)
        self._open = False

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._tables.rows)} rows, {'open' if self._open else 'closed'}>"

    @property
    def feed(self) -> LocalFeed:
        return self._feed

    async def __aenter__(self) -> Self:
        self._open = True
        self._feed.reopen(self._tables.revision)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open = False
        self._feed.shut()

    def secret(self, name: str) -> bytes:
        return secret_of(self._tables.root_key, name)

    async def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def get(self, kind: str, id_: str, owners: Owners | None = None) -> Row | None:
        return owned(self._read.row((kind, id_)), owners)

    async def by_slug(self, kind: str, slug: str, namespace: str, owners: Owners | None = None) -> Row | None:
        return owned(self._read.row((kind, slug, namespace)), owners)

    async def by_slug_anywhere(
        self, kind: str, slug: str, owners: Owners | None = None, limit: int = 2
    ) -> Sequence[Row]:
        found = chain.from_iterable(self._read.having(*name) for name in owned_names(owners, "slug", kind, slug))
        return sorted(found, key=lambda row: row.namespace)[:limit]

    async def page(self, query: Query, window: Window) -> Page:
        found = sorted(self._matching(query), reverse=True)
        older = [sequence for sequence in found if window.before is None or sequence < window.before][window.skip :]
        selection = Selection(window)
        more = any(not selection.add(self._tables.rows[sequence]) for sequence in older)
        return Page(selection.rows, more, len(found))

    async def intact(self, kind: str, before: int | None, limit: int) -> tuple[Sequence[Row], int | None]:
        rows = (await self.page(Query(kind), Window(limit, before))).rows
        return rows, rows[-1].sequence if len(rows) == limit else None

    async def newest(self, kind: str, field: str, value: str) -> Row | None:
        sequences = self._read.index.get(("key", kind, field, value))
        return self._tables.rows[max(sequences)] if sequences else None

    async def holders(self, kind: str, field: str, values: Iterable[str]) -> Sequence[str]:
        found = (self._read.having("key", kind, field, value) for value in values)
        return list(dict.fromkeys(row.id for rows in found for row in rows))

    async def record(self, table: str, key: str) -> Record | None:
        return self._read.records.get((table, key))

    async def records(self, table: str, prefix: str = "", after: str = "", limit: int = 1000) -> Sequence[Record]:
        found = (one for one in self._read.records.values() if one.table == table and one.key > after)
        return sorted((one for one in found if one.key.startswith(prefix)), key=lambda one: one.key)[:limit]

    async def log(self, name: str, after: int = 0, limit: int = 1000) -> Sequence[LogEntry]:
        entries = self._read.logs.get(name, [])
        start = max(0, after + 1 - entries[0].number) if entries else 0
        return entries[start : start + limit]

    async def last_entry(self, name: str) -> LogEntry | None:
        entries = self._read.logs.get(name)
        return entries[-1] if entries else None

    async def unused(self, since_ms: int, after: Use | None = None, limit: int = 100) -> Sequence[Use]:
        tables = self._read
        first = bisect_right(tables.by_use, after[:2]) if after is not None else 0
        last = bisect_left(tables.by_use, (since_ms + 1, 0))
        found = ((*use, tables.rows[use[1]]) for use in tables.by_use[first : min(last, first + limit)])
        return [Use(used_ms, sequence, row.kind, row.id) for used_ms, sequence, row in found]

    async def commit(self, changes: Changes, *, dry_run: bool = False) -> Sequence[Change]:
        started, application = time.perf_counter(), _Application(self._read)
        try:
            application.apply(changes)
        except BaseException:
            application.take_back()
            raise
        finally:
            self._observe(1, time.perf_counter() - started)
        if dry_run:
            application.take_back()
        else:
            self._tables.revision = application.revision
            self._publish(application.changes)
        return application.changes

    async def size_bytes(self) -> int:
        """Of the resources and records; the rest of it is not counted."""
        tables = self._read
        rows, records = tables.rows.values(), tables.records.values()
        return sum(len(row.data) for row in rows) + sum(len(record.value) for record in records)

    async def maintain(self) -> None:
        """Nothing is left over here."""

    async def compact(self) -> None:
        """Nothing is left of what is deleted."""

    async def probe(self) -> None:
        assert self._read is self._tables  # noqa: S101 - nothing else can be wrong

    @property
    def _read(self) -> Tables:
        if not self._open:
            raise StoreUnavailableError("the store is closed")
        return self._tables

    def _publish(self, changes: Sequence[Change]) -> None:
        self._feed.publish(changes)

    def _matching(self, query: Query) -> Iterable[int]:
        index, through = self._read.index, query.through
        found: AbstractSet[int] = union(index, owned_names(query.owners, "kind", query.kind))
        for key in query.keys:
            found &= index.get(("key", query.kind, *key), {}).keys()
        for some in query.any_of:
            found &= union(index, (("key", query.kind, *key) for key in some))
        found -= union(index, (("key", query.kind, *key) for key in query.without))
        if through is not None:
            holders = self._matching(Query(through.kind, (through.key,), owners=query.owners))
            values = {through.value, *(self._tables.rows[sequence].id for sequence in holders)}
            found &= union(index, (("key", query.kind, through.field, value) for value in values))
        return found


class _Application(Application):
    """One transaction, written at once and taken back where it is refused or only tried."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables.revision)
        self._tables, self._sequence = tables, tables.sequence
        self._undo: list[Callable[[], object]] = []

    def take_back(self) -> None:
        """Leave the tables as they were."""
        for undo in reversed(self._undo):
            undo()
        self._tables.sequence = self._sequence

    def head(self, kind: str, id_: str) -> Row | None:
        return self._tables.row((kind, id_))

    def dependents(self, kind: str, field: str, id_: str) -> list[str]:
        return [row.id for row in self._tables.having("key", kind, field, id_)]

    def insert(self, row: Row) -> int | None:
        if any(name in self._tables.names for name in names_of(row)):
            return None
        self._tables.sequence += 1
        row = replace(row, sequence=self._tables.sequence)
        for name in names_of(row):
            self._set(self._tables.names, name, row.sequence)
        self._replace(None, row)
        return row.sequence

    def update(self, row: Row) -> None:
        self._replace(self._tables.rows[row.sequence], row)

    def used_ms(self, kind: str, id_: str) -> int:
        row = self.head(kind, id_)
        return self._tables.uses.get(row.sequence, 0) if row is not None else 0

    def write_use(self, kind: str, id_: str, used_ms: int) -> None:
        row = self.head(kind, id_)
        if row is not None and used_ms > self.used_ms(kind, id_):
            self._set_use(row.sequence, used_ms)

    def delete(self, head: Row) -> None:
        self._set_use(head.sequence, None)
        for name in names_of(head):
            self._set(self._tables.names, name, None)
        self._replace(head, None)

    def record_revision(self, key: Key) -> int:
        record = self._tables.records.get(key)
        return record.revision if record is not None else ABSENT

    def record_value(self, key: Key) -> bytes | None:
        record = self._tables.records.get(key)
        return record.value if record is not None else None

    def write_record(self, record: Record) -> None:
        self._set(self._tables.records, (record.table, record.key), record)

    def delete_record(self, key: Key) -> None:
        self._set(self._tables.records, key, None)

    def last_entry(self, log: str) -> LogEntry | None:
        entries = self._tables.logs.get(log)
        return entries[-1] if entries else None

    def write_entry(self, entry: LogEntry) -> None:
        entries = self._tables.logs.setdefault(entry.log, [])
        entries.append(entry)
        self._undo.append(lambda: entries.remove(entry))

    def trim(self, log: str, through: int) -> None:
        entries = self._tables.logs.get(log, [])
        kept = [one for one in entries if one.number > through]
        self._set(self._tables.logs, log, kept)

    def _replace(self, old: Row | None, new: Row | None) -> None:
        """Write a row in the table and its index."""
        had, has = indexed(old), indexed(new)
        sequence = (old or new).sequence  # type: ignore[union-attr]  # one is there
        self._set(self._tables.rows, sequence, new)
        for name in had - has:
            self._set(self._tables.index[name], sequence, None)
            if not self._tables.index[name]:
                self._set(self._tables.index, name, None)
        for name in has - had:
            if name not in self._tables.index:
                self._set(self._tables.index, name, {})
            self._set(self._tables.index[name], sequence, value=True)

    def _set_use(self, sequence: int, used_ms: int | None) -> None:
        before = self._tables.set_use(sequence, used_ms)
        self._undo.append(lambda: self._tables.set_use(sequence, before))

    def _set(self, table: dict[K, V], key: K, value: V | None) -> None:
        """Set a key, or with None take it out."""
        before = table.get(key)
        self._undo.append(lambda: _set(table, key, before))
        _set(table, key, value)


def _set(table: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
