"""What a store keeps and answers: rows, one for each resource; records and log entries beside them.

Records and logs are the plane's own data: leases, replies to repeated calls, sealed values, the audit. The change feed
does not tell of them, and no RPC answers them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from stigmer.access.principal import includes

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from stigmer.access.principal import Owner, Owners

ABSENT = 0
"""The revision of a row or record that is not there: a write that expects it creates it."""

Key: TypeAlias = tuple[str, str]
"""Kind and id of a row, or table and key of a record."""
Keys: TypeAlias = tuple[tuple[str, str], ...]
"""(field, value) pairs by which rows are found."""
SEALED = "sealed"
"""The table of the records that go with rows: the sealed values of each resource that has some."""


@dataclass(frozen=True, slots=True)
class Row:
    """One resource as the store keeps it.

    Attributes:
        kind: the kind's name, `Session`.
        id: unique within the kind.
        namespace: where the slug is unique; begins with PERSONAL where a single caller owns the row, and else not.
        slug: None where the kind's slugs are not unique: such rows are not found by slug.
        data: the encoded resource; the store never looks inside.
        keys: (field, value) pairs by which the row is found; given on writes and in the change feed, may be None where
            the row was read.
        created_by: the actor that created it.
        owner: whose it is; lists of some owners' rows find it by that, those of SHARED unless a caller owns it.
        revision: given at commit, grows over the whole store with every write; ABSENT before the first commit.
        sequence: the creation sequence, given once; newest first is by falling sequence.
        sealed: whether a record of SEALED belongs to it, under the `sealed_key`; it goes when the row does, or when a
            row that has none replaces it.
    """

    kind: str
    id: str
    namespace: str
    slug: str | None
    data: bytes
    keys: Keys | None = None
    created_by: str = ""
    owner: Owner = ""
    revision: int = ABSENT
    sequence: int = 0
    sealed: bool = False


def sealed_key(kind: str, id_: str) -> Key:
    """Table and key of the record that belongs to a row which is `sealed`."""
    return SEALED, f"{kind}/{id_}"


def owned(row: Row | None, owners: Owners | None) -> Row | None:
    """The row, where one of the owners has it; None is everybody's."""
    return row if row is not None and includes(owners, row.owner) else None


@dataclass(frozen=True, slots=True)
class Record:
    """A small value under a key, in a named table.

    Tables need not be made, and keys are in order: what shall be found by time or by owner begins its key with it.

    Attributes:
        table: which table, `leases`.
        key: unique within the table.
        value: the store never looks inside.
        revision: given at commit, of the same count as those of rows.
    """

    table: str
    key: str
    value: bytes
    revision: int = ABSENT


class Use(NamedTuple):
    """That a row which expires was used; they are in the order of time.

    Attributes:
        used_ms: when it was, by the store's clock.
        sequence: the row's.
        kind: the row's.
        id: the row's.
    """

    used_ms: int
    sequence: int
    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of a log that is only appended to.

    Attributes:
        log: the log's name.
        number: from 1, without a gap.
        value: the store never looks inside.
        link: what `chained` makes of this entry and the link before it: who changes an entry has to change all later
            links.
    """

    log: str
    number: int
    value: bytes
    link: bytes


def secret_of(root_key: bytes, name: str) -> bytes:
    """What `Store.secret` gives for a name in a database that has this random key."""
    return blake2b(name.encode(), key=root_key, digest_size=32).digest()


def chained(before: LogEntry | None, log: str, value: bytes) -> LogEntry:
    """The entry that follows `before`; the first one of the log where that is None.

    Its link is the SHA-256 of the link before it (none for the first), the log's name, the number and the value.
    """
    number, link = (before.number + 1, before.link) if before is not None else (1, b"")
    name = log.encode()
    head = b"".join((link, len(name).to_bytes(4, "big"), name, number.to_bytes(8, "big")))
    return LogEntry(log, number, value, sha256(head + value).digest())


@dataclass(frozen=True, slots=True)
class Through:
    """A join at read: rows whose `field` holds `value`, or holds the id of a `kind` row that is found by `key`.

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
        through: a join that must hold as well, the row that it goes through being of the same owners.
        owners: whose rows; distinct, SHARED beside owners that it does not include; None for everybody's.
        any_of: of each of these one pair must hold; no row has two of one of them.
        without: pairs of which none may hold.
    """

    kind: str
    keys: Keys = ()
    through: Through | None = None
    owners: Owners | None = None
    any_of: tuple[Keys, ...] = ()
    without: Keys = ()

    def holds(self, keys: Collection[tuple[str, str]]) -> bool:
        """Whether a row with these keys is one of them, as far as its keys tell; the join is left out."""
        has = set(keys)
        every = has.issuperset(self.keys) and not any(has.isdisjoint(some) for some in self.any_of)
        return every and has.isdisjoint(self.without)


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


class Selection:
    """The rows that a window takes, added one after another: as many as its limit and its budget have room for."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._size = 0
        self.rows: list[Row] = []

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return self._window.limit is not None and len(self.rows) >= self._window.limit

    def add(self, row: Row) -> bool:
        """Add a row; False where there is no room for it."""
        budget = self._window.budget_bytes
        self._size += len(row.data) + self._window.overhead_bytes
        if self.is_full or (self.rows and budget is not None and self._size > budget):
            return False
        self.rows.append(row)
        return True
