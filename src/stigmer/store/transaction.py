"""A transaction: staged writes above a store, reads that see them first, one commit at the end.

`unit_of_work` opens one for each outermost call and a nested one for each call that joins it; steps read and write
through it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from stigmer.store.base import (
    ABSENT,
    Cascade,
    Change,
    Dependent,
    Page,
    Put,
    Query,
    Require,
    Row,
    Store,
    Window,
)
from stigmer.store.layer import LEFT_OUT, PIECE, Key, Layer, Taken, newest_first
from stigmer.store.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

UNCOMMITTED = 1 << 62
"""Creation sequences from here on are provisional: staged rows are newer than every committed one."""


class Transaction:
    """Reads and staged writes of one call.

    A read raises ConflictError where an earlier one gave something else: a commit came between.

    Args:
        store: where committed rows are read, and where the outermost transaction commits.
        parent: the transaction that this one joins; its staged writes are seen, and `merge` hands ours to it. Of those
            that join the same one, one is open at a time.

    Attributes:
        joining: held by the one that has joined it, to the end of that.
        reads: what was read, shared with those that join.
        sealed: whether it has ended, so that nothing joins it any more.
    """

    __slots__ = ("_layers", "_parent", "_provisional", "_store", "joining", "reads", "sealed")

    def __init__(self, store: Store, parent: Transaction | None = None) -> None:
        self._store = store
        self._parent = parent
        self._layers: list[Layer] = []
        self.reads: Seen = parent.reads if parent is not None else Seen()
        self._provisional = UNCOMMITTED
        self.sealed = False
        self.joining = asyncio.Lock()

    def __repr__(self) -> str:
        state = "sealed" if self.sealed else "open"
        nested = "nested, " if self._parent is not None else ""
        return f"<Transaction {nested}{state}, {sum(len(layer.puts) for layer in self._layers)} rows staged>"

    async def get(self, kind: str, id_: str) -> Row | None:
        """The row with that id."""
        known, row = self._staged((kind, id_))
        return row if known else self.reads.one((kind, id_), await self._store.get(kind, id_))

    async def by_slug(self, kind: str, slug: str, namespace: str) -> Row | None:
        """The row that holds the slug in the namespace."""
        for row in self._staged_rows(kind):
            if row.slug == slug and row.namespace == namespace:
                return row
        found = self.reads.one((kind, slug, namespace), await self._store.by_slug(kind, slug, namespace))
        return self._unless_staged(found)

    async def by_slug_anywhere(self, kind: str, slug: str) -> list[Row]:
        """At most two rows that hold the slug; the one in the empty namespace comes first."""
        staged = [row for row in self._staged_rows(kind) if row.slug == slug]
        hidden = sum(key[0] == kind for key in self._staged_keys())
        committed = await self._store.by_slug_anywhere(kind, slug, 2 + hidden)
        for row in committed:
            self.reads.row(row)
        found = [row for row in committed if self._unless_staged(row)]
        return sorted((*staged, *found), key=lambda row: row.namespace)[:2]

    async def page(self, query: Query, window: Window) -> Page:
        """The query's rows within the window.

        Where rows of the kinds concerned are staged, all matches are looked at, without their data.
        """
        kinds = {query.kind, query.through.kind} if query.through else {query.kind}
        if not any(key[0] in kinds for key in self._staged_keys()):
            return await self._page(query, window)
        matches = await self._matches(query)
        older = [row for row in matches if window.before is None or row.sequence < window.before][window.skip :]
        taken = Taken(window)
        for match in older[: window.limit]:
            if not taken.take(await self._whole(match)):
                break
        return Page(taken.rows, more=len(taken.rows) < len(older), total=len(matches))

    async def newest(self, kind: str, field_: str, value: str) -> Row | None:
        """The newest row of the kind that has the key."""
        if any(key[0] == kind for key in self._staged_keys()):
            matches = await self._matches(Query(kind, ((field_, value),)))
            return await self._whole(matches[0]) if matches else None
        row = await self._store.newest(kind, field_, value)
        if row is not None:
            self.reads.row(row)
        return row

    def create(self, row: Row) -> None:
        """Stage a row that must not be there yet."""
        staged = replace(row, revision=ABSENT, sequence=self._next_provisional())
        self._own().puts[row.kind, row.id] = Put(staged, ABSENT)

    def update(self, row: Row) -> None:
        """Stage new contents of a row that was read here; its `revision` must still stand at commit."""
        self._own().puts[row.kind, row.id] = Put(row, row.revision)

    def delete(self, row: Row) -> None:
        """Stage the deletion of a row that was read here; its `revision` must still stand at commit."""
        self._own().remove((row.kind, row.id), row.revision)

    async def delete_dependents(self, dependents: Iterable[Dependent], id_: str) -> None:
        """Stage the deletion of what goes with the row `id_`; looked up again at commit."""
        for dependent in dependents:
            self._own().cascades.append(Cascade(dependent, id_))
            await self._forget(dependent, {id_})

    def discard(self, kind: str, id_: str) -> None:
        """Stage the deletion of a row, whatever its revision and whether or not it is there."""
        self._own().remove((kind, id_), None)

    def require(self, kind: str, id_: str) -> None:
        """The row must be there when this transaction commits."""
        self._own().requires[kind, id_] = Require(kind, id_)

    def after_commit(self, action: Callable[[], None]) -> None:
        """Run `action` once this run's writes are committed; never, where they are not."""
        self._own().after_commit.append(action)

    def on_failure(self, action: Callable[[], Awaitable[None]]) -> None:
        """Run `action` where this run fails: it takes back what was made elsewhere."""
        self._own().undo.append(action)

    def merge(self) -> bool:
        """End, and hand what was staged to the parent; False where there is none, or it has ended."""
        parent = self._parent
        if parent is None or parent.sealed:
            return False
        parent._own().lay(self.seal())  # noqa: SLF001 - the same class
        return True

    def seal(self) -> Layer:
        """End the transaction: later calls no longer join it. Gives what it has staged."""
        self.sealed = True
        return self._own()

    def clear(self) -> None:
        """Drop what was staged."""
        self._layers.clear()

    def take_undo(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What takes back what was made elsewhere, in the order of the making; whoever asks has to see to it."""
        layer = self._own()
        made, layer.undo = layer.undo, []
        return made

    async def commit(self) -> Sequence[Change]:
        """End the outermost transaction and commit it, then run its after-commit actions.

        Raises:
            ConflictError: nothing was written.
        """
        layer = self.seal()
        changes = layer.changes()
        committed = await self._store.commit(changes) if changes else ()
        for action in layer.after_commit:
            action()
        return committed

    def _own(self) -> Layer:
        if not self._layers:
            self._layers.append(Layer())
        return self._layers[-1]

    def _next_provisional(self) -> int:
        if self._parent is not None:
            return self._parent._next_provisional()  # noqa: SLF001 - the same class
        self._provisional += 1
        return self._provisional

    def _staged(self, key: Key) -> tuple[bool, Row | None]:
        """Whether the row is staged (here or in a parent), and as what; None is deleted."""
        for layer in reversed(self._layers):
            put = layer.puts.get(key)
            if put is not None:
                return True, put.row
            if key in layer.removes:
                return True, None
        return self._parent._staged(key) if self._parent is not None else (False, None)  # noqa: SLF001 - as above

    def _staged_keys(self) -> set[Key]:
        keys: set[Key] = self._parent._staged_keys() if self._parent is not None else set()  # noqa: SLF001 - as above
        for layer in self._layers:
            keys.update(layer.puts, layer.removes)
        return keys

    def _staged_puts(self, kind: str) -> set[Key]:
        keys: set[Key] = self._parent._staged_puts(kind) if self._parent is not None else set()  # noqa: SLF001 - as above
        for layer in self._layers:
            keys.update(key for key in layer.puts if key[0] == kind)
        return keys

    def _staged_rows(self, kind: str) -> list[Row]:
        return [row for row in (self._staged(key)[1] for key in self._staged_puts(kind)) if row is not None]

    def _unless_staged(self, row: Row | None) -> Row | None:
        return None if row is None or self._staged((row.kind, row.id))[0] else row

    async def _page(self, query: Query, window: Window) -> Page:
        page = await self._store.page(query, window)
        self.reads.rows(page.rows)
        return page

    async def _matches(self, query: Query) -> list[Row]:
        """Every row that matches, staged ones first seen, newest first; committed ones without their data."""
        through = query.through
        if through is not None:
            holders = await self._matches(Query(through.kind, (through.key,)))
            values = {through.value, *(holder.id for holder in holders)}
            parts = [await self._matches(Query(query.kind, (*query.keys, (through.field, v)))) for v in values]
            return sorted((row for part in parts for row in part), key=newest_first)
        wanted = set(query.keys)
        found = [row for row in self._staged_rows(query.kind) if wanted <= set(row.keys or ())]
        piece: Window | None = PIECE
        while piece is not None:
            page = await self._page(query, piece)
            found += [replace(row, data=LEFT_OUT) for row in page.rows if self._unless_staged(row)]
            piece = replace(PIECE, before=page.rows[-1].sequence) if page.more else None
        return sorted(found, key=newest_first)

    async def _whole(self, match: Row) -> Row:
        """A match with its data; raises ConflictError where it was changed since it was found."""
        if match.data is not LEFT_OUT:
            return match
        self.reads.row(match)
        row = await self._store.get(match.kind, match.id)
        return self.reads.one((match.kind, match.id), row) or match  # None would have been a conflict

    async def _forget(self, dependent: Dependent, ids: AbstractSet[str]) -> None:
        """Stage the deletion of one level of dependents, then of the next: one read each, of ids alone."""
        kind = dependent.kind
        committed = await self._store.holders(kind, dependent.field, ids)
        gone = {id_ for id_ in committed if not self._staged((kind, id_))[0]}
        for id_ in gone:
            self.discard(kind, id_)
        for row in self._staged_rows(kind):
            if any(field == dependent.field and value in ids for field, value in row.keys or ()):
                gone.add(row.id)
                self._own().remove((kind, row.id), ABSENT if row.revision == ABSENT else None)
        for inner in dependent.dependents if gone else ():
            await self._forget(inner, gone)
