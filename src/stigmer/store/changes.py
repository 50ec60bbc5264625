"""What a transaction asks a store to write, and what the change feed tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stigmer.store.rows import Key, Row


@dataclass(frozen=True, slots=True)
class Dependent:
    """Rows that go with a deleted row: those of `kind` whose `field` holds its id, and their own dependents.

    With each of them goes its record in each of the tables `records`, which has the row's id for a key.
    """

    kind: str
    field: str
    dependents: tuple[Dependent, ...] = ()
    records: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Put:
    """Write `row`; `expected` is the revision it must have, ABSENT where it must not be there.

    In place of a row that is there, the new one has its namespace, slug, `created_by`, owner and sequence.
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
    """The row must be there once the transaction's own writes are done; before them it has `revision`, unless None."""

    kind: str
    id: str
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Append:
    """Add an entry to a log; its number and link are those that follow at commit."""

    log: str
    value: bytes


@dataclass(frozen=True, slots=True)
class AppendForRemoved:
    """Add an entry to a log for each row with sealed values that goes, those that only the commit finds included.

    Attributes:
        log: which one.
        value: what the entry holds, made of the row, its data left out, and of the record that was sealed beside it,
            None where that is not there; called by the writer, so that it must be quick and cannot fail.
    """

    log: str
    value: Callable[[Row, bytes | None], bytes]


@dataclass(frozen=True, slots=True)
class Trim:
    """Drop the first entries of a log, all up to a number. At least one must stay, for the next one rests on it."""

    log: str
    through: int


@dataclass(frozen=True, slots=True)
class Changes:
    """One transaction's writes and checks, in the order in which a backend applies them: all or none of it.

    Revisions that `removes`, `requires` and `expects` name are those before any of it. Cascades come before the
    removals, so that they find the dependents of rows that are removed beside them.

    Attributes:
        expects: the revision that a record must have, by table and key; ABSENT where it must not be there.
        cascades: see Cascade.
        removes: see Remove.
        puts: see Put.
        requires: see Require.
        records: what a record is to hold, by table and key; None where it is to be gone, or is gone already.
        appends: see Append; in order.
        unused: the time in ms after which a row must not have been used, by kind and id, before any of it.
        uses: when rows that expire were used, in ms, by kind and id; a time before the noted one is left out, and so is
            a row that is not there. That is no change of the row: its revision stays, and the feed tells nothing.
        removed: see AppendForRemoved; these come after the others.
        trims: see Trim.
    """

    expects: Mapping[Key, int] = field(default_factory=dict["Key", int])
    cascades: Sequence[Cascade] = ()
    removes: Sequence[Remove] = ()
    puts: Sequence[Put] = ()
    requires: Sequence[Require] = ()
    records: Mapping[Key, bytes | None] = field(default_factory=dict["Key", "bytes | None"])
    appends: Sequence[Append] = ()
    unused: Mapping[Key, int] = field(default_factory=dict["Key", int])
    uses: Mapping[Key, int] = field(default_factory=dict["Key", int])
    removed: AppendForRemoved | None = None
    trims: Sequence[Trim] = ()

    @property
    def size_bytes(self) -> int:
        """How much it writes, keys left out."""
        values = sum(len(value) for value in self.records.values() if value is not None)
        return values + sum(len(put.row.data) for put in self.puts) + sum(len(one.value) for one in self.appends)


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change of a row, as the feed tells it: `row` is None where the row was deleted."""

    kind: str
    id: str
    revision: int
    row: Row | None = field(repr=False)
