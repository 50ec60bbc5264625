"""A transaction: staged writes above a store, reads that see them first, one commit at the end.

`unit_of_work` opens one for each outermost call and a nested one for each call that joins it; steps read and write
through it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stigmer.access.principal import includes
from stigmer.store.changes import Append, Cascade, Put, Require
from stigmer.store.merged import Merged
from stigmer.store.rows import ABSENT, Record, owned
from stigmer.store.staging import ReadSet, Staging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from stigmer.access.principal import Owners
    from stigmer.secrets.audit import Event
    from stigmer.store.changes import Change, Dependent
    from stigmer.store.contract import Store
    from stigmer.store.rows import Key, Page, Query, Row, Window


class Transaction:
    """Reads and staged writes of one call.

    A read raises ConflictError where an earlier one gave something else: a commit came between.

    Args:
        store: where committed rows are read, and where the outermost transaction commits.
        parent: the transaction that this one joins; its staged writes are seen, and `merge` hands ours to it. Of those
            that join the same one, one is open at a time.

    Attributes:
        reads: what was read, shared with the transactions that join.
        ended: whether it has ended, so that nothing joins it any more.
        joining: held by the one that has joined it, to the end of that.
    """

    __slots__ = ("_parent", "_staged", "_store", "ended", "joining", "reads")

    def __init__(self, store: Store, parent: Transaction | None = None) -> None:
        self._store = store
        self._parent = parent
        self._staged: Staging | None = None
        self.reads: ReadSet = parent.reads if parent is not None else ReadSet()
        self.ended = False
        self.joining = asyncio.Lock()

    def __repr__(self) -> str:
        nested = "nested, " if self._parent is not None else ""
        return f"<Transaction {nested}{'ended' if self.ended else 'open'}, {len(self.staged.puts)} rows staged>"

    @property
    def is_nested(self) -> bool:
        """Whether it has joined another one."""
        return self._parent is not None

    @property
    def staged(self) -> Staging:
        """What it has staged, above what its parents have; made when it is first asked for."""
        if self._staged is None:
            self._staged = Staging(self._parent.staged if self._parent is not None else None)
        return self._staged

    @property
    def written(self) -> AbstractSet[Key]:
        """The rows and records that it writes."""
        return self._staged.written() if self._staged is not None else frozenset()

    async def get(self, kind: str, id_: str, owners: Owners | None = None) -> Row | None:
        """The row with that id, where one of the owners has it; None is everybody's."""
        if self._parent is not None or self._staged is not None:
            known, row = self.staged.row((kind, id_))
            if known:
                return owned(row, owners)
        return self.reads.note_found((kind, id_), await self._store.get(kind, id_, owners), owners)

    async def by_slug(self, kind: str, slug: str, namespace: str, owners: Owners | None = None) -> Row | None:
        """The row that holds the slug in the namespace; of the owners as `get`."""
        for staged in self.staged.rows(kind):
            if staged.slug == slug and staged.namespace == namespace:
                return owned(staged, owners)
        found = await self._store.by_slug(kind, slug, namespace, owners)
        row = self.reads.note_found((kind, slug, namespace), found, owners)
        return None if row is None or self.staged.has((kind, row.id)) else row

    async def by_slug_anywhere(self, kind: str, slug: str, owners: Owners | None = None, limit: int = 2) -> list[Row]:
        """At most `limit` rows of the owners that hold the slug, by namespace: the empty one comes first."""
        staged = [row for row in self.staged.rows(kind) if row.slug == slug and includes(owners, row.owner)]
        committed = await self._store.by_slug_anywhere(kind, slug, owners, limit + len(self.staged.keys(kind)))
        for row in committed:
            self.reads.note_row(row)
        found = [row for row in committed if not self.staged.has((row.kind, row.id))]
        return sorted((*staged, *found), key=lambda row: row.namespace)[:limit]

    async def page(self, query: Query, window: Window) -> Page:
        """The query's rows within the window; the more costly, where rows of the kinds concerned are staged."""
        if self.staged.keys(query.kind, query.through.kind if query.through else query.kind):
            return await Merged(self._store, self.staged, self.reads).page(query, window)
        page = await self._store.page(query, window)
        self.reads.check_rows(page.rows)
        return page

    async def newest(self, kind: str, field: str, value: str) -> Row | None:
        """The newest row of the kind that has the key."""
        if self.staged.keys(kind):
            return await Merged(self._store, self.staged, self.reads).newest(kind, field, value)
        row = await self._store.newest(kind, field, value)
        if row is not None:
            self.reads.note_row(row)
        return row

    async def record(self, table: str, key: str) -> Record | None:
        """The record under that key; one that is staged has no revision yet."""
        if self._parent is not None or self._staged is not None:
            known, value = self.staged.record((table, key))
            if known:
                return Record(table, key, value) if value is not None else None
        found = await self._store.record(table, key)
        self.reads.note(("record", table, key), found.revision if found is not None else ABSENT)
        return found

    async def records(self, table: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[Record]:
        """At most `limit` records whose keys begin with `prefix` and are greater than `after`, by rising key."""
        staged = {key for key in self.staged.record_keys(table) if key.startswith(prefix) and key > after}
        committed = await self._store.records(table, prefix, after, limit + len(staged))
        found = [one for one in committed if one.key not in staged]
        for key in staged:
            value = self.staged.record((table, key))[1]
            found += [Record(table, key, value)] if value is not None else []
        return sorted(found, key=lambda one: one.key)[:limit]

    def create(self, row: Row) -> None:
        """Stage a row that must not be there yet."""
        self.staged.create(row)

    def update(self, row: Row) -> None:
        """Stage new contents of a row that was read here; its `revision` must still stand at commit."""
        self.staged.puts[row.kind, row.id] = Put(row, row.revision)

    def delete(self, row: Row) -> None:
        """Stage the deletion of a row that was read here; its `revision` must still stand at commit."""
        self.staged.remove((row.kind, row.id), row.revision)

    async def delete_dependents(self, dependents: Iterable[Dependent], id_: str) -> None:
        """Stage the deletion of what goes with the row `id_`; looked up again at commit."""
        for dependent in dependents:
            self.staged.cascades.append(Cascade(dependent, id_))
            await self._delete_level(dependent, {id_})

    def discard(self, kind: str, id_: str) -> None:
        """Stage the deletion of a row, whatever its revision and whether or not it is there."""
        self.staged.remove((kind, id_), None)

    def require(self, kind: str, id_: str) -> None:
        """The row must be there when this transaction commits."""
        self.staged.require(Require(kind, id_))

    def require_unchanged(self, row: Row) -> None:
        """A row that was read here must be as it is when this transaction commits, but for its own writes."""
        self.staged.require(Require(row.kind, row.id, row.revision if row.revision != ABSENT else None))

    def put_record(self, table: str, key: str, value: bytes, expected: int | None = None) -> None:
        """Stage a record's value; the table need not be made.

        Args:
            table: which table.
            key: of the record.
            value: what it is to hold.
            expected: the revision that it must have at commit, ABSENT where it must not be there; None for any. Of a
                record that is staged already it says nothing.
        """
        self.require_record(table, key, expected)
        self.staged.records[table, key] = value

    def remove_record(self, table: str, key: str, expected: int | None = None) -> None:
        """Stage the deletion of a record, which need not be there unless it is expected; see `put_record`."""
        self.require_record(table, key, expected)
        self.staged.records[table, key] = None

    def require_record(self, table: str, key: str, expected: int | None) -> None:
        """The record must have that revision at commit, before this transaction's own writes; see `put_record`."""
        self.staged.expect((table, key), expected)

    def use(self, kind: str, id_: str, used_ms: int) -> None:
        """Stage that a row which expires was used; nothing else of it changes."""
        self.staged.uses[kind, id_] = used_ms

    def require_unused(self, kind: str, id_: str, since_ms: int) -> None:
        """The row must not have been used after that time when this transaction commits."""
        self.staged.unused[kind, id_] = since_ms

    def append(self, log: str, value: bytes) -> None:
        """Stage an entry of a log; it gets its number and its link at commit."""
        self.staged.appends.append(Append(log, value))

    def tell(self, event: Event) -> None:
        """Stage the audit's record of a resource with secrets: one for each resource, of what was done to it."""
        self.staged.tell(event)

    def deleting(self, event: Event) -> None:
        """What the audit shall tell of the resources that go with this transaction, but for which they are."""
        self.staged.deleting = event

    def after_commit(self, action: Callable[[], None]) -> None:
        """Run `action` once this run's writes are committed; never, where they are not."""
        self.staged.after_commit.append(action)

    def on_failure(self, action: Callable[[], Awaitable[None]]) -> None:
        """Run `action` where this run fails: it takes back what was made elsewhere."""
        self.staged.undo.append(action)

    def merge(self) -> bool:
        """End, and hand what was staged to the parent; False where there is none, or it has ended."""
        parent = self._parent
        if parent is None or parent.ended:
            return False
        self.end()
        if self._staged is not None:
            parent.staged.take(self._staged)
        return True

    def end(self) -> None:
        """End the transaction: later calls no longer join it."""
        self.ended = True

    def clear(self) -> None:
        """Drop what was staged."""
        self._staged = None

    def take_undo(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What takes back what was made elsewhere, in the order of the making; whoever asks has to see to it."""
        if self._staged is None:
            return ()
        made, self._staged.undo = self._staged.undo, []
        return made

    async def commit(self, *, dry_run: bool = False) -> Sequence[Change]:
        """End the outermost transaction and commit it, then run its after-commit actions.

        With `dry_run` it is only checked, and no action is run.

        Raises:
            ConflictError: nothing was written.
        """
        self.end()
        staged = self._staged
        if staged is None:
            return ()
        committed = await self._store.commit(staged.changes(), dry_run=dry_run) if staged else ()
        for action in () if dry_run else staged.after_commit:
            action()
        return committed

    @property
    def _merged(self) -> Merged:
        return Merged(self._store, self.staged, self.reads)

    async def _delete_level(self, dependent: Dependent, ids: AbstractSet[str]) -> None:
        """Stage the deletion of one level of dependents, then of the next: one read each, of ids alone."""
        kind = dependent.kind
        committed = await self._store.holders(kind, dependent.field, ids)
        gone = {id_ for id_ in committed if not self.staged.has((kind, id_))}
        for id_ in gone:
            self.discard(kind, id_)
        for row in self.staged.rows(kind):
            if any(field == dependent.field and value in ids for field, value in row.keys or ()):
                gone.add(row.id)
                self.staged.remove((kind, row.id), ABSENT if row.revision == ABSENT else None, dependent.records)
        for inner in dependent.dependents if gone else ():
            await self._delete_level(inner, gone)
