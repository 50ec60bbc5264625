"""The row cache: bounded, and never older than the last commit."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from store_rows import row

from stigmer.store.base import Change
from stigmer.store.cache import ROW_OVERHEAD_BYTES, RowCache

if TYPE_CHECKING:
    from stigmer.store.base import Row

ROOM = 1 << 20


def noted(cache: RowCache, stored: Row) -> Row:
    cache.note(Change(stored.kind, stored.id, stored.revision, stored))
    return stored


def deleted(cache: RowCache, stored: Row) -> None:
    cache.note(Change(stored.kind, stored.id, stored.revision + 1, None))


class Read:
    """A read of the store that takes as long as the test wants, and gives what stood when it began."""

    def __init__(self, found: Row | None) -> None:
        self._found = found
        self.done = asyncio.Event()

    async def __call__(self) -> Row | None:
        await self.done.wait()
        return self._found


async def begun(cache: RowCache, read: Read) -> asyncio.Task[Row | None]:
    filling = asyncio.ensure_future(cache.fill(read))
    await asyncio.sleep(0)
    return filling


async def filled(cache: RowCache, stored: Row | None) -> Row | None:
    read = Read(stored)
    read.done.set()
    return await cache.fill(read)


async def test_a_row_that_was_read_is_found_by_id_and_slug() -> None:
    cache = RowCache(ROOM)
    one = row("a", slug="s", namespace="n")
    assert cache.by_id("Thing", "a") is None
    assert await filled(cache, one) is one
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "s", "n") is one
    assert cache.by_slug("Thing", "s", "") is None


async def test_a_row_that_is_not_there_is_not_kept() -> None:
    cache = RowCache(ROOM)
    assert await filled(cache, None) is None
    assert repr(cache) == f"<RowCache 0 rows, 0 of {ROOM} bytes>"


def test_a_change_replaces_what_was_there() -> None:
    cache = RowCache(ROOM)
    one = noted(cache, row("a", slug="s"))
    two = noted(cache, replace(one, data=b"second", revision=2))
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "s", "") is two
    deleted(cache, two)
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "s", "") is None
    assert repr(cache) == f"<RowCache 0 rows, 0 of {ROOM} bytes>"


def test_a_row_without_a_slug_is_kept_by_id() -> None:
    cache = RowCache(ROOM)
    one = noted(cache, row("a", slug=None))
    assert cache.by_id("Thing", "a") is one
    deleted(cache, one)
    assert cache.by_id("Thing", "a") is None


async def test_a_slug_that_changed_hands_is_its_new_holders() -> None:
    cache = RowCache(ROOM)
    old = noted(cache, row("a", slug="s"))
    deleted(cache, old)
    new = noted(cache, row("b", slug="s"))
    assert cache.by_slug("Thing", "s", "") is new


async def test_a_change_that_commits_while_a_row_is_read_is_not_overwritten() -> None:
    cache = RowCache(ROOM)
    read = Read(old := row("a", slug="s"))
    filling = await begun(cache, read)
    new = noted(cache, replace(old, data=b"second", revision=2))
    read.done.set()
    assert await filling is old
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "s", "") is new


async def test_a_deletion_that_commits_while_a_row_is_read_stands() -> None:
    cache = RowCache(ROOM)
    read = Read(old := row("a", slug="s"))
    filling = await begun(cache, read)
    deleted(cache, old)
    read.done.set()
    assert await filling is old
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "s", "") is None


async def test_a_change_is_remembered_as_long_as_a_fill_runs_that_began_before_it() -> None:
    cache = RowCache(ROOM)
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
    cache = RowCache(ROOM)
    early, late = Read(None), Read(new := row("a"))
    first = await begun(cache, early)
    deleted(cache, row("a"))
    second = await begun(cache, late)
    late.done.set()
    await second
    assert cache.by_id("Thing", "a") is new
    early.done.set()
    await first


async def test_changes_are_forgotten_while_fills_overlap_without_end() -> None:
    cache = RowCache(0)
    read = Read(None)
    running = await begun(cache, read)
    for turn in range(100):
        noted(cache, row(f"r{turn}"))
        following = Read(None)
        next_one = await begun(cache, following)
        read.done.set()
        await running
        read, running = following, next_one
        assert len(cache._changed) <= 1
    read.done.set()
    await running
    assert not cache._changed


async def test_a_read_that_fails_is_its_callers_and_leaves_nothing() -> None:
    cache = RowCache(ROOM)

    async def fail() -> Row | None:
        deleted(cache, row("a"))
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        await cache.fill(fail)
    assert not cache._fills
    assert not cache._changed


def test_the_rows_stay_within_the_bytes_and_the_least_used_go_first() -> None:
    size = ROW_OVERHEAD_BYTES + 100
    cache = RowCache(3 * size)
    for id_ in ("a", "b", "c"):
        noted(cache, row(id_, data=bytes(100)))
    assert cache.by_slug("Thing", "a", "") is not None
    noted(cache, row("d", data=bytes(100)))
    assert [id_ for id_ in "abcd" if cache.by_id("Thing", id_)] == ["a", "c", "d"]
    assert cache.by_slug("Thing", "b", "") is None
    assert repr(cache) == f"<RowCache 3 rows, {3 * size} of {3 * size} bytes>"
    assert len(cache._slugs) == 3


def test_a_bigger_version_of_a_row_counts_with_its_new_size() -> None:
    cache = RowCache(2 * ROW_OVERHEAD_BYTES + 100)
    noted(cache, row("a", data=b""))
    noted(cache, row("b", data=b""))
    noted(cache, row("b", data=bytes(101)))
    assert [id_ for id_ in "ab" if cache.by_id("Thing", id_)] == ["b"]


def test_no_bytes_keep_nothing() -> None:
    cache = RowCache(0)
    noted(cache, row("a"))
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "a", "") is None
    assert not cache._slugs


def test_a_cleared_cache_is_empty() -> None:
    cache = RowCache(ROOM)
    noted(cache, row("a"))
    cache.clear()
    assert cache.by_id("Thing", "a") is cache.by_slug("Thing", "a", "") is None
    assert repr(cache) == f"<RowCache 0 rows, 0 of {ROOM} bytes>"
