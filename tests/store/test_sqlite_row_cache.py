"""The row cache: bounded, and never older than the last commit."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from store_rows import row

from stigmer.store import feed
from stigmer.store.changes import Change
from stigmer.store.feed import LocalFeed
from stigmer.store.sqlite.cache import ROW_OVERHEAD_BYTES, RowCache

if TYPE_CHECKING:
    from stigmer.store.rows import Row

ROOM = 1 << 20


class Cache(RowCache):
    """A cache with a feed of its own, which gives each change the next revision."""

    def __init__(self, max_bytes: int) -> None:
        self.feed = LocalFeed()
        super().__init__(self.feed, max_bytes)

    def told(self, kind: str, id_: str, row: Row | None) -> None:
        self.feed.publish([Change(kind, id_, self.feed.revision + 1, row)])


def noted(cache: Cache, stored: Row) -> Row:
    cache.told(stored.kind, stored.id, stored)
    return stored


def deleted(cache: Cache, stored: Row) -> None:
    cache.told(stored.kind, stored.id, None)


class Read:
    """A read of the store that takes as long as the test wants, and gives what stood when it began."""

    def __init__(self, found: Row | None) -> None:
        self._found = found
        self.done = asyncio.Event()

    async def __call__(self) -> Row | None:
        await self.done.wait()
        return self._found


async def begun(cache: Cache, read: Read) -> asyncio.Task[Row | None]:
    filling = asyncio.ensure_future(cache.fill(read))
    await asyncio.sleep(0)
    return filling


async def filled(cache: Cache, stored: Row | None) -> Row | None:
    read = Read(stored)
    read.done.set()
    return await cache.fill(read)


async def test_a_row_that_was_read_is_found_by_id_and_slug() -> None:
    cache = Cache(ROOM)
    one = row("a", slug="s", namespace="n")
    assert cache.by_id("Thing", "a") is None
    assert await filled(cache, one) is one
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "s", "n") is one
    assert cache.by_slug("Thing", "s", "") is None


async def test_a_row_that_is_not_there_is_not_kept() -> None:
    cache = Cache(ROOM)
    assert await filled(cache, None) is None
    assert repr(cache) == f"<RowCache 0 rows, 0 of {ROOM} bytes>"


def test_a_change_replaces_what_was_there() -> None:
    cache = Cache(ROOM)
    one = noted(cache, row("a", slug="s"))
    two = noted(cache, replace(one, data=b"second", revision=2))
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "s", "") is two
    deleted(cache, two)
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "s", "") is None
    assert repr(cache) == f"<RowCache 0 rows, 0 of {ROOM} bytes>"


def test_a_row_without_a_slug_is_kept_by_id() -> None:
    cache = Cache(ROOM)
    one = noted(cache, row("a", slug=None))
    assert cache.by_id("Thing", "a") is one
    deleted(cache, one)
    assert cache.by_id("Thing", "a") is None


async def test_a_slug_that_changed_hands_is_its_new_holders() -> None:
    cache = Cache(ROOM)
    old = noted(cache, row("a", slug="s"))
    deleted(cache, old)
    new = noted(cache, row("b", slug="s"))
    assert cache.by_slug("Thing", "s", "") is new


async def test_a_change_that_commits_while_a_row_is_read_is_not_overwritten() -> None:
    cache = Cache(ROOM)
    read = Read(old := row("a", slug="s"))
    filling = await begun(cache, read)
    new = noted(cache, replace(old, data=b"second", revision=2))
    read.done.set()
    assert await filling is old
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "s", "") is new


async def test_a_deletion_that_commits_while_a_row_is_read_stands() -> None:
    cache = Cache(ROOM)
    read = Read(old := row("a", slug="s"))
    filling = await begun(cache, read)
    deleted(cache, old)
    read.done.set()
    assert await filling is old
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "s", "") is None


async def test_a_change_is_remembered_as_long_as_a_fill_runs_that_began_before_it() -> None:
    cache = Cache(ROOM)
    early, late = Read(old := row("a")), Read(None)
    first = await begun(cache, early)
    deleted(cache, old)
    second = await begun(cache, late)
    late.done.set()
    await second
    early.done.set()
    await first
    assert cache.by_id("Thing", "a") is None


async def test_a_fill_that_began_after_a_change_is_kept() -> None:
    cache = Cache(ROOM)
    early, late = Read(None), Read(new := row("a"))
    first = await begun(cache, early)
    deleted(cache, row("a"))
    second = await begun(cache, late)
    late.done.set()
    await second
    assert cache.by_id("Thing", "a") is new
    early.done.set()
    await first


async def test_a_row_whose_read_took_longer_than_the_feed_remembers_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "HISTORY", 2)
    cache = Cache(ROOM)
    read = Read(row("a"))
    filling = await begun(cache, read)
    deleted(cache, row("a"))
    for number in range(3):
        noted(cache, row(f"r{number}"))
    read.done.set()
    assert await filling is not None
    assert cache.by_id("Thing", "a") is None


def test_of_rows_that_nobody_asked_for_the_first_go_first() -> None:
    cache = Cache(3 * (ROW_OVERHEAD_BYTES + 5))
    cache.keep([row(id_) for id_ in "abc"])
    noted(cache, row("d"))
    assert [id_ for id_ in "abcd" if cache.by_id("Thing", id_)] == ["b", "c", "d"]


async def test_a_read_that_fails_is_its_callers_and_leaves_nothing() -> None:
    cache = Cache(ROOM)

    async def fail() -> Row | None:
        deleted(cache, row("a"))
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        await cache.fill(fail)
    assert cache.by_id("Thing", "a") is None


def test_the_rows_stay_within_the_bytes_and_the_least_used_go_first() -> None:
    size = ROW_OVERHEAD_BYTES + 100
    cache = Cache(3 * size)
    for id_ in ("a", "b", "c"):
        noted(cache, row(id_, data=bytes(100)))
    assert cache.by_slug("Thing", "a", "") is not None
    noted(cache, row("d", data=bytes(100)))
    assert [id_ for id_ in "abcd" if cache.by_id("Thing", id_)] == ["a", "c", "d"]
    assert cache.by_slug("Thing", "b", "") is None
    assert repr(cache) == f"<RowCache 3 rows, {3 * size} of {3 * size} bytes>"
    assert len(cache._slugs) == 3


def test_a_bigger_version_of_a_row_counts_with_its_new_size() -> None:
    cache = Cache(2 * ROW_OVERHEAD_BYTES + 100)
    noted(cache, row("a", data=b""))
    noted(cache, row("b", data=b""))
    noted(cache, row("b", data=bytes(101)))
    assert [id_ for id_ in "ab" if cache.by_id("Thing", id_)] == ["b"]


def test_no_bytes_keep_nothing() -> None:
    cache = Cache(0)
    noted(cache, row("a"))
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "a", "") is None
    assert not cache._slugs


def test_a_cleared_cache_is_empty() -> None:
    cache = Cache(ROOM)
    noted(cache, row("a"))
    cache.clear()
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "a", "") is None
    assert repr(cache) == f"<RowCache 0 rows, 0 of {ROOM} bytes>"
