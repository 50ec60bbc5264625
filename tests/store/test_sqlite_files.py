"""What SqliteStore keeps on disk: pragmas, migrations, file modes; and how a process ends that forgot to close it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from store_rows import changed_by_hand, created, ids, row

from stigmer.errors import StartupError
from stigmer.store.rows import Query, Window
from stigmer.store.sqlite import SqliteStore, inspection, migration
from stigmer.store.sqlite.files import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

UNCLOSED = """
import asyncio, pathlib, sys
from store_rows import created, row
from stigmer.store.sqlite import SqliteStore

store = SqliteStore(pathlib.Path(sys.argv[1]))

async def main():
    await store.__aenter__()
    await created(store, row("a"))

asyncio.run(main())
print("over", flush=True)
"""

DIE = """
import os, pathlib, signal, sqlite3, sys
from stigmer.store.sqlite import inspection, migration

connection = sqlite3.connect(pathlib.Path(sys.argv[1]) / "stigmer.db", isolation_level=None)
connection.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
first = migration.scripts()
migration.scripts = lambda: [*first, "CREATE TABLE extra (x); INSERT INTO extra VALUES (1), (die());"]
migration.migrate(connection)
"""


def run(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, str(directory)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def schema(directory: Path) -> tuple[int, set[str]]:
    """The version and the tables of a database."""
    with closing(sqlite3.connect(directory / FILE_NAME)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    return version, tables


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """A directory with a store that holds one row."""
    async with SqliteStore(tmp_path / "data") as store:
        await created(store, row("a"))
    return tmp_path / "data"


@pytest.fixture
def any_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


async def test_every_connection_has_the_pragmas(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        for worker, reads_only in ((store._writes, 0), (store._reads._points, 1), (store._reads._lists, 1)):
            wanted = {
                "journal_mode": "wal",
                "synchronous": 2,
                "foreign_keys": 1,
                "busy_timeout": 5000,
                "query_only": reads_only,
            }

            def read(connection: sqlite3.Connection, names: Any = tuple(wanted)) -> dict[str, object]:
                return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

            assert await worker.connection.run(read) == wanted


@pytest.mark.usefixtures("any_umask")
async def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "made" / "here") as store:
        await created(store, row("a"))
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "made").rglob("*") if path.is_file()
        }
        assert modes == dict.fromkeys((FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", "stigmer.lock"), 0o600)
        assert stat.S_IMODE((tmp_path / "made" / "here").stat().st_mode) == 0o700


@pytest.mark.usefixtures("any_umask")
async def test_the_files_are_for_their_owner_alone_in_a_directory_that_all_may_read(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)  # noqa: PTH101 - pathlib's is held to block, which here is no harm
    async with SqliteStore(tmp_path) as store:
        await created(store, row("a"))
        assert {stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(tmp_path)} == {0o600}


def test_migrations_are_numbered_without_a_gap() -> None:
    names = sorted(entry.name for entry in files(migration.PACKAGE).iterdir() if entry.name[0].isdigit())
    numbers = [int(found[1]) for name in names if (found := re.fullmatch(r"(\d{4})_[a-z_]+\.(sql|py)", name))]
    assert numbers == list(range(1, len(names) + 1))
    assert len(migration.scripts()) == len(names)


async def test_a_new_migration_is_applied_once_and_keeps_the_rows(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, tables = schema(directory)
    first = migration.scripts()
    monkeypatch.setattr(migration, "scripts", lambda: [*first, "CREATE TABLE extra (x);"])
    for _ in range(2):
        async with SqliteStore(directory) as store:
            assert await ids(store) == ["a"]
    assert schema(directory) == (before + 1, tables | {"extra"})


Later: TypeAlias = "Callable[[str], None]"
"""Puts a migration's code after those that there are."""


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Later:
    """A package of migrations of its own: ours, then a function, then a SQL file that relies on it."""

    def write(code: str) -> None:
        package = tmp_path / f"migrations_of_{tmp_path.name}"
        package.mkdir()
        for entry in files(migration.PACKAGE).iterdir():
            if entry.is_file():
                (package / entry.name).write_bytes(entry.read_bytes())
        (package / "0098_louder.py").write_text(code)
        (package / "0099_extra.sql").write_text("CREATE TABLE extra AS SELECT data FROM resources;")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(migration, "PACKAGE", package.name)

    return write


LOUDER = """
from stigmer.store.sqlite.statements import ROW_CHECKSUM

def migrate(connection):
    for sequence, data in connection.execute("SELECT sequence, data FROM resources").fetchall():
        connection.execute("UPDATE resources SET data = ? WHERE sequence = ?", (data.upper(), sequence))
    connection.execute(f"UPDATE resources SET checksum = {ROW_CHECKSUM}")
"""


async def test_a_migration_may_be_a_function_that_changes_the_rows(directory: Path, later: Later) -> None:
    before, tables = schema(directory)
    later(LOUDER)
    async with SqliteStore(directory) as store:
        found = await store.get("Thing", "a")
        assert found is not None
        assert found.data == b"FIRST"
    assert schema(directory) == (before + 2, tables | {"extra"})


async def test_a_function_that_fails_leaves_the_old_version(
    directory: Path, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, package = schema(directory), migration.PACKAGE
    later(LOUDER + "    raise LookupError('a row that nobody can read')")
    with pytest.raises(LookupError, match="nobody can read"):
        await SqliteStore(directory).__aenter__()
    monkeypatch.setattr(migration, "PACKAGE", package)
    assert schema(directory) == before
    async with SqliteStore(directory) as store:
        found = await store.get("Thing", "a")
        assert found is not None
        assert found.data == b"first"


async def test_a_migration_that_fails_leaves_the_old_version(directory: Path) -> None:
    before = schema(directory)
    first = migration.scripts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migration, "scripts", lambda: [*first, "CREATE TABLE extra (x); INSERT INTO nowhere VALUES (1);"])
        with pytest.raises(StartupError, match="nowhere"):
            await SqliteStore(directory).__aenter__()
    assert schema(directory) == before
    async with SqliteStore(directory) as store:
        assert await ids(store) == ["a"]


async def test_a_crash_in_the_middle_of_a_migration_leaves_the_old_version(directory: Path) -> None:
    before = schema(directory)
    assert run(DIE, directory).returncode == -signal.SIGKILL
    assert schema(directory) == before
    async with SqliteStore(directory) as store:
        assert await ids(store) == ["a"]


async def test_a_crash_in_the_middle_of_the_first_migration_leaves_a_database_that_opens(tmp_path: Path) -> None:
    script = DIE.replace("[*first, ", "[first[0] + ")
    assert run(script, tmp_path).returncode == -signal.SIGKILL
    async with SqliteStore(tmp_path) as store:
        await created(store, row("a"))


async def test_a_store_that_nobody_closed_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    ended = run(UNCLOSED, tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "over\n")
    async with SqliteStore(tmp_path) as store:
        assert await ids(store) == ["a"]


OLD = (
    "INSERT INTO resources (kind, id, namespace, slug, created_by, revision, data)"
    " VALUES ('Thing', 'r' || :n, 'acme', iif(:n % 2, 's' || :n, NULL), 'tester', :n, zeroblob(:n))"
)


def of_the_first_version(directory: Path) -> None:
    """A database of 250 rows, as it was before there were checksums; some rows were deleted since."""
    with closing(sqlite3.connect(directory / FILE_NAME, isolation_level=None)) as database:
        with pytest.MonkeyPatch.context() as patch:
            first = migration.scripts()[:1]
            patch.setattr(migration, "scripts", lambda: first)
            migration.migrate(database)
        database.executemany(OLD, [{"n": n} for n in range(1, 251)])
        database.execute("DELETE FROM resources WHERE id IN ('r1', 'r100', 'r101')")
        database.execute("INSERT INTO counters VALUES ('', 250), ('Thing', 247)")


async def test_rows_of_a_version_without_checksums_get_them_and_keep_what_they_held(tmp_path: Path) -> None:
    await asyncio.to_thread(of_the_first_version, tmp_path)
    async with SqliteStore(tmp_path) as store:
        page = await store.page(Query("Thing"), Window(None))
    found = [(one.id, one.namespace, one.slug, one.created_by, one.revision, one.data) for one in page.rows]
    numbers = [n for n in range(250, 0, -1) if n not in {1, 100, 101}]
    assert found == [(f"r{n}", "acme", f"s{n}" if n % 2 else None, "tester", n, bytes(n)) for n in numbers]
    assert page.total == len(numbers)


async def test_a_row_that_was_deleted_by_hand_is_counted_no_more(directory: Path) -> None:
    async with SqliteStore(directory) as store:
        await created(store, row("b", ("tag", "t")))
    delete = "DELETE FROM resources WHERE kind = 'Thing' AND id = 'b'"  # as the README says
    await asyncio.to_thread(changed_by_hand, directory, "PRAGMA foreign_keys = ON", delete)
    async with SqliteStore(directory) as store:
        assert (await store.page(Query("Thing"), Window(1))).total == 1
        assert await ids(store, ("tag", "t")) == []


@pytest.mark.parametrize("damage", ["UPDATE counters SET value = 0", "DELETE FROM counters"])
async def test_no_revision_is_given_twice_where_the_counters_are_damaged(directory: Path, damage: str) -> None:
    async with SqliteStore(directory) as store:
        (last,) = await created(store, row("b"))
    await asyncio.to_thread(changed_by_hand, directory, damage)
    async with SqliteStore(directory) as store:
        (after,) = await created(store, row("c"))
        assert after.revision > last.revision
        assert (await store.page(Query("Thing"), Window(1))).total == 3


async def test_a_large_database_whose_last_revision_is_missing_is_refused(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "WHOLE_BYTES", 0)
    await asyncio.to_thread(changed_by_hand, directory, "DELETE FROM counters")
    with pytest.raises(StartupError, match="its last revision is missing"):
        await SqliteStore(directory).__aenter__()
