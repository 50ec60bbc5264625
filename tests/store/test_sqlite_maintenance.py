"""Maintenance of a database that runs: the write-ahead log does not stay as long as it once was."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from store_rows import created, creating, ids, row

from stigmer.store.errors import StoreUnavailableError
from stigmer.store.sqlite import SqliteStore
from stigmer.store.sqlite.files import LOG_NAME

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
