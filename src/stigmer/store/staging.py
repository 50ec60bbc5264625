"""What a transaction has read, and what it has staged, seen over what those have staged that it joined."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from stigmer.access.principal import SYSTEM, includes
from stigmer.secrets.audit import LOG, Event, Op
from stigmer.store.changes import Append, Changes, Put, Remove
from stigmer.store.errors import ConflictError
from stigmer.store.removals import removed_by
from stigmer.store.rows import ABSENT, sealed_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from stigmer.access.principal import Owners
    from stigmer.store.changes import Cascade, Require
    from stigmer.store.rows import Key, Row

Name: TypeAlias = tuple[str, ...]
"""How a row is read: (kind, id) or (kind, slug, namespace), and the owners whose it may be, where these are not all."""
UNCOMMITTED = 1 << 62
"""Creation sequences from here on are provisional: staged rows are newer than every committed one."""


class ReadSet:
    """The revision that each name had when the transaction read it; ABSENT where there was no row.

    A transaction shares it with those that join it.

    Attributes:
        torn: the name of which two reads differed: a commit came between, and the outermost call has to run again.
    """

    __slots__ = ("_lacking", "_revisions", "torn")

    def __init__(self) -> None:
        self._revisions: dict[Name, int] = {}
        self._lacking: dict[Name, Owners] = {}  # who had no row of that name
        self.torn: Name | None = None

    def __repr__(self) -> str:
        return f"<ReadSet of {len(self._revisions)} names{', torn' if self.torn else ''}>"

    def check(self) -> None:
        """Raise ConflictError where two reads differed."""
        if self.torn is not None:
            raise ConflictError(self.torn)

    def note(self, name: Name, revision: int) -> None:
        """A name was read; raises ConflictError where it had another revision before."""
        if self._revisions.setdefault(name, revision) != revision:
            self.torn = name
            raise ConflictError(name)

    def note_row(self, row: Row) -> None:
        """A row was read; raises ConflictError where one of its names had another revision, or no row."""
        self._note_of((row.kind, row.id), row)
        if row.slug is not None:
            self._note_of((row.kind, row.slug, row.namespace), row)

    def note_found(self, name: Name, row: Row | None, owners: Owners | None = None) -> Row | None:
        """What a name gave of these owners' rows, which is returned; raises ConflictError where that was another one.

        That they have none says nothing of others; a later read of all rows must not find one of theirs.
        """
        if owners is not None:
            self.note((*name, *owners), ABSENT if row is None else row.revision)
            if row is None:
                self._lacking.setdefault(name, owners)
        if row is not None:
            self.note_row(row)
        elif owners is None:
            self.note(name, ABSENT)
        return row

    def _note_of(self, name: Name, row: Row) -> None:
        if name in self._lacking and includes(self._lacking[name], row.owner):
            self.torn = name
            raise ConflictError(name)
        self.note(name, row.revision)

    def check_rows(self, rows: Iterable[Row]) -> None:
        """Rows of a page: too many to be noted, but they must not differ from what is; raises as `note`."""
        for row in rows if self._revisions else ():
            slug: Name = (row.kind, row.slug, row.namespace) if row.slug is not None else ()
            for name in ((row.kind, row.id), slug):
                if name in self._revisions:
                    self.note(name, row.revision)


@dataclass(slots=True)
class Staging:
    """The staged writes of one transaction; for most of its fields see `Changes`.

    Attributes:
        parent: the staging of the transaction that it joined.
        removes: the revision expected of each row to be deleted; None for any; ABSENT takes back a creation that is
            staged in a parent.
        events: what the audit tells of a resource with secrets, one record each.
        deleting: what it tells of those that go, but for which they are; None is that the server did it by itself.
        after_commit: to be run once it is committed.
        undo: what takes back what was made elsewhere, where the run fails; in the order of the making.
        sequence: the provisional one that was given last; counted in the outermost staging.
    """

    parent: Staging | None = None
    puts: dict[Key, Put] = field(default_factory=dict)
    removes: dict[Key, int | None] = field(default_factory=dict)
    cascades: list[Cascade] = field(default_factory=list)
    requires: dict[Key, Require] = field(default_factory=dict)
    expects: dict[Key, int] = field(default_factory=dict)
    records: dict[Key, bytes | None] = field(default_factory=dict)
    appends: list[Append] = field(default_factory=list)
    unused: dict[Key, int] = field(default_factory=dict)
    uses: dict[Key, int] = field(default_factory=dict)
    events: dict[Key, Event] = field(default_factory=dict)
    deleting: Event | None = None
    after_commit: list[Callable[[], None]] = field(default_factory=list)
    undo: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    sequence: int = UNCOMMITTED

    def __bool__(self) -> bool:
        """Whether there is anything for the store to do or to check."""
        rows = self.puts or self.removes or self.cascades or self.requires
        told = self.appends or self.events
        return bool(rows or self.expects or self.records or told or self.unused or self.uses)

    def create(self, row: Row) -> None:
        """Stage a row that must not be there yet."""
        *_, outermost = self._chain()
        outermost.sequence += 1
        self.puts[row.kind, row.id] = Put(replace(row, revision=ABSENT, sequence=outermost.sequence), ABSENT)

    def remove(self, key: Key, expected: int | None, tables: Iterable[str] = ()) -> None:
        """Take a row out of this staging, and of its parents, with its records; nothing here relies on it any more.

        The record of what it has sealed goes, and those in the `tables` that have its id for a key.
        """
        self.puts.pop(key, None)
        for record in (sealed_key(*key), *((table, key[1]) for table in tables)):
            if self.record(record)[0]:
                self.records[record] = None
        self.requires.pop(key, None)
        if expected == ABSENT:
            self.removes.setdefault(key, ABSENT)
        else:
            self.removes[key] = expected

    def require(self, wanted: Require) -> None:
        """A row must be there at commit; once a revision is wanted of it, that one stays wanted."""
        key = wanted.kind, wanted.id
        if key not in self.requires or wanted.revision is not None:
            self.requires[key] = wanted

    def expect(self, key: Key, revision: int | None) -> None:
        """A record must have that revision at commit; None, or one that is staged already, may have any."""
        if revision is not None and not self.record(key)[0]:
            self.expects.setdefault(key, revision)

    def tell(self, event: Event) -> None:
        """Tell the audit of a resource; of each it has one record."""
        key = event.kind, event.id
        before = self.events.get(key)
        self.events[key] = event if before is None else before.joined(event)

    def take(self, joined: Staging) -> None:
        """Take in what a transaction staged that joined."""
        for key, expected in joined.removes.items():
            self.remove(key, expected)
        self.puts.update(joined.puts)
        self.cascades.extend(joined.cascades)
        for wanted in joined.requires.values():
            self.require(wanted)
        self.expects = joined.expects | self.expects
        self.records.update(joined.records)
        self.appends.extend(joined.appends)
        self.unused.update(joined.unused)
        self.uses.update(joined.uses)
        for event in joined.events.values():
            self.tell(event)
        self.deleting = self.deleting or joined.deleting
        self.after_commit.extend(joined.after_commit)
        self.undo.extend(joined.undo)

    def changes(self) -> Changes:
        """What a store has to write."""
        removes = [Remove(*key, expected) for key, expected in self.removes.items() if expected != ABSENT]
        puts = [*self.puts.values()]
        requires = [one for key, one in self.requires.items() if one.revision is not None or key not in self.puts]
        told = [event for key, event in self.events.items() if self.removes.get(key) is None]
        appends = [*self.appends, *(Append(LOG, event.encoded()) for event in told)]
        goes = bool(removes or self.cascades)
        removed = removed_by(self.deleting or Event(Op.DELETE, SYSTEM), self._told_of) if goes else None
        return Changes(
            self.expects,
            self.cascades,
            removes,
            puts,
            requires,
            self.records,
            appends,
            removed=removed,
            unused=self.unused,
            uses=self.uses,
        )

    def _told_of(self, key: Key) -> Event | None:
        """What is told of a row that goes, and stands in no record of its own."""
        return self.events.get(key) if self.removes.get(key) is not None else None

    def row(self, key: Key) -> tuple[bool, Row | None]:
        """Whether the row is staged (here or in a parent), and as what; None is deleted."""
        for one in self._chain():
            put = one.puts.get(key)
            if put is not None:
                return True, put.row
            if key in one.removes:
                return True, None
        return False, None

    def has(self, key: Key) -> bool:
        """Whether the row is staged (here or in a parent), its deletion included."""
        return any(key in one.puts or key in one.removes for one in self._chain())

    def rows(self, kind: str) -> list[Row]:
        """The rows of a kind that are staged, those deleted left out."""
        keys = {key for one in self._chain() for key in one.puts if key[0] == kind}
        return [row for row in (self.row(key)[1] for key in keys) if row is not None]

    def keys(self, *kinds: str) -> set[Key]:
        """The staged rows of these kinds, those deleted as well."""
        return {key for one in self._chain() for keys in (one.puts, one.removes) for key in keys if key[0] in kinds}

    def record(self, key: Key) -> tuple[bool, bytes | None]:
        """Whether the record is staged (here or in a parent), and as what; None is deleted."""
        for one in self._chain():
            if key in one.records:
                return True, one.records[key]
        return False, None

    def record_keys(self, table: str) -> set[str]:
        """The keys of a table's staged records, those deleted as well."""
        return {key for one in self._chain() for name, key in one.records if name == table}

    def written(self) -> AbstractSet[Key]:
        """The rows and records that are written here."""
        return self.puts.keys() | self.removes.keys() | self.records.keys()

    def _chain(self) -> Iterator[Staging]:
        """This one, then its parents, to the outermost."""
        one: Staging | None = self
        while one is not None:
            yield one
            one = one.parent
