"""Lists of what is committed and what a transaction has staged, together; `transaction` asks where something is staged.

A staged row may match where the committed one does not, and the other way round, and stands where its number puts it:
all matches are looked at, those that are committed without their data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from stigmer.access.principal import includes
from stigmer.store.rows import Page, Query, Selection, Window

if TYPE_CHECKING:
    from stigmer.store.contract import Store
    from stigmer.store.rows import Row
    from stigmer.store.staging import ReadSet, Staging

PIECE = Window(1000, budget_bytes=3 * 2**20)
"""How much of the committed rows is looked at in one go."""
LEFT_OUT = bytes(bytearray(8))
"""In place of a committed row's data; known by what it is, not by what is in it."""


class Merged:
    """Searches both.

    Args:
        store: of the committed rows.
        staged: those of the transaction.
        reads: where it is noted what was read; each search raises ConflictError where an earlier read gave another row.
    """

    __slots__ = ("_reads", "_staged", "_store")

    def __init__(self, store: Store, staged: Staging, reads: ReadSet) -> None:
        self._store, self._staged, self._reads = store, staged, reads

    async def page(self, query: Query, window: Window) -> Page:
        """The query's rows within the window."""
        matches = await self._matches(query)
        older = [row for row in matches if window.before is None or row.sequence < window.before][window.skip :]
        selection = Selection(window)
        for match in older:
            if selection.is_full or not selection.add(await self._whole(match)):
                break
        return Page(selection.rows, more=len(selection.rows) < len(older), total=len(matches))

    async def newest(self, kind: str, field: str, value: str) -> Row | None:
        """The newest row of the kind that has the key."""
        matches = await self._matches(Query(kind, ((field, value),)))
        return await self._whole(matches[0]) if matches else None

    async def _matches(self, query: Query) -> list[Row]:
        """Every row that matches, staged ones first seen, newest first; committed ones without their data."""
        through = query.through
        if through is not None:
            holders = await self._matches(Query(through.kind, (through.key,), owners=query.owners))
            values = {through.value, *(holder.id for holder in holders)}
            keys = [(*query.keys, (through.field, value)) for value in values]
            parts = [await self._matches(replace(query, keys=each, through=None)) for each in keys]
            return sorted((row for part in parts for row in part), key=_newest_first)
        staged = (row for row in self._staged.rows(query.kind) if includes(query.owners, row.owner))
        found = [row for row in staged if query.holds(row.keys or ())]
        piece: Window | None = PIECE
        while piece is not None:
            page = await self._store.page(query, piece)
            self._reads.check_rows(page.rows)
            found += [replace(row, data=LEFT_OUT) for row in page.rows if not self._staged.has((row.kind, row.id))]
            piece = replace(PIECE, before=page.rows[-1].sequence) if page.more else None
        return sorted(found, key=_newest_first)

    async def _whole(self, match: Row) -> Row:
        """A match with its data; raises ConflictError where it was changed since it was found."""
        if match.data is not LEFT_OUT:
            return match
        self._reads.note_row(match)
        row = await self._store.get(match.kind, match.id)
        return self._reads.note_found((match.kind, match.id), row) or match  # None would have been a conflict


def _newest_first(row: Row) -> int:
    return -row.sequence
