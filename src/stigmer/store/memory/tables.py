"""What a store in memory keeps, and the names that it finds rows by."""

from __future__ import annotations

import secrets
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from stigmer.access.principal import finding
from stigmer.store.rows import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stigmer.access.principal import Owners
    from stigmer.store.rows import Key, LogEntry, Record, Row

Name: TypeAlias = tuple[str, ...]


@dataclass
class Tables:
    """What a store keeps; one that is opened on the same tables again finds it all.

    Attributes:
        rows: by their sequence.
        names: the sequence of the row of a (kind, id) or (kind, slug, namespace).
        index: the sequences of the rows of a ("kind", kind), with a ("slug", kind, slug), with a ("key", kind, field,
            value); the first two once more for each owner that finds them.
        records: by table and key.
        logs: their entries, by the log's name.
        uses: when rows that expire were used last, in ms, by their sequences.
        by_use: the same as (ms, sequence), in order.
        revision: the last one that was given.
        sequence: the last one that was given.
        root_key: of the secrets that the store gives out.
    """

    rows: dict[int, Row] = field(default_factory=dict)
    names: dict[Name, int] = field(default_factory=dict)
    index: dict[Name, dict[int, bool]] = field(default_factory=dict)
    records: dict[Key, Record] = field(default_factory=dict)
    logs: dict[str, list[LogEntry]] = field(default_factory=dict)
    uses: dict[int, int] = field(default_factory=dict)
    by_use: list[tuple[int, int]] = field(default_factory=list)
    revision: int = ABSENT
    sequence: int = 0
    root_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def row(self, name: Name) -> Row | None:
        """The row with that name."""
        sequence = self.names.get(name)
        return self.rows[sequence] if sequence is not None else None

    def having(self, *name: str) -> Iterator[Row]:
        """The rows under a name of the index, the oldest first."""
        return (self.rows[sequence] for sequence in sorted(self.index.get(name, ())))

    def set_use(self, sequence: int, used_ms: int | None) -> int | None:
        """Note when a row was used, with None that it does not expire; gives what was noted."""
        before = self.uses.pop(sequence, None)
        if before is not None:
            del self.by_use[bisect_left(self.by_use, (before, sequence))]
        if used_ms is not None:
            self.uses[sequence] = used_ms
            insort(self.by_use, (used_ms, sequence))
        return before


def names_of(row: Row) -> list[Name]:
    """The names of which each is one row's alone."""
    return [(row.kind, row.id), *([(row.kind, row.slug, row.namespace)] if row.slug is not None else [])]


def indexed(row: Row | None) -> set[Name]:
    """The names of the index that a row has."""
    if row is None:
        return set()
    names = [("kind", row.kind), *([("slug", row.kind, row.slug)] if row.slug is not None else [])]
    owned = (name for owners in (None, finding(row.owner)) for each in names for name in owned_names(owners, *each))
    return {*owned, *(("key", row.kind, *key) for key in row.keys or ())}


def owned_names(owners: Owners | None, *name: str) -> Iterator[Name]:
    """The names of the index that each of the owners has its rows by; of None the one for all."""
    return iter([name]) if owners is None else ((*name, owner) for owner in owners)


def union(index: dict[Name, dict[int, bool]], names: Iterable[Name]) -> set[int]:
    """The sequences under any of the names."""
    return {sequence for name in names for sequence in index.get(name, ())}
