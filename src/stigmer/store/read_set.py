"""The read set of a transaction: what it has read, so that two of its reads never tell of different commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from stigmer.store.errors import ConflictError
from stigmer.store.rows import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stigmer.store.rows import Row

Name: TypeAlias = tuple[str, ...]
"""How a row is read: (kind, id), or (kind, slug, namespace)."""


class ReadSet:
    """The revision that each name had when the transaction read it; ABSENT where there was no row.

    A transaction shares it with those that join it.

    Attributes:
        torn: the name of which two reads differed: a commit came between, and the outermost call has to run again.
    """

    __slots__ = ("_revisions", "torn")

    def __init__(self) -> None:
        self._revisions: dict[Name, int] = {}
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
        for name in _names(row):
            self.note(name, row.revision)

    def note_found(self, name: Name, row: Row | None) -> Row | None:
        """What a name gave, which is returned; raises ConflictError where it gave something else before."""
        if row is None:
            self.note(name, ABSENT)
        else:
            self.note_row(row)
        return row

    def check_rows(self, rows: Iterable[Row]) -> None:
        """Rows of a page: too many to be noted, but they must not differ from what is; raises as `note`."""
        for row in rows if self._revisions else ():
            for name in _names(row):
                if name in self._revisions:
                    self.note(name, row.revision)


def _names(row: Row) -> Iterator[Name]:
    yield row.kind, row.id
    if row.slug is not None:
        yield row.kind, row.slug, row.namespace
