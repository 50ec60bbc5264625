"""Records and logs in a database file: damage is seen, an older version's key is kept."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from store_rows import changed_by_hand, created, row

from stigmer.store.changes import Append, Changes
from stigmer.store.errors import DamagedError
from stigmer.store.sqlite import SqliteStore, inspection, migration
from stigmer.store.sqlite.files import FILE_NAME

if TYPE_CHECKING:
    from pathlib import Path

WRITTEN = Changes(records={("t", "a"): b"1", ("t", "b"): b"2"}, appends=[Append("log", b"%d" % n) for n in range(5)])


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    async with SqliteStore(tmp_path) as store:
        await store.commit(WRITTEN)
    return tmp_path


async def test_a_damaged_record_is_told_at_the_start_and_to_who_reads_it_and_others_are_served(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(changed_by_hand, directory, "UPDATE records SET value = x'03' WHERE key = 'a'")
    async with SqliteStore(directory) as store:
        assert [record.msg["key"] for record in caplog.records if isinstance(record.msg, dict)] == ["a"]
        with pytest.raises(DamagedError, match="t a is damaged"):
            await store.record("t", "a")
        found = await store.record("t", "b")
        assert found is not None
        assert found.value == b"2"
        await created(store, row("a"))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE log_entries SET value = x'00' WHERE number = 3",
        "UPDATE log_entries SET link = x'00' WHERE number = 3",
        "DELETE FROM log_entries WHERE number = 3",
        "UPDATE log_entries SET value = (SELECT value FROM log_entries WHERE number = 5) WHERE number = 4",
    ],
)
async def test_an_entry_that_does_not_follow_from_the_one_before_is_damage(directory: Path, damage: str) -> None:
    async with SqliteStore(directory) as store:
        assert len(await store.log("log")) == 5
    await asyncio.to_thread(changed_by_hand, directory, damage)
    async with SqliteStore(directory) as store:
        with pytest.raises(DamagedError, match=r"log \d is damaged"):
            await store.log("log")


@pytest.mark.parametrize("whole", [True, False], ids=["small", "large"])
async def test_no_revision_is_given_twice_where_the_counters_are_damaged(
    directory: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setattr(inspection, "WHOLE_BYTES", 128 * 2**20 if whole else 0)
    async with SqliteStore(directory) as store:
        before = await store.record("t", "b")
    if whole:
        await asyncio.to_thread(changed_by_hand, directory, "UPDATE counters SET value = 0")
    async with SqliteStore(directory) as store:
        (after,) = await created(store, row("c"))
    assert before is not None
    assert after.revision > before.revision


async def test_the_key_of_a_database_of_the_version_before_is_kept(tmp_path: Path) -> None:
    def made() -> bytes:
        with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as database:
            with pytest.MonkeyPatch.context() as patch:
                first = migration.scripts()[:3]
                patch.setattr(migration, "scripts", lambda: first)
                migration.migrate(database)
            return bytes(database.execute("SELECT value FROM secrets").fetchone()[0])

    key = await asyncio.to_thread(made)
    for _ in range(2):
        async with SqliteStore(tmp_path) as store:
            assert store.secret("name") == hashlib.blake2b(b"name", key=key, digest_size=32).digest()
