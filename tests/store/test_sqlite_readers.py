"""Reading workers: who waits no more is not read for, slow reads make way, results wait until they are published."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from store_rows import creating, discarding, ids, row, stored, until

from stigmer.pipeline.call import CURRENT, Call, working_on
from stigmer.store.rows import Query, Window
from stigmer.store.sqlite import SqliteStore, readers
from stigmer.store.sqlite.worker import FairQueue

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
QUICK = "SELECT 1"


def sql(statement: str) -> Callable[[sqlite3.Connection], Any]:
    return lambda connection: connection.execute(statement).fetchone()[0]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    async with SqliteStore(tmp_path, cache_bytes=0) as opened:
        yield opened


@asynccontextmanager
async def held_up(worker: Any) -> AsyncGenerator[None]:
    """The worker's thread is busy within the block."""
    entered, leave = threading.Event(), threading.Event()

    def busy(_: sqlite3.Connection) -> bool:
        entered.set()
        return leave.wait(30)

    waiting = asyncio.create_task(worker.submit(busy))
    await asyncio.to_thread(entered.wait, 20)
    try:
        yield
    finally:
        leave.set()
        await waiting


async def started(*reads: Any) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.ensure_future(read) for read in reads]
    await asyncio.sleep(0)
    return tasks


async def test_a_read_that_nobody_waits_for_never_runs_although_its_batch_is_taken(store: SqliteStore) -> None:
    ran: list[int] = []
    entered, leave = threading.Event(), threading.Event()

    def first(_: sqlite3.Connection) -> None:
        entered.set()
        leave.wait(30)

    one, two, three = await started(
        store._reads.list(first), store._reads.list(lambda _: ran.append(2)), store._reads.list(lambda _: ran.append(3))
    )
    await asyncio.to_thread(entered.wait, 20)
    two.cancel()
    await asyncio.wait((two,))
    leave.set()
    await asyncio.gather(one, three)
    assert ran == [3]


@pytest.mark.parametrize("worker", ["_lists", "_short", "_points", "_slow", "_probes"])
async def test_a_read_that_runs_ends_when_nobody_waits_for_it(store: SqliteStore, worker: str) -> None:
    entered = threading.Event()

    def read(connection: sqlite3.Connection) -> Any:
        entered.set()
        return connection.execute(ENDLESS).fetchone()

    (endless,) = await started(getattr(store._reads, worker).submit(read))
    await asyncio.to_thread(entered.wait, 20)
    endless.cancel()
    await asyncio.wait((endless,))
    assert await getattr(store._reads, worker).submit(sql(QUICK)) == 1
    assert await ids(store) == []


async def test_a_read_that_fails_on_its_way_leaves_no_old_snapshot_to_later_ones(store: SqliteStore) -> None:
    """A damaged record within a list: as long as its error was kept, the same worker's lists stood at that commit."""

    def fails(connection: sqlite3.Connection) -> None:
        found = connection.execute("SELECT name FROM sqlite_master")
        next(found)
        raise KeyError("damaged")

    with pytest.raises(KeyError) as kept:
        await store._reads.list(fails)
    await store.commit(creating(row("r1")))
    assert await store._reads.list(sql("SELECT count(*) FROM resources")) == 1
    assert kept.value.__traceback__ is not None


async def test_a_slow_read_goes_on_elsewhere_and_the_quick_ones_behind_it_do_not_wait(store: SqliteStore) -> None:
    endless, *cheap = await started(store._reads.list(sql(ENDLESS)), *(store._reads.list(sql(QUICK)) for _ in range(9)))
    assert await asyncio.gather(*cheap) == [1] * 9
    await until(lambda: bool(store._reads._slow.is_busy))
    assert await store._reads.list(sql(QUICK)) == 1
    endless.cancel()
    await asyncio.wait((endless,))


async def test_a_slow_read_starts_again_and_gives_what_a_quick_one_would(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BUDGET_S", -1.0)
    await store.commit(creating(*(row(f"r{n}", ("tag", "x")) for n in range(100))))
    page = await store.page(Query("Thing", (("tag", "x"),)), Window(60))
    assert (len(page.rows), page.total, page.more) == (60, 100, True)
    assert await ids(store, limit=1) == ["r99"]


async def test_a_fault_in_one_read_is_its_callers_alone(store: SqliteStore) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")
        raise RuntimeError("a fault")

    async with held_up(store._reads._lists):
        reads = await started(*(store._reads.list(one) for one in (sql(QUICK), fail, sql("no SQL"), sql(QUICK))))
    found = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(one).__name__ for one in found] == ["int", "RuntimeError", "StoreUnavailableError", "int"]
    assert await ids(store) == []


async def test_the_probe_waits_for_no_read(store: SqliteStore) -> None:
    endless = await started(*(store._reads.list(sql(ENDLESS)) for _ in range(10)))
    async with held_up(store._reads._lists), held_up(store._reads._points):
        await store.probe()
        for one in endless:
            one.cancel()
        await asyncio.wait(endless)


async def test_the_probe_passes_the_writes_that_wait(store: SqliteStore) -> None:
    async with held_up_writer(store):
        writes = await started(*(store.commit(creating(row(f"r{n}", data=bytes(1_000_000)))) for n in range(40)))
        (probe,) = await started(store.probe())
        await store._reads.list(sql(QUICK))
        ended = list[asyncio.Future[Any]]()
        for one in (*writes, probe):
            one.add_done_callback(ended.append)
    await asyncio.gather(*writes, probe)
    assert ended[-1] is not probe


@asynccontextmanager
async def held_up_writer(store: SqliteStore) -> AsyncGenerator[None]:
    """The writing thread is busy within the block."""
    entered, leave = threading.Event(), threading.Event()
    real = store._writes._run_batch

    def busy(connection: sqlite3.Connection, batch: Any) -> Any:
        entered.set()
        leave.wait(30)
        return real(connection, batch)

    store._writes._run_batch = busy
    (first,) = await started(store.commit(creating(row("first"))))
    await asyncio.to_thread(entered.wait, 20)
    store._writes._run_batch = real
    try:
        yield
    finally:
        leave.set()
        await first


async def test_what_a_read_saw_is_not_told_before_the_feed_has_told_it(store: SqliteStore) -> None:
    """The commit is in the file, the loop has not heard of it yet; a list saw it."""
    before = stored(await store.commit(creating(row("a"))))
    seen: list[str] = []
    store.feed.listen(lambda change: seen.append(f"told {change.id}"))
    committed, land = threading.Event(), threading.Event()
    real = store._writes._run_batch

    def late(connection: sqlite3.Connection, batch: Any) -> Any:
        outcomes = real(connection, batch)
        committed.set()
        land.wait(30)
        return outcomes

    store._writes._run_batch = late
    (write,) = await started(store.commit(discarding("Thing", before.id)))
    await asyncio.to_thread(committed.wait, 20)

    async def read(name: str, reading: Any) -> None:
        await reading
        seen.append(name)

    reads = await started(
        read("list", store.page(Query("Thing"), Window(10))),
        read("get", store.get("Thing", "a")),
        read("anywhere", store.by_slug_anywhere("Thing", "a")),
        read("newest", store.newest("Thing", "tag", "x")),
    )
    await until(lambda: bool(store._reads._short._held and store._reads._points._held))
    assert seen == []
    land.set()
    await asyncio.gather(write, *reads)
    assert seen[0] == "told a"
    assert sorted(seen[1:]) == ["anywhere", "get", "list", "newest"]


async def test_what_is_held_when_the_store_closes_is_told(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        store._reads._short._is_ahead = lambda _: True
        (page,) = await started(store.page(Query("Thing"), Window(1)))
        await until(lambda: bool(store._reads._short._held))
    assert (await page).rows == []


async def of(peer: str, store: SqliteStore, statement: str, order: list[str]) -> None:
    with working_on(Call(None, peer=peer)):  # type: ignore[arg-type]  # the method does not matter
        await store._reads.list(sql(statement))
    order.append(peer)


async def test_a_flood_of_one_connection_lets_the_others_in_between(store: SqliteStore) -> None:
    """Attack: 500 reads of one connection stood before the one read of another."""
    assert CURRENT.get() is None
    order: list[str] = []
    async with held_up(store._reads._lists):
        flood = await started(*(of("flood", store, QUICK, order) for _ in range(500)))
        (other,) = await started(of("other", store, QUICK, order))
    await asyncio.gather(other, *flood)
    assert order.index("other") < 300  # it shares the first batch


def test_a_fair_queue_gives_each_caller_its_turn() -> None:
    queue = FairQueue[str]()
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        queue.put(item[0], item)
    assert (len(queue), repr(queue)) == (6, "<FairQueue 6 items of 3 callers>")
    taken = [queue.take() for _ in range(4)]
    assert taken == ["a1", "b1", "c1", "a2"]
    queue.put_back([("c", "c1"), ("a", "a2")])
    assert [queue.take() for _ in range(5)] == ["c1", "a2", "c2", "a3", None]
