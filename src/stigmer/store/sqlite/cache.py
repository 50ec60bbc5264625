"""A bounded cache of committed rows in front of a store; the change feed keeps it true.

It may be kept because one process owns a database, so that every change passes the feed before its commit is
acknowledged.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from stigmer.store.changes import Change
    from stigmer.store.feed import LocalFeed
    from stigmer.store.rows import Key, Row

SlugKey: TypeAlias = tuple[str, str, str]

ROW_OVERHEAD_BYTES = 600
"""What a cached row costs beside its data: the row object, its strings and two dictionary entries."""


class RowCache:
    """The rows read or written last, by id and by slug.

    Args:
        feed: tells of every change.
        max_bytes: how much the rows' data and ROW_OVERHEAD_BYTES each may add up to; 0 keeps nothing.
    """

    def __init__(self, feed: LocalFeed, max_bytes: int) -> None:
        self._feed = feed
        self._max = max_bytes
        self._size = 0
        self._rows: OrderedDict[Key, Row] = OrderedDict()
        self._slugs: dict[SlugKey, Key] = {}
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

    async def fill(self, read: Callable[[], Awaitable[Row | None]]) -> Row | None:
        """Read a row from the store and keep it, unless a change of it was committed meanwhile."""
        began = self._feed.revision
        row = await read()
        if row is not None:
            key = (row.kind, row.id)
            changed = self._feed.changed_since(began)
            if changed is not None and key not in changed:
                self._drop(key)
                self._keep(row)
        return row

    def keep(self, rows: Iterable[Row]) -> None:
        """Take in committed rows that nobody asked for yet; the first of them go first when room is needed."""
        for row in rows:
            self._keep(row)

    def clear(self) -> None:
        """Forget all rows."""
        self._rows.clear()
        self._slugs.clear()
        self._size = 0

    def _note(self, change: Change) -> None:
        """Take a committed change in. Where that fails, nothing is kept, old or not."""
        try:
            self._drop((change.kind, change.id))
            if change.row is not None:
                self._keep(change.row)
        except BaseException:
            self.clear()
            raise

    def _keep(self, row: Row) -> None:
        key = (row.kind, row.id)
        self._rows[key] = row
        if row.slug is not None:
            self._slugs[row.kind, row.slug, row.namespace] = key
        self._size += size_of(row)
        while self._size > self._max and self._rows:
            self._drop(next(iter(self._rows)))

    def _drop(self, key: Key) -> None:
        row = self._rows.pop(key, None)
        if row is None:
            return
        self._size -= size_of(row)
        if row.slug is not None:
            self._slugs.pop((row.kind, row.slug, row.namespace), None)


def size_of(row: Row) -> int:
    """How many bytes a cached row costs."""
    return len(row.data) + ROW_OVERHEAD_BYTES
