"""The records of ciphertexts beside cached rows: of the same commit as the row, bounded with it, gone with it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from store_rows import creating, removing, row, together, updating

from stigmer.store.changes import Change, Changes
from stigmer.store.feed import LocalFeed
from stigmer.store.rows import Record, sealed_key
from stigmer.store.sqlite import SqliteStore
from stigmer.store.sqlite.cache import ROW_OVERHEAD_BYTES, RowCache, size_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from stigmer.store.rows import Row

ROOM = 1 << 20
KEY = sealed_key("Thing", "a")
NAME = KEY[1]
SEALED_ROW = replace(row("a"), sealed=True)


class Told:
    """A cache, and the feed that tells it of rows."""

    def __init__(self, max_bytes: int = ROOM) -> None:
        self.feed = LocalFeed()
        self.cache = RowCache(self.feed, max_bytes)

    def keep(self, *records: Record) -> None:
        self.cache.note_records({(one.table, one.key): one for one in records})

    def row(self, id_: str, stored: Row | None) -> None:
        self.feed.publish([Change("Thing", id_, self.feed.revision + 1, stored)])


def sealing(value: bytes) -> Changes:
    return together(creating(SEALED_ROW), Changes(records={KEY: value}))


def record(value: bytes, key: str = NAME) -> Record:
    return Record(KEY[0], key, value)


async def read(cache: RowCache, value: bytes | None) -> None:
    async def found() -> Record | None:
        return record(value) if value is not None else None

    await cache.fill_record(NAME, found)


async def test_a_record_that_was_read_is_kept_beside_its_row_alone() -> None:
    told = Told()
    await read(told.cache, b"one")
    assert told.cache.record(NAME) is None
    told.row("a", SEALED_ROW)
    await read(told.cache, b"one")
    assert told.cache.record(NAME) == record(b"one")


async def test_a_record_that_is_not_there_is_not_kept() -> None:
    told = Told()
    told.row("a", SEALED_ROW)
    await read(told.cache, None)
    assert told.cache.record(NAME) is None


@pytest.mark.parametrize("after", [None, row("a")])
async def test_a_record_goes_with_its_row_and_when_the_row_is_not_sealed_any_more(after: Row | None) -> None:
    told = Told()
    told.row("a", SEALED_ROW)
    told.keep(record(b"one"))
    told.row("a", after)
    assert told.cache.record(NAME) is None
    told.row("a", None)
    assert repr(told.cache) == f"<RowCache 0 rows, 0 of {ROOM} bytes>"


async def test_a_record_stays_when_its_row_changes_and_stays_sealed() -> None:
    told = Told()
    told.row("a", SEALED_ROW)
    told.keep(record(b"one"))
    told.row("a", replace(SEALED_ROW, data=b"other"))
    assert told.cache.record(NAME) == record(b"one")


async def written(told: Told) -> None:
    told.keep(record(b"new"))


async def changed(told: Told) -> None:
    told.row("a", replace(SEALED_ROW, data=b"other"))


async def read_again(told: Told) -> None:
    await read(told.cache, b"new")


@pytest.mark.parametrize("meanwhile", [written, changed, read_again])
async def test_a_record_that_was_written_while_it_was_read_is_not_kept(meanwhile: object) -> None:
    told, let_go = Told(), asyncio.Event()
    told.row("a", SEALED_ROW)

    async def slow() -> Record | None:
        await let_go.wait()
        return record(b"old")

    reading = asyncio.ensure_future(told.cache.fill_record(NAME, slow))
    await asyncio.sleep(0)
    await meanwhile(told)  # type: ignore[operator]  # each of them is a coroutine function
    let_go.set()
    assert await reading == record(b"old")
    assert told.cache.record(NAME) != record(b"old")


async def test_records_count_in_the_bound_and_the_oldest_rows_go_with_theirs() -> None:
    told = Told(size_of(SEALED_ROW) * 2 + 100)
    told.row("a", SEALED_ROW)
    told.keep(record(b"x" * 60))
    told.row("b", replace(SEALED_ROW, id="b"))
    told.keep(record(b"x" * 60, "Thing/b"))
    assert told.cache.record(NAME) is None
    assert told.cache.by_id("Thing", "a") is None
    assert told.cache.record("Thing/b") is not None
    told.keep(record(b"x" * (ROW_OVERHEAD_BYTES * 3), "Thing/b"))
    assert repr(told.cache).startswith("<RowCache 0 rows, 0 of")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    async with SqliteStore(tmp_path) as opened:
        yield opened


async def unread(store: SqliteStore) -> Record | None:
    """The record, without a look into the database."""
    really, store._reads = store._reads, None  # type: ignore[assignment]  # a read would fail
    try:
        return await store.record(*KEY)
    finally:
        store._reads = really


async def test_what_was_committed_is_read_without_the_database(store: SqliteStore) -> None:
    await store.commit(sealing(b"one"))
    found = await unread(store)
    assert found is not None
    assert found.value == b"one"
    store._cache.clear()
    assert await store.record(*KEY) == found


async def test_a_record_that_is_written_alone_replaces_the_one_that_is_cached(store: SqliteStore) -> None:
    await store.commit(sealing(b"one"))
    before = await store.record(*KEY)
    assert before is not None
    await store.commit(Changes(expects={KEY: before.revision}, records={KEY: b"two"}))
    found = await unread(store)
    assert found is not None
    assert (found.value, found.revision > before.revision) == (b"two", True)


async def test_a_record_that_is_deleted_alone_is_not_found_any_more(store: SqliteStore) -> None:
    await store.commit(sealing(b"one"))
    await store.commit(Changes(records={KEY: None}))
    assert await store.record(*KEY) is None


async def test_what_was_only_tried_or_refused_changes_nothing(store: SqliteStore) -> None:
    await store.commit(sealing(b"one"))
    await store.commit(Changes(records={KEY: b"two"}), dry_run=True)
    found = await unread(store)
    assert found is not None
    assert found.value == b"one"


async def test_a_deleted_row_leaves_no_record_behind(store: SqliteStore) -> None:
    (change,) = await store.commit(sealing(b"one"))
    assert change.row is not None
    await store.commit(updating(replace(change.row, data=b"other")))
    assert await unread(store) is not None
    now = await store.get("Thing", "a")
    await store.commit(removing(now))
    assert await store.record(*KEY) is None
