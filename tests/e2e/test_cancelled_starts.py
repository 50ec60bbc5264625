"""Every start and stop, cancelled at every await: nothing is left, and it starts again in the same process.

A start that was cancelled while the lock was taken on another thread kept the directory locked.

By default each moment has every third await, so that the three have them all; in `make long` each has all.
"""

from __future__ import annotations

import asyncio
import functools
import signal
import socket
import threading
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from effort import LONG
from leftovers import Leftovers
from store_rows import created, ids, row
from store_stepper import when_woken, while_waiting

from stigmer import app as composition
from stigmer.cli import process
from stigmer.settings import Settings
from stigmer.store.lifetime import undoable
from stigmer.store.sqlite import SqliteStore, opening

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

pytestmark = pytest.mark.longer
MOST_POINTS = 200
STEP = 1 if LONG else 3
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
MOMENTS = {
    "while it waits": functools.partial(while_waiting, patient=True),
    "when it is woken": functools.partial(when_woken, patient=True),
    "again and again": functools.partial(while_waiting, patient=True, again=True),
}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a test on one of the loops."""

    def run(test: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(test)

    return run


def points(moment: str) -> range:
    """The awaits at which a moment cancels."""
    return range(list(MOMENTS).index(moment) % STEP, MOST_POINTS, STEP)


async def at_every_point(moment: str, cycle: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Cancel at each suspension in turn; after each nothing is left, and the cycle runs through. Gives how many."""
    await cycle()
    before = Leftovers()
    for point in points(moment):
        reached = await MOMENTS[moment](point, cycle())
        assert await before.found() == [], f"cancelled at point {point}"
        if not reached:
            return point
        await cycle()
    raise AssertionError("it has more points")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_store(run: Callable[[Coroutine[Any, Any, None]], None], moment: str, tmp_path: Path) -> None:
    async def cycle() -> None:
        async with SqliteStore(tmp_path):
            pass

    async def test() -> None:
        assert await at_every_point(moment, cycle) >= 2

    run(test())


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_store_that_is_stopped_again_when_its_stop_was_cancelled(
    run: Callable[[Coroutine[Any, Any, None]], None], moment: str, tmp_path: Path
) -> None:
    async def test() -> None:
        before = Leftovers()
        for point in points(moment):
            store = await SqliteStore(tmp_path).__aenter__()
            await created(store, row(f"r{point}"))
            reached = await MOMENTS[moment](point, store.__aexit__(None, None, None))
            await store.__aexit__(None, None, None)
            assert await before.found() == []
            async with store:
                assert await ids(store, limit=1) == [f"r{point}"]
            if not reached:
                return
        raise AssertionError("it has more points")

    run(test())


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_server(run: Callable[[Coroutine[Any, Any, None]], None], moment: str, tmp_path: Path) -> None:
    async def cycle() -> None:
        async with composition.serving(Settings(listen=("127.0.0.1:0",), data_dir=tmp_path)):
            pass

    async def test() -> None:
        assert await at_every_point(moment, cycle) > 5

    run(test())


@pytest.mark.parametrize("moment", list(MOMENTS)[1:])
def test_the_whole_of_serve(
    run: Callable[[Coroutine[Any, Any, None]], None], moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def at_once() -> Iterator[asyncio.Future[int]]:
        stop = asyncio.get_running_loop().create_future()
        stop.set_result(signal.SIGTERM)
        yield stop

    monkeypatch.setattr(process, "stop_signals", at_once)
    monkeypatch.setattr(process, "tune", lambda: None)

    async def cycle() -> None:
        await process.serve_until_signal(Settings(listen=("127.0.0.1:0",), data_dir=tmp_path))

    async def test() -> None:
        assert await at_every_point(moment, cycle) > 2

    run(test())


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_stop_of_a_server_that_has_a_client(
    run: Callable[[Coroutine[Any, Any, None]], None], moment: str, tmp_path: Path
) -> None:
    settings = Settings(listen=("127.0.0.1:0",), data_dir=tmp_path)

    async def stopped(point: int) -> bool:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(composition.serving(settings))
            with socket.create_connection(server.address):
                while not server.shared.live:  # noqa: ASYNC110  # until it is accepted
                    await asyncio.sleep(0)
                return await MOMENTS[moment](point, stack.aclose())

    async def test() -> None:
        await stopped(MOST_POINTS)
        before = Leftovers()
        for point in points(moment):
            reached = await stopped(point)
            assert await before.found() == [], f"cancelled at point {point}"
            if not reached:
                assert point > 2
                return

    run(test())


def test_a_start_that_is_cancelled_while_a_long_migration_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    running = threading.Event()

    def migrate(connection: Any) -> None:
        running.set()
        connection.execute(endless)

    async def test() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(opening, "migrate", migrate)
            starting = asyncio.ensure_future(SqliteStore(tmp_path).__aenter__())
            await asyncio.to_thread(running.wait)
            starting.cancel()
            await asyncio.wait((starting,))
            assert starting.cancelled()
        async with SqliteStore(tmp_path):
            pass

    asyncio.run(test())


async def test_who_cancels_a_start_on_a_disk_that_does_not_answer_waits_a_while_and_the_thread_undoes_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stigmer.store.lifetime.PATIENCE_S", 0.05)
    begun, disk, undone = threading.Event(), threading.Event(), threading.Event()

    def open_(_: threading.Event) -> str:
        begun.set()
        disk.wait()
        return "open"

    starting = asyncio.ensure_future(undoable(open_, undo=lambda what: undone.set() if what == "open" else None))
    await asyncio.to_thread(begun.wait)
    starting.cancel()
    await asyncio.wait((starting,))
    assert starting.cancelled()
    assert not undone.is_set()
    disk.set()
    await asyncio.to_thread(undone.wait)
