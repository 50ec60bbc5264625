"""The store's contract: what a backend keeps, answers and promises.

`transaction.Transaction` stages writes above a backend; `sqlite.SqliteStore` is the one that ships. A backend has its
own errors; `pipeline` turns them into what callers see. Every backend must pass `tests/store/`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stigmer.store.feed import ChangeFeed

ABSENT = 0
"""The revision of a row that is not there: a write that expects it creates the row."""


class StoreError(Exception):
    """What a store says went wrong."""


class ConflictError(StoreError):
    """A precondition of a commit failed; nothing of that transaction was written.

    Attributes:
        key: what was contended for, a hashable that equal conflicts share. Losers wait their turn on it.
    """

    def __init__(self, key: tuple[str, ...]) -> None:
        super().__init__(f"changed by another transaction: {'/'.join(key)}")
        self.key = key


class StoreUnavailableError(StoreError):
    """The store cannot answer now (closed, disk full, I/O error); a later try may pass."""


class DamagedError(StoreError):
    """What is stored is not what was written: the disk, or another program, changed it. No later try will pass.

    Attributes:
        kind: of the row that cannot be read.
        id: of that row; empty where the damage hides which one it is.
    """

    def __init__(self, kind: str, id_: str, reason: str) -> None:
        super().__init__(f"{kind or 'a row'} {id_ or '(unknown)'} is damaged in the database file: {reason}")
        self.kind, self.id = kind, id_


@dataclass(frozen=True, slots=True)
class Row:
    """One resource as the store keeps it.

    Attributes:
        kind: the kind's name, `Session`.
        id: unique within the kind.
        namespace: where the slug is unique.
        slug: None where the kind's slugs are not unique: such rows are not reached by slug.
        data: the encoded resource; the store never looks inside.
        keys: (field, value) pairs by which the row is reached; given on writes and in the change feed, None where the
            row was read back.
        created_by: the actor that created it.
        revision: given at commit, grows over the whole store with every write; ABSENT before the first commit.
        sequence: the creation sequence, given once; newest first is by falling sequence.
    """

    kind: str
    id: str
    namespace: str
    slug: str | None
    data: bytes
    keys: tuple[tuple[str, str], ...] | None = None
    created_by: str = ""
    revision: int = ABSENT
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Through:
    """A join at read: rows whose `field` holds `value`, or holds the id of a `kind` row that is reached by `key`.

    The field has one value at most in a row.
    """

    field: str
    value: str
    kind: str
    key: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows of a kind, newest first.

    Attributes:
        kind: the kind's name.
        keys: (field, value) pairs that all must hold.
        through: a join that must hold as well.
    """

    kind: str
    keys: tuple[tuple[str, str], ...] = ()
    through: Through | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a query's rows, newest first.

    Attributes:
        rows: at most the wanted number, fewer where the byte budget was used up.
        more: whether older rows match.
        total: how many rows match in all.
    """

    rows: Sequence[Row]
    more: bool
    total: int


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a query's rows.

    Attributes:
        limit: at most so many rows; None for all.
        before: only rows with a smaller creation sequence.
        skip: leave out so many first.
        budget_bytes: stop before the rows grow beyond it (one row always fits).
        overhead_bytes: counts for each row, beside its data.
    """

    limit: int | None
    before: int | None = None
    skip: int = 0
    budget_bytes: int | None = None
    overhead_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Dependent:
    """Rows that go with a deleted row: those of `kind` whose `field` holds its id, and their own dependents."""

    kind: str
    field: str
    dependents: tuple[Dependent, ...] = ()


@dataclass(frozen=True, slots=True)
class Put:
    """Write `row`; `expected` is the revision it must have, ABSENT where it must not be there.

    In place of a row that is there, the new one has its namespace, slug, `created_by` and sequence.
    """

    row: Row
    expected: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a row; with `expected` None whatever its revision, and no matter whether it is there."""

    kind: str
    id: str
    expected: int | None


@dataclass(frozen=True, slots=True)
class Cascade:
    """Delete the dependents of `id`, looked up at commit; those that the same transaction puts with a revision stay.

    A dependent that the same transaction removes takes its own dependents with it.
    """

    dependent: Dependent
    id: str


@dataclass(frozen=True, slots=True)
class Require:
    """The row must be there once the transaction's own writes are done."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Changes:
    """One transaction's writes and checks, in the order in which a backend applies them: all or none of it.

    Revisions that `removes` expect are those before any of it. Cascades come first, so that they find the dependents of
    rows that are removed beside them.
    """

    cascades: Sequence[Cascade] = ()
    removes: Sequence[Remove] = ()
    puts: Sequence[Put] = ()
    requires: Sequence[Require] = ()

    def __bool__(self) -> bool:
        return bool(self.removes or self.cascades or self.puts or self.requires)


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change, as the feed tells it: `row` is None where the row was deleted."""

    kind: str
    id: str
    revision: int
    row: Row | None = field(repr=False)


class Store(Protocol):
    """What every backend offers. All methods may be called from many tasks at once, on one event loop.

    Reads see the last commit. Every method raises StoreUnavailableError where the store cannot answer, and DamagedError
    where what it would answer with is not what was written.
    """

    @property
    def feed(self) -> ChangeFeed:
        """Committed changes in commit order; a commit is acknowledged after it was published here.

        It is shut before the store closes, so that no subscription waits for what cannot come.
        """
        ...

    def secret(self, name: str) -> bytes:
        """32 bytes that belong to the name in this database alone: random, the same for its whole life, told nobody.

        Only while the store is open.
        """
        ...

    async def get(self, kind: str, id_: str) -> Row | None:
        """The row with that id."""
        ...

    async def by_slug(self, kind: str, slug: str, namespace: str) -> Row | None:
        """The row that holds the slug in the namespace."""
        ...

    async def by_slug_anywhere(self, kind: str, slug: str, limit: int = 2) -> Sequence[Row]:
        """At most `limit` rows that hold the slug, of any namespace; the one in the empty namespace comes first."""
        ...

    async def page(self, query: Query, window: Window) -> Page:
        """The query's rows within the window, read as of one commit."""
        ...

    async def newest(self, kind: str, field: str, value: str) -> Row | None:
        """The newest row of the kind whose `field` holds the value; it does not wait for pages that are read."""
        ...

    async def holders(self, kind: str, field: str, values: Iterable[str]) -> Sequence[str]:
        """The ids of the kind's rows whose `field` holds one of the values, each once, read as of one commit."""
        ...

    async def commit(self, changes: Changes) -> Sequence[Change]:
        """Write all of it durably, or nothing.

        Cancelled before the hand-over to the writer, nothing is written; cancelled later, all or nothing is.

        Returns:
            the changes in the order of the feed, cascaded ones included.

        Raises:
            ConflictError: a row's revision, a unique key or a required row is not as expected.
        """
        ...

    async def probe(self) -> None:
        """Answer, or raise StoreUnavailableError: for health checks."""
        ...
