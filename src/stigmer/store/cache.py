"""A bounded cache of committed rows in front of a store; the change feed keeps it true.

One process owns a database, so that every change passes the feed before its commit is acknowledged.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stigmer.store.base import Change, Row

    Key = tuple[str, str]
    SlugKey = tuple[str, str, str]

ROW_OVERHEAD_BYTES = 600
"""What a cached row costs beside its data: the row object, its strings and two dictionary entries."""


class RowCache:
    """The rows read or written last, by id and by slug.

    Args:
        max_bytes: how much the rows' data and ROW_OVERHEAD_BYTES each may add up to; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._size = 0
        self._rows: OrderedDict[Key, Row] = OrderedDict()
        self._slugs: dict[SlugKey, Key] = {}
        self._clock = 0
        self._fills: dict[object, int] = {}
        self._changed: OrderedDict[Key, int] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RowCache {len(self._rows)} rows, {self._size} of {self._max} bytes>"

    def note(self, change: Change) -> None:
        """Take a committed change in: a listener of the change feed. Where that fails, it keeps nothing, old or not."""
        try:
            self._note(change)
        except BaseException:
            self.clear()
            raise

    def _note(self, change: Change) -> None:
        key = (change.kind, change.id)
        if self._fills:
            self._clock += 1
            self._changed[key] = self._clock
            self._changed.move_to_end(key)
        self._drop(key)
        if change.row is not None:
            self._keep(change.row)

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
        fill, began = object(), self._clock
        self._fills[fill] = began
        try:
            row = await read()
            if row is not None and self._changed.get((row.kind, row.id), 0) <= began:
                self._drop((row.kind, row.id))
                self._keep(row)
            return row
        finally:
            del self._fills[fill]
            self._forget_changes()

    def clear(self) -> None:
        """Forget all rows."""
        self._rows.clear()
        self._slugs.clear()
        self._size = 0

    def _forget_changes(self) -> None:
        """Drop the changes that are older than every running fill: their number stays small while fills overlap."""
        oldest = next(iter(self._fills.values()), self._clock)
        while self._changed and next(iter(self._changed.values())) <= oldest:
            self._changed.popitem(last=False)

    def _keep(self, row: Row) -> None:
        key = (row.kind, row.id)
        self._rows[key] = row
        if row.slug is not None:
            self._slugs[row.kind, row.slug, row.namespace] = key
        self._size += len(row.data) + ROW_OVERHEAD_BYTES
        while self._size > self._max and self._rows:
            self._drop(next(iter(self._rows)))

    def _drop(self, key: Key) -> None:
        row = self._rows.pop(key, None)
        if row is None:
            return
        self._size -= len(row.data) + ROW_OVERHEAD_BYTES
        if row.slug is not None:
            self._slugs.pop((row.kind, row.slug, row.namespace), None)
