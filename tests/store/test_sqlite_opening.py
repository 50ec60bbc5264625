"""Opening SqliteStore where it cannot be opened: one line each that says what to do, and nothing touched."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from store_rows import changed_by_hand, created, ids, row

from stigmer.errors import StartupError
from stigmer.store.errors import DamagedError
from stigmer.store.sqlite import SqliteStore, opening
from stigmer.store.sqlite.files import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

HOLD = """
import asyncio, pathlib, sys
from stigmer.store.sqlite import SqliteStore

async def main():
    async with SqliteStore(pathlib.Path(sys.argv[1])):
        print("open", flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""


async def refusal(directory: Path) -> str:
    """Why the store does not open."""
    with pytest.raises(StartupError) as caught:
        async with SqliteStore(directory):
            pass
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """A directory with a store that holds one row."""
    async with SqliteStore(tmp_path / "data") as store:
        await created(store, row("a"))
    return tmp_path / "data"


async def test_a_directory_that_another_store_of_this_process_has(directory: Path) -> None:
    async with SqliteStore(directory) as store:
        text = await refusal(directory)
        assert await ids(store) == ["a"]
    assert text == f"another stigmer has the data directory {directory}: stop it, or choose another"
    async with SqliteStore(directory):
        pass


async def test_a_directory_that_another_process_has(directory: Path) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs on this loop
        [sys.executable, "-c", HOLD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        assert "another stigmer has the data directory" in await refusal(directory)
        other.kill()  # the lock goes with the process, however it ends
    async with SqliteStore(directory) as store:
        assert await ids(store) == ["a"]


@pytest.mark.parametrize("place", ["file", "below a file", "where nobody can write"])
async def test_a_directory_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    target = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "x"}.get(place, Path("/proc/stigmer"))
    text = await refusal(target)
    assert text.startswith(f"cannot write the data directory {target} (")
    assert text.endswith("): choose another")


def garbage(file: Path) -> None:
    file.write_bytes(b"This is not the database that you are looking for. " * 100)


def halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def overwritten(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + b"\xa5" * (len(whole) - 100))


@pytest.mark.parametrize("damage", [garbage, halved, overwritten])
async def test_a_database_that_is_corrupt(directory: Path, damage: Callable[[Path], None]) -> None:
    damage(directory / FILE_NAME)
    text = await refusal(directory)
    assert text.startswith(f"the database {directory / FILE_NAME} is damaged (")
    assert text.endswith("): restore a backup, or use another data directory")


@pytest.mark.parametrize("statement", ["DROP TABLE counters", "ALTER TABLE counters RENAME COLUMN value TO x"])
async def test_a_database_that_lacks_what_its_version_has_is_damaged(directory: Path, statement: str) -> None:
    changed_by_hand(directory, statement)
    text = await refusal(directory)
    assert text.startswith(f"the database {directory / FILE_NAME} is damaged (its schema is not what it should be: ")
    assert text.endswith("): restore a backup, or use another data directory")


@pytest.mark.parametrize("statement", ["CREATE TABLE theirs (x)", "PRAGMA application_id = 77"])
async def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path, statement: str) -> None:
    changed_by_hand(tmp_path, statement)
    before = (tmp_path / FILE_NAME).read_bytes()
    assert await refusal(tmp_path) == "the database file is another program's: use another data directory"
    assert (tmp_path / FILE_NAME).read_bytes() == before


async def test_a_database_of_a_newer_version_is_left_as_it_is(directory: Path) -> None:
    changed_by_hand(directory, "PRAGMA user_version = 99")
    before = (directory / FILE_NAME).read_bytes()
    text = await refusal(directory)
    assert text.startswith("the database has schema version 99, this stigmer knows ")
    assert "install the newer stigmer-server that wrote it, or use another data directory" in text
    assert (directory / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("statements", [["BEGIN IMMEDIATE"], ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"]])
async def test_a_database_that_another_program_has_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statements: list[str]
) -> None:
    monkeypatch.setattr(opening, "BUSY_TIMEOUT_S", 0.02)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        for statement in statements:
            other.execute(statement)
        assert await refusal(tmp_path) == (
            f"another program has the database {tmp_path / FILE_NAME} locked: close it and start again"
        )
    async with SqliteStore(tmp_path) as store:
        await created(store, row("a"))


async def test_after_a_refusal_the_directory_is_free_again(directory: Path) -> None:
    whole = (directory / FILE_NAME).read_bytes()
    garbage(directory / FILE_NAME)
    await refusal(directory)
    (directory / FILE_NAME).write_bytes(whole)
    async with SqliteStore(directory) as store:
        assert await ids(store) == ["a"]
        assert repr(store) == f"<SqliteStore {directory / FILE_NAME}>"


async def test_rows_are_cached_before_anybody_asks_for_them_the_newest_first(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        await created(store, *(row(f"r{n}", data=bytes(1000)) for n in range(10)))
    changed_by_hand(tmp_path, "UPDATE resources SET data = x'00' WHERE id = 'r9'")
    async with SqliteStore(tmp_path, cache_bytes=5000) as store:
        cached = [n for n in range(10) if store._cache.by_id("Thing", f"r{n}")]
        assert cached == [6, 7, 8]
        assert store._cache.by_slug("Thing", "r8", "") == await store.get("Thing", "r8")
        with pytest.raises(DamagedError):
            await store.get("Thing", "r9")
    async with SqliteStore(tmp_path, cache_bytes=0) as store:
        assert store._cache.by_id("Thing", "r8") is None


async def test_reading_ahead_does_not_hold_up_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SqliteStore(tmp_path) as store:
        await created(store, *(row(f"r{n}") for n in range(10)))
    monkeypatch.setattr(opening, "READ_AHEAD_S", 0.0)
    async with SqliteStore(tmp_path) as store:
        assert [n for n in range(10) if store._cache.by_id("Thing", f"r{n}")] == [9]
        assert len(await ids(store)) == 10
