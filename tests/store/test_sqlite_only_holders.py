"""The row that alone holds a slug is found without the database, until another one comes, or it goes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from store_rows import changed, created, removing, row, stored, updating

from stigmer.store.changes import Change
from stigmer.store.feed import LocalFeed
from stigmer.store.sqlite import SqliteStore
from stigmer.store.sqlite.cache import RowCache, size_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from stigmer.store.rows import Row

ONE = row("a", slug="s", namespace="n", owner="organization:n")
OTHER = row("b", slug="s", namespace="m", owner="organization:m")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    async with SqliteStore(tmp_path) as opened:
        yield opened


async def holders(store: SqliteStore, owners: tuple[str, ...] | None = None) -> list[str]:
    return [one.id for one in await store.by_slug_anywhere("Thing", "s", owners)]


async def known(store: SqliteStore) -> list[str]:
    """The holders, without a look into the database."""
    really, store._reads = store._reads, None  # type: ignore[assignment]  # a read would fail
    try:
        return await holders(store)
    finally:
        store._reads = really


async def test_the_only_holder_is_read_once(store: SqliteStore) -> None:
    await created(store, ONE)
    assert await holders(store) == await known(store) == ["a"]


async def test_it_is_known_after_it_was_changed_as_it_is_now(store: SqliteStore) -> None:
    (one,) = await created(store, ONE)
    await holders(store)
    after = stored(await store.commit(updating(changed(one, b"second"))))
    assert await known(store) == ["a"]
    assert await store.by_slug_anywhere("Thing", "s") == [after]


async def test_another_one_is_seen_at_once_and_so_is_the_one_that_is_left(store: SqliteStore) -> None:
    one, other = *await created(store, ONE), OTHER
    await holders(store)
    (other,) = await created(store, other)
    assert await holders(store) == ["b", "a"]
    await store.commit(removing(one))
    assert await holders(store) == await known(store) == ["b"]
    await store.commit(removing(other))
    assert await holders(store) == []


async def test_who_does_not_see_it_is_told_nothing_and_teaches_nothing(store: SqliteStore) -> None:
    await created(store, ONE, OTHER)
    assert await holders(store, ("organization:m",)) == ["b"]
    assert await holders(store) == ["b", "a"]
    await store.commit(removing(await store.get("Thing", "b")))
    await holders(store)
    assert await holders(store, ("organization:m",)) == []
    assert await holders(store, ("organization:n",)) == ["a"]


async def test_one_of_as_many_as_were_asked_for_need_not_be_the_only_one(store: SqliteStore) -> None:
    await created(store, ONE, OTHER)
    assert [one.id for one in await store.by_slug_anywhere("Thing", "s", None, 1)] == ["b"]
    assert await holders(store) == ["b", "a"]


@pytest.mark.parametrize("meanwhile", [OTHER, replace(ONE, data=b"second"), None])
async def test_what_changes_while_it_is_read_is_not_known(meanwhile: Row | None) -> None:
    feed, let_go = LocalFeed(), asyncio.Event()
    cache = RowCache(feed, 1 << 20)

    async def slow() -> Sequence[Row]:
        await let_go.wait()
        return [ONE]

    reading = asyncio.ensure_future(cache.fill_only("Thing", "s", slow))
    await asyncio.sleep(0)
    feed.publish([Change("Thing", meanwhile.id if meanwhile else "a", 1, meanwhile)])
    let_go.set()
    assert list(await reading) == [ONE]
    assert cache.only("Thing", "s") is None


async def test_nothing_is_known_of_rows_that_had_to_make_room() -> None:
    feed = LocalFeed()
    cache = RowCache(feed, size_of(ONE))

    async def read() -> Sequence[Row]:
        return [ONE]

    await cache.fill_only("Thing", "s", read)
    assert cache.only("Thing", "s") is ONE
    feed.publish([Change("Thing", "c", 1, row("c"))])
    assert cache.only("Thing", "s") is None
    assert cache._only == {}
