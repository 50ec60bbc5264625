"""Jobs of several planes on one store: each is done by one of them at a time, and by another when that is gone."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from stigmer.pipeline.jobs import TABLE, Job, Jobs
from stigmer.store.changes import Changes
from stigmer.store.memory import MemoryStore
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from stigmer.store.contract import Store

LEASE_S = 30.0
SHORT_S = 0.15


@dataclass
class Work:
    """Notes who does it, and waits at a gate."""

    done: list[str] = field(default_factory=list)
    at_work: set[str] = field(default_factory=set)
    cancelled: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    error: BaseException | None = None

    def job(self, who: str, every_s: float = 3600.0, name: str = "sweep", first_s: float = 0.0) -> Job:
        async def work() -> None:
            assert not self.at_work
            self.at_work.add(who)
            try:
                await self.gate.wait()
                if self.error is not None:
                    raise self.error
                self.done.append(who)
            except asyncio.CancelledError:
                self.cancelled.append(who)
                raise
            finally:
                self.at_work.discard(who)

        return Job(name, every_s, work, first_s)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    async with MemoryStore() if request.param == "memory" else SqliteStore(tmp_path) as opened:
        yield opened


@asynccontextmanager
async def running(store: Store, *jobs: Job, lease_s: float = LEASE_S) -> AsyncGenerator[Jobs]:
    plane = Jobs(store, jobs, lease_s)
    plane.start()
    try:
        yield plane
    finally:
        await plane.stop()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        for _ in iter(holds, True):
            await asyncio.sleep(0.001)


async def test_of_two_planes_one_does_a_job_and_not_again_before_it_is_due(store: Store) -> None:
    work = Work()
    work.gate.set()
    async with running(store, work.job("a")), running(store, work.job("b")):
        await until(lambda: bool(work.done))
        async with running(store, work.job("c")):
            for _ in range(20):
                await store.probe()
                await asyncio.sleep(0)
    assert len(work.done) == 1


async def test_a_job_that_takes_longer_than_its_lease_keeps_it(store: Store) -> None:
    work = Work()
    async with running(store, work.job("a"), lease_s=1.5):  # renewed after half a second
        await until(lambda: bool(work.at_work))
        first = await store.record(TABLE, "sweep")
        async with running(store, work.job("b")):
            renewed = first
            while renewed == first:
                await asyncio.sleep(0.01)
                renewed = await store.record(TABLE, "sweep")
            assert work.at_work == {"a"}
            work.gate.set()
            await until(lambda: bool(work.done))
    assert (work.done, work.cancelled) == (["a"], [])


async def test_when_a_plane_ends_its_work_is_cancelled_and_another_takes_over_once_the_lease_is_over(
    store: Store,
) -> None:
    work = Work()
    async with running(store, work.job("a"), lease_s=SHORT_S) as plane:
        await until(lambda: bool(work.at_work))
        assert repr(plane) == "<Jobs sweep>"
    assert work.cancelled == ["a"]
    work.gate.set()
    async with running(store, work.job("b")):
        await until(lambda: bool(work.done))
    assert work.done == ["b"]


async def test_who_loses_the_lease_stops_working(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    async with running(store, work.job("a"), lease_s=SHORT_S):
        await until(lambda: bool(work.at_work))
        taken = f"{await store.now_ms() + 3_600_000}/another".encode()
        await store.commit(Changes(records={(TABLE, "sweep"): taken}))
        await until(lambda: bool(work.cancelled))
        found = await store.record(TABLE, "sweep")
    assert found is not None
    assert (found.value, work.done) == (taken, [])
    assert [record.levelname for record in caplog.records if "lease" in str(record.msg)] == ["WARNING"]


@pytest.mark.parametrize("error", [LookupError(), asyncio.CancelledError()], ids=repr)
async def test_a_job_that_fails_is_logged_and_done_again_when_it_is_due_and_the_others_go_on(
    store: Store, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    bad, good = Work(error=error), Work()
    bad.gate.set()
    good.gate.set()
    async with running(store, bad.job("bad", 0.01, name="bad"), good.job("good", 0.01, name="good")):
        await until(lambda: len(good.done) > 3)
        bad.error = None
        await until(lambda: len(bad.done) > 1)
    failed = [record for record in caplog.records if "A job failed" in str(record.msg)]
    assert failed
    assert failed[0].exc_info is not None


async def test_a_job_is_not_looked_at_before_its_time(store: Store) -> None:
    work = Work()
    work.gate.set()
    async with running(store, work.job("late", first_s=3600.0), work.job("now", name="other")):
        await until(lambda: bool(work.done))
        assert await store.record(TABLE, "sweep") is None
    assert work.done == ["now"]


async def test_a_plane_that_never_started_stops_at_once(store: Store) -> None:
    await Jobs(store, ()).stop()
