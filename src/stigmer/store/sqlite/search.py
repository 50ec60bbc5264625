"""Which rows a query has, read from the indexes alone: newest first, and no further than they are asked for.

`queries` makes pages of them. Of a query that names owners, each owner's rows are searched by themselves: what is not
theirs is no part of any walk that has to be long.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from stigmer.access.principal import SHARED
from stigmer.store.rows import Query
from stigmer.store.sqlite import statements as sql

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from stigmer.access.principal import Owner, Owners
    from stigmer.store.rows import Through
    from stigmer.store.sqlite.readers import Reader

SAMPLED = 32
"""So many conditions are counted in one statement: each takes Python's lock from the event loop a few times."""
FIRST_SAMPLE = 64
"""How many rows of each condition are counted at first, to find the rarest."""
OLDEST, NEWEST = 0, 1 << 62
"""Creation sequences before and beyond every row's."""


class Condition(NamedTuple):
    """What must hold of a row, and the index that tells of it.

    Attributes:
        along: the index, as SQL has it in FROM; its rows are called k.
        holds: the condition on k.
        also: the condition on a k of another index, by looking it up in this one; of a key empty: see `_also`.
        parameters: of either.
    """

    along: str
    holds: str
    also: str
    parameters: tuple[str, ...] = ()


Conditions: TypeAlias = tuple[Condition, ...]

_OF_KIND = Condition(sql.BY_KIND, "TRUE", "")
_SHARED = Condition(sql.SHARED_ROWS, sql.IS_SHARED, sql.ALSO_SHARED)


def _having(key: tuple[str, str]) -> Condition:
    return Condition(sql.BY_KEY, sql.HAS_KEY, "", key)


def _of(owner: Owner) -> Condition:
    return _SHARED if owner == SHARED else Condition(sql.BY_OWNER, sql.IS_OWNERS, sql.ALSO_OWNERS, (owner,))


class Found(Protocol):
    """The rows that a query has, as of the transaction that its connection is in."""

    def sequences(self, before: int) -> Iterator[int]:
        """The sequences of the rows before one, the greatest first."""
        ...

    def total(self) -> int:
        """How many rows there are in all."""
        ...


class Search:
    """The rows of one kind that meet all of some conditions.

    Args:
        connection: in a transaction.
        kind: the kind's name.
        conditions: one at least, that of the owner first.
    """

    def __init__(self, connection: Reader, kind: str, conditions: Conditions) -> None:
        self._connection, self._kind = connection, kind
        self._conditions = _rarest_first(connection, kind, conditions)

    def select(self, statement: str, *last: int) -> sqlite3.Cursor:
        """Run a statement over the rows; `last`: its last parameters, such as the sequence before which they are."""
        return _run(self._connection, statement, self._kind, self._conditions, *last)

    def sequences(self, before: int) -> Iterator[int]:
        return (sequence for (sequence,) in self.select(sql.SEQUENCES_BEFORE, before))

    def total(self) -> int:
        if self._conditions == (_OF_KIND,):
            found = self._connection.execute(sql.COUNT, (self._kind,)).fetchone()
        else:
            found = self.select(sql.COUNT_FOUND).fetchone()
        return int(found[0]) if found is not None else 0


class Join:
    """Everybody's rows that a query with a join has.

    Args:
        connection: in a transaction.
        query: which rows.
        through: its join.
        before: none from that sequence on is asked for.
    """

    def __init__(self, connection: Reader, query: Query, through: Through, before: int) -> None:
        self._connection, self._kind, self._through = connection, query.kind, through
        self._conditions = _all_of(query)
        self._branches = self._found(before)

    def sequences(self, before: int) -> Iterator[int]:
        heads = ((value, head) for value, (_, head) in self._branches.items() if head is not None)
        return heapq.merge(*(self._branch(value, head, before) for value, head in heads), reverse=True)

    def total(self) -> int:
        return sum(count for count, _ in self._branches.values())

    def _found(self, before: int) -> dict[str, tuple[int, int | None]]:
        """The values that the join's field holds: how many rows have each, and the newest of them before a sequence.

        Such a value is the id of a row that holds the join's key, or the join's own value.
        """
        through = self._through
        of_value = (self._kind, through.field, *_parameters(self._conditions))
        parameters = (*of_value, *of_value, before, through.kind, *through.key, through.value)
        found = self._connection.execute(sql.BRANCHES.format(also=_also(self._conditions)), parameters)
        return {value: (count, head) for value, count, head in found if count}

    def _branch(self, value: str, head: int, before: int) -> Iterator[int]:
        """The sequences under one value of the joined field; the index is not asked before the head has been taken."""
        if head < before:
            yield head
        conditions = (_having((self._through.field, value)), *self._conditions)
        found = _run(self._connection, sql.SEQUENCES_BEFORE, self._kind, conditions, min(head, before))
        yield from (sequence for (sequence,) in found)


class Union:
    """The rows of several searches, none of which finds what another one finds."""

    def __init__(self, searches: Sequence[Search]) -> None:
        self._searches = searches

    def sequences(self, before: int) -> Iterator[int]:
        return heapq.merge(*(search.sequences(before) for search in self._searches), reverse=True)

    def total(self) -> int:
        return sum(search.total() for search in self._searches)


def search(connection: Reader, query: Query, before: int = NEWEST) -> Found:
    """Where the query's rows are found; none after the sequence `before` is asked for."""
    if query.owners is None:
        if query.through is not None:
            return Join(connection, query, query.through, before)
        return Search(connection, query.kind, _all_of(query) or (_OF_KIND,))
    owners = [owner for owner in map(_of, query.owners) if _exists(connection, query.kind, owner)]
    joined = _joined(connection, query.through, query.owners) if query.through is not None and owners else [()]
    parts = ((owner, *value, *_all_of(query)) for owner in owners for value in joined)
    searches = [Search(connection, query.kind, conditions) for conditions in parts]
    return searches[0] if len(searches) == 1 else Union(searches)


def _all_of(query: Query) -> Conditions:
    return tuple(map(_having, query.keys))


def _joined(connection: Reader, through: Through, owners: Owners) -> list[Conditions]:
    """The values of the joined field, one of which a row must have: the join's own, and the ids of the owners' rows."""
    holders = search(connection, Query(through.kind, (through.key,), owners=owners))
    found = (connection.execute(sql.ID, (sequence,)).fetchone() for sequence in holders.sequences(NEWEST))
    values = dict.fromkeys((through.value, *(id_ for (id_,) in found)))
    return [(_having((through.field, value)),) for value in values]


def _rarest_first(connection: Reader, kind: str, conditions: Conditions) -> Conditions:
    """The conditions, the rarest first: they are counted only as far as it takes to tell it from the others.

    That costs a few times as many index entries a condition as the rarest has: no common one is counted through.
    """
    limit = FIRST_SAMPLE
    while len(conditions) > 1:
        counts = _counted(connection, kind, conditions, limit)
        rarest = min(counts, key=lambda one: counts[one])
        if counts[rarest] < limit:
            return (rarest, *(one for one in conditions if one != rarest))
        limit *= 8
    return conditions


def _counted(connection: Reader, kind: str, conditions: Conditions, limit: int) -> dict[Condition, int]:
    """How many rows meet each, up to the limit; ends where none meets one: with it, none meets all."""
    counts: dict[Condition, int] = {}
    for start in range(0, len(conditions), SAMPLED):
        some = conditions[start : start + SAMPLED]
        connection.check()
        samples = (f"({sql.SAMPLE.format(along=one.along, holds=one.holds, also='')})" for one in some)
        parameters = (part for one in some for part in (kind, *one.parameters, limit))
        found = connection.execute(f"SELECT {', '.join(samples)}", tuple(parameters)).fetchone()
        counts |= zip(some, found, strict=True)
        if not all(found):
            break
    return counts


def _exists(connection: Reader, kind: str, condition: Condition) -> bool:
    return bool(_run(connection, sql.SAMPLE, kind, (condition,), 1).fetchone()[0])


def _run(connection: Reader, statement: str, kind: str, conditions: Conditions, *last: int) -> sqlite3.Cursor:
    """Run a statement along the index of the first condition."""
    first, *others = conditions
    text = statement.format(along=first.along, holds=first.holds, also=_also(others))
    return connection.execute(text, (kind, *first.parameters, *_parameters(others), *last))


def _also(conditions: Iterable[Condition]) -> str:
    """The conditions that are looked up, the owner's first."""
    also = [one.also for one in conditions]
    keys = ", ".join("(?, ?)" for text in also if not text)
    return "".join(also) + (sql.ALSO_KEYS.format(wanted=keys) if keys else "")


def _parameters(conditions: Iterable[Condition]) -> Iterator[str]:
    return (parameter for one in conditions for parameter in one.parameters)
