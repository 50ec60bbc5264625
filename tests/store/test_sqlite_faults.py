"""SqliteStore when the disk or the database fails while it runs, and when it is well again."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from store_rows import changed, created, creating, ids, requiring, row, stored, together, updating

from stigmer.errors import StartupError
from stigmer.store.changes import Changes, Put
from stigmer.store.errors import ConflictError, DamagedError, StoreUnavailableError
from stigmer.store.lifetime import Grace
from stigmer.store.rows import ABSENT, Query, Window
from stigmer.store.sqlite import SqliteStore, inspection, migration, opening
from stigmer.store.sqlite.files import FILE_NAME, WatchedFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FULL_DISK = """
import asyncio, pathlib, resource, sys
from store_rows import created, ids, row
from stigmer.store.errors import StoreUnavailableError
from stigmer.store.sqlite import SqliteStore

directory = pathlib.Path(sys.argv[1])
limits = resource.getrlimit(resource.RLIMIT_FSIZE)

async def main():
    async with SqliteStore(directory) as store:
        written = ["r0"]
        await created(store, row("r0"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
        try:
            for number in range(1, 1000):
                await created(store, row(f"r{number}", data=bytes(20_000)))
                written.append(f"r{number}")
        except StoreUnavailableError as error:
            print("refused", type(error.__cause__).__name__)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
            try:
                await store.probe()
            except StoreUnavailableError:
                print("ill")
        assert await ids(store) == written[::-1], "reads go on"
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        await store.probe()
        await created(store, row("after"))
        written.append("after")
    async with SqliteStore(directory) as store:
        assert await ids(store) == written[::-1], "what was acknowledged is there"

asyncio.run(main())
"""


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    """A store without cache that does not wait long for locks."""
    monkeypatch.setattr(opening, "BUSY_TIMEOUT_S", 0.02)
    async with SqliteStore(tmp_path, cache_bytes=0) as opened:
        yield opened


def test_a_disk_that_is_full_refuses_writes_until_there_is_room(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "refused OperationalError\nill\n", "")


async def test_a_database_that_is_full_refuses_the_whole_batch_and_takes_the_next(store: SqliteStore) -> None:
    async def limit(pages: int) -> None:
        await store._writes.connection.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}"))

    (one,) = await created(store, row("a"))
    await limit(1)  # SQLite takes the present size instead
    with pytest.raises(StoreUnavailableError, match="full"):
        await store.commit(creating(row("big", data=bytes(100_000)), row("b")))
    assert await ids(store) == ["a"]
    await limit(100_000)
    second = stored(await store.commit(updating(changed(one, b"second"))))
    assert second.revision == one.revision + 1
    await created(store, row("b"))
    assert await ids(store) == ["b", "a"]
    assert (await store.page(Query("Thing"), Window(1))).total == 2


async def test_a_connection_that_fails_is_unavailable_and_well_again(store: SqliteStore) -> None:
    (one,) = await created(store, row("a"))

    async def interrupt(on: bool) -> None:
        for worker in (store._writes, *store._reads.workers):
            await worker.connection.run(
                lambda connection: connection.set_progress_handler((lambda: 1) if on else None, 1)
            )

    await interrupt(on=True)
    for call in (
        store.get("Thing", "a"),
        store.by_slug("Thing", "a", ""),
        store.by_slug_anywhere("Thing", "a"),
        store.page(Query("Thing"), Window(1)),
        store.commit(creating(row("b"))),
        store.probe(),
    ):
        with pytest.raises(StoreUnavailableError, match="the database does not answer: interrupted"):
            await call
    await interrupt(on=False)
    await store.probe()
    assert stored(await store.commit(updating(changed(await store.get("Thing", "a"), b"second")))).id == one.id
    assert await ids(store) == ["a"]


async def test_a_database_that_another_program_locks_refuses_writes_until_it_is_free(
    store: SqliteStore, tmp_path: Path
) -> None:
    await created(store, row("a"))
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="locked"):
            await store.commit(creating(row("b")))
        with pytest.raises(StoreUnavailableError, match="locked"):
            await store.probe()
        assert await ids(store) == ["a"]
    await store.probe()
    await created(store, row("b"))
    assert await ids(store) == ["b", "a"]


async def test_a_fault_in_the_writer_leaves_no_transaction_open(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr("stigmer.store.sqlite.writer._Application.head", fail)
        with pytest.raises(RuntimeError, match="a fault"):
            await store.commit(together(creating(row("b")), requiring("Thing", "b")))
    await created(store, row("a"))
    assert await ids(store) == ["a"]


async def test_a_transaction_alone_takes_no_savepoint_and_leaves_nothing_when_it_is_refused(store: SqliteStore) -> None:
    """A savepoint keeps in memory every page that a large deletion touches."""
    ran: list[str] = []
    await store._writes.connection.run(lambda connection: connection.set_trace_callback(ran.append))
    await store.commit(creating(row("a"), row("b")))
    with pytest.raises(ConflictError):
        await store.commit(creating(row("c"), row("d"), row("a")))
    assert [statement for statement in ran if "SAVEPOINT" in statement] == []
    (last,) = await created(store, row("e"))
    assert (await ids(store), last.revision) == (["e", "b", "a"], 3)
    assert (await store.page(Query("Thing"), Window(1))).total == 3


async def test_a_statement_that_fails_rolls_the_whole_batch_back(store: SqliteStore) -> None:
    async def execute(statement: str) -> None:
        await store._writes.connection.run(lambda connection: connection.execute(statement))

    (one,) = await created(store, row("a"))
    await execute("CREATE TEMP TRIGGER fault BEFORE INSERT ON main.counters BEGIN SELECT RAISE(FAIL, 'a fault'); END")
    results = await asyncio.gather(
        *(store.commit(creating(row(f"r{number}"))) for number in range(5)), return_exceptions=True
    )
    assert [type(result) for result in results] == [StoreUnavailableError] * 5
    assert await ids(store) == ["a"]
    await execute("DROP TRIGGER fault")
    (two,) = await created(store, row("b"))
    assert (two.revision, two.sequence) == (one.revision + 1, one.sequence + 1)
    assert await ids(store) == ["b", "a"]


@pytest.mark.parametrize("name", ["stigmer.db", "stigmer.lock"])
@pytest.mark.parametrize("fate", ["deleted", "replaced"])
async def test_a_file_that_is_taken_away_stops_all_writes(tmp_path: Path, name: str, fate: str) -> None:
    async with SqliteStore(tmp_path) as store:
        await store.probe()
        file = tmp_path / name
        aside = file.rename(tmp_path / "aside")
        if fate == "replaced":
            file.write_bytes(b"")
        for attempt in (store.probe(), store.commit(Changes(puts=[Put(row("a"), ABSENT)]))):
            with pytest.raises(StoreUnavailableError, match=f"{name} was deleted or replaced"):
                await attempt
        aside.rename(file)
        await store.commit(Changes(puts=[Put(row("a"), ABSENT)]))
        await store.probe()


async def test_a_store_whose_disk_does_not_answer_is_left_when_the_grace_is_over_and_closes_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A close waited for an fsync without end."""
    begun, disk, hung = threading.Event(), threading.Event(), list[bool]()

    def check(_: WatchedFile) -> None:
        if hung:
            begun.set()
            disk.wait()

    monkeypatch.setattr(WatchedFile, "check", check)

    store = await SqliteStore(tmp_path, grace=Grace(0.3)).__aenter__()
    (kept,) = await created(store, row("a"))
    hung.append(True)
    commit = asyncio.ensure_future(store.commit(creating(row("b"))))
    await asyncio.to_thread(begun.wait)
    with pytest.raises(StoreUnavailableError, match="does not close, because the disk does not answer"):
        await store.__aexit__(None, None, None)
    with pytest.raises(StartupError, match="another stigmer has the data directory"):
        await SqliteStore(tmp_path).__aenter__()
    disk.set()
    await commit
    await asyncio.to_thread(store._writes.connection._thread.join)
    async with SqliteStore(tmp_path) as again:
        assert await ids(again) == ["b", kept.id]


async def overwritten(directory: Path, table: str) -> None:
    """Fill the root page of a table or index with rubbish."""
    with closing(sqlite3.connect(directory / FILE_NAME)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        (bytes_,) = database.execute("PRAGMA page_size").fetchone()
    with await asyncio.to_thread((directory / FILE_NAME).open, "r+b") as file:
        file.seek((page - 1) * bytes_)
        file.write(b"\xa5" * bytes_)


INDEXES = (
    *("resources_by_id", "resources_by_slug", "resources_by_owned_slug", "resources_by_owner"),
    *("resources_by_shared", "resource_keys_by_sequence", "resource_keys_by_owner", "resource_keys_shared"),
)


USES = ("uses_by_time",)


def test_every_index_of_rows_is_damaged_here() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        migration.migrate(database)
        made = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE%INDEX%'")}
    assert made == {*INDEXES, *USES, "resources_by_kind"}  # without the last it does not start: rows are counted by it


@pytest.mark.parametrize("table", ["resources", "resource_keys", *INDEXES])
async def test_what_sqlite_calls_malformed_is_damage_and_the_probe_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """A malformed database was 'try again', and the health SERVING."""
    async with SqliteStore(tmp_path) as store:
        await created(store, *(row(f"r{n}", ("tag", "t"), data=bytes(3000)) for n in range(20)))
    await overwritten(tmp_path, table)
    monkeypatch.setattr(inspection, "WHOLE_BYTES", 0)  # as of a large file, which is not checked as a whole
    async with SqliteStore(tmp_path, cache_bytes=0) as store:
        with pytest.raises(DamagedError):
            await store.probe()
        if table in {"resources", "resources_by_id"}:
            with pytest.raises(DamagedError) as caught:
                await store.get("Thing", "r3")
            assert (caught.value.kind, caught.value.id) == ("Thing", "r3")
        with pytest.raises(DamagedError) as caught:
            await store.commit(creating(row("b", ("tag", "t"))))
        assert (caught.value.kind, caught.value.id) == ("Thing", "b")


@pytest.mark.parametrize("table", ["uses", *USES])
async def test_where_it_cannot_be_told_what_was_used_when_the_probe_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    used = Changes(uses={("Thing", f"r{number}"): number for number in range(20)})
    async with SqliteStore(tmp_path) as store:
        await created(store, *(row(f"r{number}") for number in range(20)))
        await store.commit(used)
    await overwritten(tmp_path, table)
    monkeypatch.setattr(inspection, "WHOLE_BYTES", 0)
    async with SqliteStore(tmp_path, cache_bytes=0) as store:
        with pytest.raises(DamagedError):
            await store.probe()
        with pytest.raises(DamagedError):
            await store.commit(Changes(uses={("Thing", "r3"): 100}))
        assert len(await ids(store)) == 20


async def test_who_does_not_meet_the_damage_does_not_suffer_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SqliteStore(tmp_path) as store:
        await created(store, row("a", kind="Other"))
        await created(store, row("a"))
    await overwritten(tmp_path, "resource_keys")
    monkeypatch.setattr(inspection, "WHOLE_BYTES", 0)
    async with SqliteStore(tmp_path) as store:
        commits = [store.commit(creating(row("b", ("tag", "t")))), store.commit(creating(row("c")))]
        hurt, well = await asyncio.gather(*commits, return_exceptions=True)
        assert isinstance(hurt, DamagedError)
        assert stored(well).id == "c"  # type: ignore[arg-type]  # no exception
        assert await ids(store) == ["c", "a"]
