"""What was sealed and is gone is nowhere in the files of a running store."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from store_rows import creating, removing, row, updating

from stigmer.store.changes import Changes, Put
from stigmer.store.rows import ABSENT, sealed_key
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from stigmer.store.changes import Change

CANARY = os.urandom(16).hex().encode()


def sealing(id_: str, value: bytes = CANARY) -> Changes:
    return Changes(puts=[Put(replace(row(id_), sealed=True), ABSENT)], records={sealed_key("Thing", id_): value})


def holds(directory: Path, what: bytes) -> bool:
    return any(what in path.read_bytes() for path in directory.iterdir())


async def gone(directory: Path, what: bytes) -> None:
    """Wait until it is in no file of the directory."""
    async with asyncio.timeout(30):
        while await asyncio.to_thread(holds, directory, what):  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.02)


async def test_a_deleted_record_of_secrets_leaves_database_and_log(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        (change,) = await store.commit(sealing("a"))
        assert await asyncio.to_thread(holds, tmp_path, CANARY)
        await store.maintain()
        assert await asyncio.to_thread(holds, tmp_path, CANARY)
        await store.commit(removing(change.row))
        await gone(tmp_path, CANARY)


async def test_a_replaced_record_of_secrets_leaves_database_and_log(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        await store.commit(sealing("a"))
        await store.commit(Changes(records={sealed_key("Thing", "a"): b"another"}))
        await gone(tmp_path, CANARY)


async def test_a_row_that_is_not_sealed_any_more_leaves_no_record_in_the_files(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        (change,) = await store.commit(sealing("a"))
        assert change.row is not None
        await store.commit(updating(replace(change.row, sealed=False)))
        await gone(tmp_path, CANARY)


async def test_a_reader_that_keeps_the_log_is_waited_for(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path, cache_bytes=0) as store:
        (change,) = await store.commit(sealing("a"))
        reader = store._reads._lists.connection
        await reader.run(lambda connection: connection.execute("BEGIN").execute("SELECT * FROM resources").fetchone())
        await store.commit(removing(change.row))
        assert store._shredder._waiting is not None
        assert not await store._log_cut()
        assert await asyncio.to_thread(holds, tmp_path, CANARY)
        await reader.run(lambda connection: connection.execute("COMMIT"))
        await gone(tmp_path, CANARY)


async def test_many_deletions_share_the_cutting_of_the_log(tmp_path: Path) -> None:
    cuts = 0
    async with SqliteStore(tmp_path) as store:
        really = store._cut

        def counted(writes: sqlite3.Connection) -> bool:
            nonlocal cuts
            cuts += 1
            return really(writes)

        store._cut = counted
        made: list[Change] = [(await store.commit(sealing(f"r{number}")))[0] for number in range(50)]
        await asyncio.gather(*(store.commit(removing(change.row)) for change in made))
        await gone(tmp_path, CANARY)
        assert cuts <= 5


async def test_a_store_that_closes_at_once_leaves_nothing_of_it(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        (change,) = await store.commit(sealing("a"))
        await store.commit(creating(row("b")))
        await store.commit(removing(change.row))
    assert not await asyncio.to_thread(holds, tmp_path, CANARY)
