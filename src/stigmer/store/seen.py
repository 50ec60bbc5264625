"""What one transaction has read of the store, so that two of its reads never tell of different commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from stigmer.store.base import ABSENT, ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stigmer.store.base import Row

Name: TypeAlias = tuple[str, ...]
"""How a row is read: (kind, id), or (kind, slug, namespace)."""


class Seen:
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
        return f"<Seen {len(self._revisions)} names{', torn' if self.torn else ''}>"

    def check(self) -> None:
        """Raise ConflictError where two reads differed."""
        if self.torn is not None:
            raise ConflictError(self.torn)

    def nothing(self, name: Name) -> None:
        """There is no row of that name; raises ConflictError where there was one."""
        self._expect(name, ABSENT)

    def row(self, row: Row) -> None:
        """A row was read; raises ConflictError where one of its names had another revision, or no row."""
        for name in _names(row):
            self._expect(name, row.revision)

    def one(self, name: Name, row: Row | None) -> Row | None:
        """What a name gave, which is returned; raises ConflictError where it gave something else before."""
        if row is None:
            self.nothing(name)
        else:
            self.row(row)
        return row

    def rows(self, rows: Iterable[Row]) -> None:
        """Rows of a page: too many to be noted, but they must not differ from what is; raises as `row`."""
        for row in rows if self._revisions else ():
            for name in _names(row):
                if name in self._revisions:
                    self._expect(name, row.revision)

    def _expect(self, name: Name, revision: int) -> None:
        if self._revisions.setdefault(name, revision) != revision:
            self.torn = name
            raise ConflictError(name)


def _names(row: Row) -> Iterator[Name]:
    yield row.kind, row.id
    if row.slug is not None:
        yield row.kind, row.slug, row.namespace
