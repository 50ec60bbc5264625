"""Rows of no real kind, and short ways to write and read them: for the tests of the store."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import pytest

from stigmer.store.changes import Cascade, Changes, Dependent, Put, Remove, Require
from stigmer.store.errors import ConflictError
from stigmer.store.rows import ABSENT, Query, Row, Window
from stigmer.store.sqlite.files import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from stigmer.store.changes import Change
    from stigmer.store.contract import Store
    from stigmer.store.rows import Through

Opener: TypeAlias = "Callable[[], AbstractAsyncContextManager[Store]]"
"""Gives a store that is not open yet; each call one more on the same data."""

GRANDCHILDREN = Dependent("Grandchild", "parent")
CHILDREN = Dependent("Child", "parent", (GRANDCHILDREN,))


def row(
    id_: str,
    *keys: tuple[str, str],
    kind: str = "Thing",
    slug: str | None = "=id",
    namespace: str = "",
    data: bytes = b"first",
    owner: str = "",
) -> Row:
    """A row to be created; its slug is its id unless another is given."""
    return Row(kind, id_, namespace, id_ if slug == "=id" else slug, data, keys, "tester", owner)


def child(id_: str, parent: str, kind: str = "Child") -> Row:
    return row(id_, ("parent", parent), kind=kind, slug=None)


def changed(stored: Row | None, data: bytes, *keys: tuple[str, str]) -> Row:
    """New contents of a row that was read."""
    assert stored is not None
    return replace(stored, data=data, keys=keys)


def creating(*rows: Row) -> Changes:
    return Changes(puts=[Put(one, ABSENT) for one in rows])


def updating(stored: Row) -> Changes:
    return Changes(puts=[Put(stored, stored.revision)])


def removing(*stored: Row | None) -> Changes:
    return Changes(removes=[Remove(one.kind, one.id, one.revision) for one in stored if one is not None])


def discarding(kind: str, id_: str) -> Changes:
    return Changes(removes=[Remove(kind, id_, None)])


def requiring(kind: str, id_: str) -> Changes:
    return Changes(requires=[Require(kind, id_)])


def cascading(id_: str, dependent: Dependent = CHILDREN) -> Changes:
    return Changes(cascades=[Cascade(dependent, id_)])


def together(*parts: Changes) -> Changes:
    """One transaction of several parts."""
    return Changes(
        {key: revision for part in parts for key, revision in part.expects.items()},
        [one for part in parts for one in part.cascades],
        [one for part in parts for one in part.removes],
        [one for part in parts for one in part.puts],
        [one for part in parts for one in part.requires],
        {key: value for part in parts for key, value in part.records.items()},
        [one for part in parts for one in part.appends],
        {key: used_ms for part in parts for key, used_ms in part.unused.items()},
        {key: used_ms for part in parts for key, used_ms in part.uses.items()},
        trims=[one for part in parts for one in part.trims],
    )


async def created(store: Store, *rows: Row) -> list[Row]:
    """Commit new rows, one transaction each; gives them as they are stored."""
    return [stored(await store.commit(creating(one))) for one in rows]


async def conflict(store: Store, changes: Changes) -> tuple[str, ...]:
    """The key of the conflict that the commit ends in."""
    with pytest.raises(ConflictError) as caught:
        await store.commit(changes)
    return caught.value.key


def changed_by_hand(directory: Path, *statements: str) -> None:
    """Run SQL on a database that no store has open."""
    with closing(sqlite3.connect(directory / FILE_NAME, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


async def all_at_once(store: Store, commits: Iterable[Changes]) -> list[list[Change] | BaseException]:
    results = await asyncio.gather(*(store.commit(changes) for changes in commits), return_exceptions=True)
    return [list(result) if not isinstance(result, BaseException) else result for result in results]


def stored(changes: Sequence[Change]) -> Row:
    """The row of a commit that wrote one."""
    (change,) = changes
    assert change.row is not None
    return change.row


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(60):
        for _ in iter(holds, True):
            await asyncio.sleep(0)


async def ids(
    store: Store,
    *keys: tuple[str, str],
    kind: str = "Thing",
    through: Through | None = None,
    limit: int | None = None,
) -> list[str]:
    """The ids of the rows that match, newest first."""
    page = await store.page(Query(kind, keys, through), Window(limit))
    return [one.id for one in page.rows]


def bare(one: Row | None) -> Row | None:
    """A row as reads give it, with no keys."""
    return None if one is None else replace(one, keys=None)
