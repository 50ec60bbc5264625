"""A worker: batches on a connection's own thread."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from stigmer.store.errors import StoreUnavailableError
from stigmer.store.sqlite.connection import SqliteConnection, connect
from stigmer.store.sqlite.worker import BATCH, BatchWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from typing import TypeAlias

    Opener: TypeAlias = Callable[[], AbstractAsyncContextManager[BatchWorker[int, int]]]


class Batches:
    """Doubles each item, notes the batches; waits at the gate when it is shut."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, connection: sqlite3.Connection, items: Sequence[int]) -> list[int | Exception]:
        self.gate.wait()
        self.seen.append(list(items))
        self.threads.add(threading.get_ident())
        if 13 in items:
            raise RuntimeError("a fault")
        if 14 in items:
            connection.execute("no SQL")
        return [KeyError(item) if item < 0 else 2 * item for item in items]


@pytest.fixture
def batches() -> Batches:
    return Batches()


@asynccontextmanager
async def running(worker: BatchWorker[int, int]) -> AsyncIterator[BatchWorker[int, int]]:
    """An open worker; at the end, when it is settled, its connection is closed as well."""
    worker.open()
    try:
        yield worker
    finally:
        worker.shut()
        await worker.settled()
        await ended(worker)


async def ended(worker: BatchWorker[int, int]) -> None:
    over = threading.Event()
    worker.connection.end(over.set)
    await asyncio.to_thread(worker.connection._thread.join)
    assert over.is_set()


@pytest.fixture
def fresh(tmp_path: Path, batches: Batches) -> Callable[[], BatchWorker[int, int]]:
    """Makes a worker that is not open; call it inside the loop."""
    return lambda: BatchWorker(
        SqliteConnection(connect(tmp_path / "worker.db", timeout_s=1, kind=sqlite3.Connection)), batches
    )


@pytest.fixture
def worker(
    fresh: Callable[[], BatchWorker[int, int]],
) -> Callable[[], AbstractAsyncContextManager[BatchWorker[int, int]]]:
    """Makes a worker, open while it is entered; call it inside the loop."""
    return lambda: running(fresh())


async def submitted(worker: BatchWorker[int, int], *items: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.ensure_future(worker.submit(item)) for item in items]
    await asyncio.sleep(0)  # they stand in the queue
    return tasks


async def blocked(worker: BatchWorker[int, int], batches: Batches) -> asyncio.Task[int]:
    """An item that is handed over and waits at the gate."""
    batches.gate.clear()
    (task,) = await submitted(worker, 0)
    return task


async def test_an_item_is_run_on_the_connections_thread(worker: Opener, batches: Batches) -> None:
    async with worker() as opened:
        assert await opened.submit(21) == 42
    assert threading.get_ident() not in batches.threads


async def test_what_arrives_while_a_batch_runs_goes_together(worker: Opener, batches: Batches) -> None:
    async with worker() as opened:
        first = await blocked(opened, batches)
        others = await submitted(opened, 1, 2, 3)
        assert repr(opened) == "<BatchWorker open, 3 waiting>"
        batches.gate.set()
        assert list(await asyncio.gather(first, *others)) == [0, 2, 4, 6]
    assert batches.seen == [[0], [1, 2, 3]]
    assert repr(opened) == "<BatchWorker closed, 0 waiting>"


async def test_a_batch_is_bounded_and_in_order(worker: Opener, batches: Batches) -> None:
    items = range(100, 100 + BATCH + 5)
    async with worker() as opened:
        first = await blocked(opened, batches)
        others = await submitted(opened, *items)
        batches.gate.set()
        await asyncio.gather(first, *others)
    assert batches.seen == [[0], list(items[:BATCH]), list(items[BATCH:])]


async def test_an_item_that_fails_leaves_the_others_alone(worker: Opener) -> None:
    async with worker() as opened:
        one, two, three = await asyncio.gather(*await submitted(opened, 1, -1, 3), return_exceptions=True)
    assert (one, three) == (2, 6)
    assert isinstance(two, KeyError)


async def test_an_item_that_is_cancelled_before_its_batch_is_taken_never_runs(worker: Opener, batches: Batches) -> None:
    async with worker() as opened:
        first = await blocked(opened, batches)
        one, two = await submitted(opened, 1, 2)
        one.cancel()
        await asyncio.wait((one,))
        batches.gate.set()
        assert list(await asyncio.gather(first, two)) == [0, 4]
    assert batches.seen == [[0], [2]]


async def test_a_whole_queue_may_be_cancelled(worker: Opener, batches: Batches) -> None:
    async with worker() as opened:
        first = await blocked(opened, batches)
        others = await submitted(opened, 1, 2)
        for other in others:
            other.cancel()
        await asyncio.wait(others)
        batches.gate.set()
        await first
        assert await opened.submit(3) == 6
    assert batches.seen == [[0], [3]]


async def test_an_item_that_is_cancelled_while_it_runs_is_run_to_its_end(tmp_path: Path, batches: Batches) -> None:
    landed: list[list[object]] = []
    connection = SqliteConnection(connect(tmp_path / "worker.db", timeout_s=1, kind=sqlite3.Connection))
    async with running(BatchWorker(connection, batches, lambda _, results: landed.append(list(results)))) as opened:
        first = await blocked(opened, batches)
        first.cancel()
        await asyncio.wait((first,))
        batches.gate.set()
        assert await opened.submit(5) == 10
    assert landed == [[0], [10]]


@pytest.mark.parametrize(("bad", "expected"), [(13, RuntimeError), (14, StoreUnavailableError)])
async def test_a_batch_that_fails_as_a_whole_fails_its_items_and_the_lane_goes_on(
    worker: Opener, batches: Batches, bad: int, expected: type[Exception]
) -> None:
    async with worker() as opened:
        first = await blocked(opened, batches)
        others = await submitted(opened, 1, bad)
        batches.gate.set()
        assert await first == 0
        results = await asyncio.gather(*others, return_exceptions=True)
        assert [type(result) for result in results] == [expected, expected]
        assert await opened.submit(2) == 4


async def test_a_shut_lane_takes_nothing_more_but_ends_what_it_took(
    fresh: Callable[[], BatchWorker[int, int]], batches: Batches
) -> None:
    opened = fresh()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await opened.submit(1)
    async with running(opened):
        first = await blocked(opened, batches)
        others = await submitted(opened, 1, 2)
        opened.shut()
        with pytest.raises(StoreUnavailableError, match="closed"):
            await opened.submit(3)
        batches.gate.set()
        await opened.settled()
        assert list(await asyncio.gather(first, *others)) == [0, 2, 4]


async def test_a_connection_that_is_ended_early_ends_its_thread_and_every_waiter(
    fresh: Callable[[], BatchWorker[int, int]], batches: Batches
) -> None:
    opened = fresh()
    opened.open()
    first = await blocked(opened, batches)
    others = await submitted(opened, 1, 2)
    opened.shut()
    settling = asyncio.ensure_future(opened.settled())
    await asyncio.sleep(0)
    settling.cancel()
    ending = asyncio.ensure_future(ended(opened))
    await asyncio.sleep(0)
    batches.gate.set()
    await ending
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert results[0] == 0
    assert all(isinstance(result, StoreUnavailableError) for result in results[1:])
