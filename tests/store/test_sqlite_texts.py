"""Texts and numbers that SQLite cannot hold: the fault of who brings them, and of nobody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from store_rows import all_at_once, cascading, changed, created, creating, ids, requiring, row, updating

from stigmer.store.changes import Changes, Put, Remove
from stigmer.store.errors import ConflictError
from stigmer.store.rows import Query, Window
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path) as opened:
        yield opened


async def test_a_text_that_cannot_be_stored_is_its_callers_fault_alone(store: SqliteStore) -> None:
    (one,) = await created(store, row("a"))
    for bad in (creating(row("lone \ud800")), requiring("Thing", "\ud800"), cascading("\ud800")):
        with pytest.raises(UnicodeEncodeError):
            await store.commit(bad)
    with pytest.raises(UnicodeEncodeError):
        await store.get("Thing", "\ud800")
    with pytest.raises(OverflowError):
        await store.page(Query("Thing"), Window(1, before=1 << 64))
    huge = Changes(puts=[Put(one, 1 << 70)], removes=[Remove("Thing", "a", 1 << 70)])
    with pytest.raises(ConflictError):
        await store.commit(huge)
    assert await ids(store) == ["a"]


async def test_one_bad_text_among_many_commits_and_reads_leaves_the_others_alone(store: SqliteStore) -> None:
    commits = [creating(row("bad \udfff" if n == 7 else f"r{n}")) for n in range(20)]
    reads = [store.get("Thing", "\ud800" if n == 3 else f"r{n}") for n in range(20)]
    pages = [store.page(Query("Thing"), Window(1, before=1 << 70 if n == 3 else None)) for n in range(5)]
    written, read, paged = await asyncio.gather(
        all_at_once(store, commits),
        asyncio.gather(*reads, return_exceptions=True),
        asyncio.gather(*pages, return_exceptions=True),
    )
    assert [type(result) for result in written if isinstance(result, BaseException)] == [UnicodeEncodeError]
    assert [type(result) for result in read if isinstance(result, BaseException)] == [UnicodeEncodeError]
    assert [type(result) for result in paged if isinstance(result, BaseException)] == [OverflowError]
    assert len(await ids(store)) == 19


@pytest.mark.parametrize("keys", [(("tag", "\ud800"),), (("\ud800", "x"),), (("tag", "x"), ("tag", "y\udfff"))])
async def test_a_key_that_cannot_be_stored_leaves_nothing_of_its_row(
    store: SqliteStore, keys: tuple[tuple[str, str]]
) -> None:
    (one,) = await created(store, row("a", ("tag", "old")))
    bad = [creating(row("new", *keys)), updating(changed(one, b"lost", *keys))]
    results = await all_at_once(store, [creating(row("b")), *bad, updating(changed(one, b"second", ("tag", "z\n")))])
    assert [type(result) for result in results] == [list, UnicodeEncodeError, UnicodeEncodeError, list]
    revisions = [change.revision - one.revision for result in results if isinstance(result, list) for change in result]
    assert revisions == [1, 2]
    assert await ids(store) == ["b", "a"]
    assert await ids(store, ("tag", "z\n")) == ["a"]
    assert await ids(store, ("tag", "x")) == await ids(store, ("tag", "old")) == []
    assert (await store.page(Query("Thing"), Window(1))).total == 2
