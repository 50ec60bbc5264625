"""The steps of handlers: each is charged, and those of a flood that could all go on at once are spread over turns."""

from __future__ import annotations

import asyncio
import gc
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from stigmer.server import pacing
from stigmer.server.pacing import Paced
from stigmer.server.scheduler import TURN_S, Account, Scheduler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

STEP_S = TURN_S / 4


class Clock:
    """Time that passes where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.perf_counter()
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def work(self) -> None:
        self.now += STEP_S


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def little(scheduler: Scheduler) -> Account:
    return scheduler.account("10.0.0.1")


def costly(scheduler: Scheduler) -> Account:
    account = scheduler.account("10.0.0.2")
    scheduler.charge(account, 0.05)
    return account


async def handler(clock: Clock, steps: list[str], name: str, wait: Callable[[], Awaitable[object]]) -> None:
    await wait()
    clock.work()
    steps.append(name)


async def finished(call: Paced) -> None:
    await call


def begun(scheduler: Scheduler, account: Account, begin: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    return asyncio.create_task(finished(Paced(scheduler, account, 0.0, begin)))


async def test_a_flood_that_waits_for_one_thing_goes_on_a_few_steps_a_turn_and_others_go_on_between(
    clock: Clock,
) -> None:
    scheduler, steps, read = Scheduler(), list[str](), asyncio.Event()
    flood = [costly(scheduler) for _ in range(5)]
    tasks = [
        begun(scheduler, flood[number % 5], partial(handler, clock, steps, "flood", read.wait)) for number in range(100)
    ]
    await asyncio.sleep(0)
    assert scheduler.has_time(little(scheduler))  # somebody else asks
    read.set()
    most, others = 0, list[int]()
    while not all(task.done() for task in tasks):
        if len(steps) > 10 and len(others) < 3:
            before = len(steps)
            await begun(
                scheduler, little(scheduler), partial(handler, clock, steps, "other", partial(asyncio.sleep, 0))
            )
            others.append(steps[before:].count("flood"))
        before = len(steps)
        await asyncio.sleep(0)
        most = max(most, len(steps) - before)
    assert most <= 2 * TURN_S / pacing.STEP_S
    assert len(others) == 3
    assert max(others) <= 3 * 2 * TURN_S / pacing.STEP_S  # it needs three turns of the loop


async def test_each_step_is_charged_to_its_connection(clock: Clock) -> None:
    async def three() -> None:
        for _ in range(3):
            clock.work()
            await asyncio.sleep(0)

    scheduler = Scheduler()
    account = little(scheduler)
    before = account.virtual_s
    await Paced(scheduler, account, 0.0, three)
    assert account.virtual_s - before == pytest.approx(3 * STEP_S)


async def test_what_was_said_of_the_first_step_is_set_right(clock: Clock) -> None:
    async def one() -> None:
        clock.work()

    scheduler = Scheduler()
    account = little(scheduler)
    before = account.virtual_s
    scheduler.charge(account, 10 * STEP_S)
    await Paced(scheduler, account, 10 * STEP_S, one)
    assert account.virtual_s - before == pytest.approx(STEP_S)


async def test_a_call_that_is_cancelled_while_it_waits_for_its_turn_ends_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler, ended, read = Scheduler(), list[str](), asyncio.Event()
    account = costly(scheduler)
    monkeypatch.setattr(scheduler, "has_time", lambda _account: False)

    async def told() -> None:
        try:
            await read.wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = begun(scheduler, account, told)
    await asyncio.sleep(0)
    read.set()
    await asyncio.sleep(0)
    assert account.works
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled"]
    await asyncio.sleep(0)
    assert not account.works


async def test_who_only_lets_others_go_first_goes_on_in_the_next_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, slices = Scheduler(), list[int]()
    account = costly(scheduler)
    monkeypatch.setattr(scheduler, "has_time", lambda _account: False)

    async def long_work() -> None:
        for number in range(5):
            slices.append(number)
            await asyncio.sleep(0)

    begun(scheduler, account, long_work)
    for turn in range(5):
        await asyncio.sleep(0)
        assert len(slices) == turn + 1


async def test_an_error_of_what_it_waits_for_and_its_own_pass(clock: Clock) -> None:
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(OSError("the disk"))

    async def fails() -> None:
        with pytest.raises(OSError, match="the disk"):
            await failed
        clock.work()
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        await Paced(scheduler := Scheduler(), little(scheduler), 0.0, fails)


async def test_a_call_that_is_cancelled_before_its_first_step_leaves_nothing_behind(
    recwarn: pytest.WarningsRecorder,
) -> None:
    async def never() -> None:
        raise AssertionError

    task = begun(scheduler := Scheduler(), little(scheduler), never)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    assert not list(recwarn)


async def test_one_that_is_forgotten_closes_what_it_runs() -> None:
    closed = list[str]()

    async def waits() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            closed.append("closed")

    coroutine = finished(Paced(scheduler := Scheduler(), little(scheduler), 0.0, waits))
    coroutine.send(None)
    coroutine.close()
    assert closed == ["closed"]


async def test_a_failure_leaves_no_cycle_for_the_collector() -> None:
    class Reply:
        pass

    kept = list[Reply]()

    async def fails() -> None:
        kept.append(Reply())
        try:
            await asyncio.wait_for(asyncio.get_running_loop().create_future(), 0)
        except TimeoutError:
            await asyncio.sleep(0)
            raise ValueError from None

    gc.collect()
    gc.disable()
    try:
        task = begun(scheduler := Scheduler(), little(scheduler), fails)
        await asyncio.wait((task,))
        assert isinstance(task.exception(), ValueError)
        del task
        kept.clear()
        found = [one for one in gc.get_objects() if isinstance(one, Paced)]
        assert not found
    finally:
        gc.enable()
