"""A store as a plain dict: what the stateful test holds the real one against."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stigmer.access.principal import Owners
    from stigmer.store.changes import Dependent
    from stigmer.store.rows import Query, Window

Key: TypeAlias = tuple[str, str]
Pair: TypeAlias = tuple[str, str]


class ModelConflictError(Exception):
    """The store must refuse this commit."""


@dataclass(frozen=True)
class ModelRow:
    """A row; `version` is another one after every write, `place` grows with every creation."""

    kind: str
    id: str
    namespace: str
    slug: str | None
    data: bytes
    keys: frozenset[Pair]
    owner: str
    version: int
    place: int


@dataclass
class Model:
    """All rows, and the last version and place given."""

    rows: dict[Key, ModelRow] = field(default_factory=dict)
    clock: int = 0

    def copy(self) -> Model:
        return Model(dict(self.rows), self.clock)

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    # Writes.

    def create(self, row: ModelRow) -> None:
        """Raises ModelConflictError where the id or the slug is taken."""
        holder = row.slug is not None and self.by_slug(row.kind, row.slug, row.namespace)
        if (row.kind, row.id) in self.rows or holder:
            raise ModelConflictError
        self.rows[row.kind, row.id] = replace(row, version=self.tick(), place=self.tick())

    def update(self, row: ModelRow, data: bytes, keys: frozenset[Pair]) -> None:
        """Raises ModelConflictError where it is another row by now."""
        self._unchanged(row)
        self.rows[row.kind, row.id] = replace(row, data=data, keys=keys, version=self.tick())

    def delete(self, row: ModelRow) -> None:
        """Raises ModelConflictError where it is another row by now."""
        self._unchanged(row)
        del self.rows[row.kind, row.id]

    def discard(self, kind: str, id_: str) -> None:
        self.rows.pop((kind, id_), None)

    def delete_dependents(self, dependent: Dependent, id_: str) -> None:
        for row in [row for row in self.rows.values() if row.kind == dependent.kind]:
            if (dependent.field, id_) in row.keys:
                self.discard(row.kind, row.id)
                for inner in dependent.dependents:
                    self.delete_dependents(inner, row.id)

    def require(self, kind: str, id_: str) -> None:
        """Raises ModelConflictError where it is not there."""
        if (kind, id_) not in self.rows:
            raise ModelConflictError

    def _unchanged(self, row: ModelRow) -> None:
        there = self.rows.get((row.kind, row.id))
        if there is None or there.version != row.version:
            raise ModelConflictError

    # Reads.

    def by_slug(self, kind: str, slug: str, namespace: str) -> ModelRow | None:
        return next((row for row in self._of(kind) if (row.slug, row.namespace) == (slug, namespace)), None)

    def by_slug_anywhere(self, kind: str, slug: str, owners: Owners | None) -> list[ModelRow]:
        rows = [row for row in self._of(kind) if row.slug == slug and seen(row, owners)]
        return sorted(rows, key=lambda row: row.namespace)[:2]

    def page(self, query: Query, window: Window, before: ModelRow | None) -> tuple[list[ModelRow], bool, int]:
        """Rows, more, total; `before` is the row whose sequence the window names."""
        matches = sorted((row for row in self._of(query.kind) if self._has(row, query)), key=lambda row: -row.place)
        older = [row for row in matches if before is None or row.place < before.place][window.skip :]
        taken = older[: window.limit]
        if window.budget_bytes is not None:
            counted = [len(row.data) + window.overhead_bytes for row in taken]
            sizes = [sum(counted[: number + 1]) for number in range(len(taken))]
            taken = [
                row for row, size in zip(taken, sizes, strict=True) if row is taken[0] or size <= window.budget_bytes
            ]
        return taken, len(taken) < len(older), len(matches)

    def _has(self, row: ModelRow, query: Query) -> bool:
        through = query.through
        if through is not None:
            values = {value for name, value in row.keys if name == through.field}
            parents = [parent for parent in self._of(through.kind) if seen(parent, query.owners)]
            holders = {parent.id for parent in parents if through.key in parent.keys}
            if not values & {through.value, *holders}:
                return False
        chosen = all(row.keys & set(some) for some in query.any_of)
        return row.keys >= set(query.keys) and chosen and not row.keys & set(query.without) and seen(row, query.owners)

    def _of(self, kind: str) -> Iterator[ModelRow]:
        return (row for row in self.rows.values() if row.kind == kind)


def seen(row: ModelRow, owners: Owners | None) -> bool:
    """Whether the row is one of the owners'."""
    personal = row.owner.startswith("identity_account:")
    return owners is None or row.owner in owners or ("shared" in owners and not personal)


def ids_of(rows: Sequence[ModelRow]) -> list[str]:
    return [row.id for row in rows]
