"""Maintenance of a database that runs: the write-ahead log does not stay as long as it once was."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest
from store_rows import created, creating, ids, row

from stigmer.store.errors import StoreUnavailableError
from stigmer.store.sqlite import SqliteStore
from stigmer.store.sqlite.files import FILE_NAME, LOG_NAME

if TYPE_CHECKING:
    from pathlib import Path


def log_bytes(directory: Path) -> int:
    return (directory / LOG_NAME).stat().st_size


async def test_the_log_is_cut_off_and_the_rows_are_there(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path, cache_bytes=0) as store:
        await store.commit(creating(*(row(f"r{n}", data=bytes(100_000)) for n in range(100))))
        assert await asyncio.to_thread(log_bytes, tmp_path) > 10_000_000
        await store.maintain()
        assert await asyncio.to_thread(log_bytes, tmp_path) == 0
        assert len(await ids(store)) == 100
        await created(store, row("after"))
        await store.probe()


async def test_a_reader_is_not_waited_for(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path, cache_bytes=0) as store:
        await created(store, row("a"))
        reader = store._reads._lists.connection
        await reader.run(lambda connection: connection.execute("BEGIN").execute("SELECT * FROM resources").fetchone())
        await created(store, row("b"))
        async with asyncio.timeout(4):  # of 5 s that a statement waits otherwise
            await store.maintain()
        assert await asyncio.to_thread(log_bytes, tmp_path) > 0
        await reader.run(lambda connection: connection.execute("COMMIT"))
        await store.maintain()
        assert await asyncio.to_thread(log_bytes, tmp_path) == 0


async def test_a_closed_store_is_not_maintained(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        pass
    with pytest.raises(StoreUnavailableError):
        await store.maintain()


def read_from_file(directory: Path) -> int:
    """How many rows are in the database itself, its log left aside."""
    with contextlib.closing(sqlite3.connect(f"file:{directory / FILE_NAME}?immutable=1", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM resources").fetchone()[0])


async def test_what_is_committed_moves_into_the_database_and_the_log_begins_anew(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path, cache_bytes=0) as store:
        for number in range(100):
            await created(store, row(f"r{number}", data=bytes(100_000)))
        await store._reads.log_moved()
        assert await asyncio.to_thread(read_from_file, tmp_path) > 80
        store._reads.move_log(store._check)
        await store._reads.log_moved()
        before = await asyncio.to_thread(log_bytes, tmp_path)
        for number in range(5):
            await created(store, row(f"more{number}", data=bytes(100_000)))
        assert await asyncio.to_thread(log_bytes, tmp_path) == before
        assert len(await ids(store)) == 105


async def test_commits_go_on_while_the_log_is_moved(tmp_path: Path) -> None:
    """A commit of before took it along: up to 80 ms, in which reads of what it wrote waited as well."""
    going_on = threading.Event()
    async with SqliteStore(tmp_path, cache_bytes=0) as store:
        store._check = going_on.wait  # type: ignore[assignment]  # the disk is slow
        while store._reads._moved is None:
            await created(store, row(f"r{len(await ids(store))}", data=bytes(100_000)))
        await created(store, row("meanwhile"))
        assert await store.get("Thing", "meanwhile") is not None
        assert not store._reads._moved.done()
        going_on.set()
        await store._reads.log_moved()


async def test_a_log_that_cannot_be_moved_fails_nothing_but_the_next_commit(tmp_path: Path) -> None:
    def taken() -> None:
        raise StoreUnavailableError("the file was taken")

    async with SqliteStore(tmp_path, cache_bytes=0) as store:
        store._check = taken
        for number in range(30):
            await created(store, row(f"r{number}", data=bytes(100_000)))
        await store._reads.log_moved()
        assert len(await ids(store)) == 30
