"""A bounded cache of committed rows in front of a store, with their records of ciphertexts; the feed keeps it true.

It may be kept because one process owns a database, so that every change passes the feed before its commit is
acknowledged. Of records the feed does not tell: the store does, in the same moment.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias

from stigmer.store.rows import SEALED, sealed_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from stigmer.store.changes import Change
    from stigmer.store.feed import LocalFeed
    from stigmer.store.rows import Key, Record, Row

SlugKey: TypeAlias = tuple[str, str, str]

ROW_OVERHEAD_BYTES = 600
"""What a cached row costs beside its data: the row object, its strings and two dictionary entries."""


class RowCache:
    """The rows read or written last, by id and by slug; beside one that is sealed its record, of the same commit.

    Args:
        feed: tells of every change.
        max_bytes: how much the rows' data, the records and ROW_OVERHEAD_BYTES a row may add up to; 0 keeps nothing.
    """

    def __init__(self, feed: LocalFeed, max_bytes: int) -> None:
        self._feed = feed
        self._max = max_bytes
        self._size = 0
        self._rows: OrderedDict[Key, Row] = OrderedDict()
        self._slugs: dict[SlugKey, Key] = {}
        self._only: dict[Key, Key] = {}  # by kind and slug
        self._records: dict[str, Record] = {}  # by their keys
        self._filling: dict[str | Key, object] = {}
        feed.listen(self._note)

    def __repr__(self) -> str:
        return f"<RowCache {len(self._rows)} rows, {self._size} of {self._max} bytes>"

    def by_id(self, kind: str, id_: str) -> Row | None:
        """The row, where it is cached."""
        key = (kind, id_)
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
        return row

    def by_slug(self, kind: str, slug: str, namespace: str) -> Row | None:
        """The row that holds the slug, where it is cached."""
        key = self._slugs.get((kind, slug, namespace))
        return self.by_id(*key) if key is not None else None

    def only(self, kind: str, slug: str) -> Row | None:
        """The row that alone holds the slug, in whatever namespace, where that is known."""
        key = self._only.get((kind, slug))
        return self.by_id(*key) if key is not None else None

    async def fill_only(self, kind: str, slug: str, read: Callable[[], Awaitable[Sequence[Row]]]) -> Sequence[Row]:
        """Read rows that hold a slug, two at least where there are; keep one that is alone, unless others came."""
        began, name = self._feed.revision, (kind, slug)
        mine = self._filling[name] = object()
        try:
            rows = await read()
            if len(rows) == 1 and self._filling.get(name) is mine and self._keep_read(rows[0], began):
                self._only[name] = kind, rows[0].id
        finally:
            if self._filling.get(name) is mine:
                del self._filling[name]
        return rows

    def record(self, key: str) -> Record | None:
        """The record of SEALED under that key, where it is cached."""
        return self._records.get(key)

    async def fill_record(self, key: str, read: Callable[[], Awaitable[Record | None]]) -> Record | None:
        """Read a record of SEALED from the store; keep it beside its row, unless it was written meanwhile."""
        mine = self._filling[key] = object()
        try:
            record = await read()
            if record is not None and self._filling.get(key) is mine:
                self._keep_record(record)
        finally:
            if self._filling.get(key) is mine:
                del self._filling[key]
        return record

    def note_records(self, records: Mapping[Key, Record | None]) -> None:
        """Take in what a commit made of records, those of SEALED, once the feed has told of its rows."""
        for (table, key), record in records.items():
            if table == SEALED:
                self._filling.pop(key, None)
                self._drop_record(key)
                if record is not None:
                    self._keep_record(record)

    async def fill(self, read: Callable[[], Awaitable[Row | None]]) -> Row | None:
        """Read a row from the store and keep it, unless a change of it was committed meanwhile."""
        began = self._feed.revision
        row = await read()
        if row is not None:
            self._keep_read(row, began)
        return row

    def _keep_read(self, row: Row, began: int) -> bool:
        """Keep a row that was read, unless it was changed since the feed told of that revision; whether it is kept."""
        key = (row.kind, row.id)
        changed = self._feed.changed_since(began)
        if changed is not None and key not in changed:
            self._drop(key)
            self._keep(row)
        return self._rows.get(key) is row

    def keep(self, rows: Iterable[Row]) -> None:
        """Take in committed rows that nobody asked for yet; the first of them go first when room is needed."""
        for row in rows:
            self._keep(row)

    def clear(self) -> None:
        """Forget all of it."""
        for kept in (self._rows, self._slugs, self._only, self._records, self._filling):
            kept.clear()
        self._size = 0

    def _note(self, change: Change) -> None:
        """Take a committed change in. Where that fails, nothing is kept, old or not."""
        try:
            key, row = (change.kind, change.id), change.row
            of_record = sealed_key(*key)[1]
            self._filling.pop(of_record, None)
            record, is_only = self._records.get(of_record), self._is_only(row)
            self._drop(key)
            if row is not None:
                self._keep(row)
                if record is not None and row.sealed:  # it stays, or another one follows at once
                    self._keep_record(record)
                if is_only and key in self._rows:
                    self._only[row.kind, row.slug or ""] = key
        except BaseException:
            self.clear()
            raise

    def _is_only(self, row: Row | None) -> bool:
        """Whether a row that was written just now held its slug alone, and so still does; else nobody is known to."""
        if row is None or row.slug is None:
            return False
        name = (row.kind, row.slug)
        self._filling.pop(name, None)
        return self._only.pop(name, None) == (row.kind, row.id)

    def _keep(self, row: Row) -> None:
        key = (row.kind, row.id)
        self._rows[key] = row
        if row.slug is not None:
            self._slugs[row.kind, row.slug, row.namespace] = key
        self._size += size_of(row)
        self._make_room()

    def _keep_record(self, record: Record) -> None:
        kind, _, id_ = record.key.partition("/")
        if (kind, id_) in self._rows:
            self._drop_record(record.key)
            self._records[record.key] = record
            self._size += len(record.value)
            self._make_room()

    def _make_room(self) -> None:
        while self._size > self._max and self._rows:
            self._drop(next(iter(self._rows)))

    def _drop(self, key: Key) -> None:
        row = self._rows.pop(key, None)
        if row is None:
            return
        self._size -= size_of(row)
        if row.slug is not None:
            self._slugs.pop((row.kind, row.slug, row.namespace), None)
            if self._only.get((row.kind, row.slug)) == key:
                del self._only[row.kind, row.slug]
        if row.sealed:
            self._drop_record(sealed_key(*key)[1])

    def _drop_record(self, key: str) -> None:
        record = self._records.pop(key, None)
        if record is not None:
            self._size -= len(record.value)


def size_of(row: Row) -> int:
    """How many bytes a cached row costs, its record left out."""
    return len(row.data) + ROW_OVERHEAD_BYTES
