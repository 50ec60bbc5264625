"""Which rows a query has, read from the indexes alone: newest first, and no further than they are asked for.

`queries` makes pages of them. Of a query that names owners, each owner's rows are searched by themselves, in indexes
that have nobody else's beside them.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from itertools import chain, product
from typing import TYPE_CHECKING, NamedTuple, Protocol

from stigmer.access.principal import SHARED
from stigmer.store.errors import DamagedError
from stigmer.store.rows import Keys, Query
from stigmer.store.sqlite import statements as sql

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from stigmer.access.principal import Owner, Owners
    from stigmer.store.rows import Through
    from stigmer.store.sqlite.readers import Reader

SAMPLED = 32
"""So many keys are counted in one statement: each takes Python's lock from the event loop a few times."""
FIRST_SAMPLE = 64
"""How many rows of each key are counted at first, to find the rarest."""
MAX_BRANCHES = 128
"""How many searches are made, at most, of a query that takes any of some keys, unless a single choice has more."""
OLDEST, NEWEST = 0, 1 << 62
"""Creation sequences before and beyond every row's."""


class Realm(NamedTuple):
    """Whose rows are searched, and the indexes that have those alone, each as SQL has it in FROM and WHERE.

    Attributes:
        rows: of all rows.
        keys: of those with a key.
        parameters: of either.
    """

    rows: tuple[str, str]
    keys: tuple[str, str]
    parameters: tuple[str, ...] = ()


EVERYBODYS = Realm(sql.ROWS_OF_ALL, sql.KEYS_OF_ALL)
_SHARED = Realm(sql.ROWS_SHARED, sql.KEYS_SHARED)


def realm_of(owner: Owner) -> Realm:
    """What belongs to an owner; SHARED is what no single caller owns."""
    return _SHARED if owner == SHARED else Realm(sql.ROWS_OF_OWNER, sql.KEYS_OF_OWNER, (owner,))


def has(connection: Reader, kind: str, realm: Realm, sequence: int) -> bool:
    """Whether the row of that sequence is one of the kind in a realm; told by an index."""
    table, condition = realm.rows
    statement = sql.IS_OF.format(table=table, condition=condition)
    return connection.execute(statement, (kind, *realm.parameters, sequence)).fetchone() is not None


class Found(Protocol):
    """The rows that a query has, as of the transaction that its connection is in."""

    def sequences(self, before: int) -> Iterator[int]:
        """The sequences of the rows before one, the greatest first."""
        ...

    def total(self) -> int:
        """How many rows there are in all."""
        ...


class Search:
    """The rows in a realm that a query without a join has: along the rarest of its keys, the rest is looked up.

    Args:
        connection: in a transaction.
        query: which rows.
        realm: whose they are.
    """

    def __init__(self, connection: Reader, query: Query, realm: Realm = EVERYBODYS) -> None:
        connection.check()  # there may be many of them
        self._connection, self._realm = connection, realm
        self._query = replace(query, keys=_rarest_first(connection, query.kind, query.keys, realm))

    def select(self, statement: str, *last: int) -> sqlite3.Cursor:
        """Run a statement over the rows; `last`: its last parameters, such as the sequence before which they are."""
        return _run(self._connection, statement, self._query, self._realm, *last)

    def sequences(self, before: int) -> Iterator[int]:
        return (sequence for (sequence,) in self.select(sql.SEQUENCES_BEFORE, before))

    def total(self) -> int:
        self._connection.check()
        if self._query != Query(self._query.kind) or self._realm != EVERYBODYS:
            found = self.select(sql.COUNT_FOUND).fetchone()
        else:
            found = self._connection.execute(sql.COUNT, (self._query.kind,)).fetchone()
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
        self._connection, self._query, self._through = connection, replace(query, through=None), through
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
        also, more = _also(self._query)
        of_value = (self._query.kind, through.field, *more)
        parameters = (*of_value, *of_value, before, through.kind, *through.key, through.value)
        found = self._connection.execute(sql.BRANCHES.format(also=also), parameters)
        return {value: (count, head) for value, count, head in found if count}

    def _branch(self, value: str, head: int, before: int) -> Iterator[int]:
        """The sequences under one value of the joined field; the index is not asked before the head has been taken."""
        if head < before:
            yield head
        query = replace(self._query, keys=((self._through.field, value), *self._query.keys))
        found = _run(self._connection, sql.SEQUENCES_BEFORE, query, EVERYBODYS, min(head, before))
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
    owners, through, realms = query.owners, query.through, [EVERYBODYS]
    if owners is None and through is not None:
        return Join(connection, query, through, before)
    if owners is not None:
        realms = [realm for realm in map(realm_of, owners) if _is_inhabited(connection, query.kind, realm)]
    joined = _joined(connection, through, owners) if through is not None and owners is not None and realms else [()]
    parts = product(realms, joined, _branches(query))
    searches = [Search(connection, replace(one, keys=(*value, *one.keys)), realm) for realm, value, one in parts]
    return searches[0] if len(searches) == 1 else Union(searches)


def _branches(query: Query) -> list[Query]:
    """Queries without join and owners, each with one of the keys of which there is a choice: no row is of two.

    Where that makes too many of them, the largest choices are left to be looked up.
    """
    choices, left, number = list[Keys](), list[Keys](), 1
    for choice in sorted(query.any_of, key=len):
        number *= len(choice)
        (left if choices and number > MAX_BRANCHES else choices).append(choice)
    plain = Query(query.kind, query.keys, any_of=tuple(left), without=query.without)
    return [replace(plain, keys=(*plain.keys, *keys)) for keys in product(*choices)]


def _joined(connection: Reader, through: Through, owners: Owners) -> list[Keys]:
    """The values of the joined field, one of which a row must have: the join's own, and the ids of the owners' rows."""
    holders = search(connection, Query(through.kind, (through.key,), owners=owners))
    found = (connection.execute(sql.ID, (sequence,)).fetchone() for sequence in holders.sequences(NEWEST))
    values = dict.fromkeys((through.value, *(_id_of(row, through.kind) for row in found)))
    return [((through.field, value),) for value in values]


def _id_of(found: tuple[str] | None, kind: str) -> str:
    if found is None:
        raise DamagedError(kind, "", "its index leads to no row")
    return found[0]


def _is_inhabited(connection: Reader, kind: str, realm: Realm) -> bool:
    return bool(_run(connection, sql.SAMPLE, Query(kind), realm, 1).fetchone()[0])


def _rarest_first(connection: Reader, kind: str, keys: Keys, realm: Realm) -> Keys:
    """The keys, the rarest first: they are counted only as far as it takes to tell it from the others.

    That costs a few times as many index entries a key as the rarest has, so that no common key is counted through.
    """
    limit = FIRST_SAMPLE
    while len(keys) > 1:
        counts = _counted(connection, kind, keys, realm, limit)
        if min(counts.values()) < limit:
            return tuple(sorted(keys, key=lambda key: counts.get(key, limit)))
        limit *= 8
    return keys


def _counted(connection: Reader, kind: str, keys: Keys, realm: Realm, limit: int) -> dict[tuple[str, str], int]:
    """How many rows have each key, up to the limit; ends where none has one: with it, none has all."""
    counts: dict[tuple[str, str], int] = {}
    along, holds = realm.keys
    sample = f"({sql.SAMPLE.format(along=along, holds=holds, also='')})"
    for start in range(0, len(keys), SAMPLED):
        some = keys[start : start + SAMPLED]
        connection.check()
        parameters = (part for key in some for part in (kind, *realm.parameters, *key, limit))
        found = connection.execute(f"SELECT {', '.join([sample] * len(some))}", tuple(parameters)).fetchone()
        counts |= zip(some, found, strict=True)
        if not all(found):
            break
    return counts


def _run(connection: Reader, statement: str, query: Query, realm: Realm, *last: int) -> sqlite3.Cursor:
    """Run a statement along the realm's index of the query's first key, or of all rows where it has none."""
    first, rest = query.keys[:1], replace(query, keys=query.keys[1:])
    along, holds = realm.keys if first else realm.rows
    also, more = _also(rest)
    parameters = (query.kind, *realm.parameters, *chain.from_iterable(first), *more, *last)
    return connection.execute(statement.format(along=along, holds=holds, also=also), parameters)


def _also(query: Query) -> tuple[str, list[str]]:
    """What is looked up of a row: the conditions that a query makes of keys, and their parameters."""
    conditions = (
        (sql.ALSO_KEYS, query.keys),
        *((sql.ANY_KEY, some) for some in query.any_of),
        (sql.NO_KEY, query.without),
    )
    asked = [(condition, keys) for condition, keys in conditions if keys]
    text = "".join(condition.format(wanted=", ".join(["(?, ?)"] * len(keys))) for condition, keys in asked)
    return text, [part for _, keys in asked for key in keys for part in key]
