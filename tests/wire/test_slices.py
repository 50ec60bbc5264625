"""Long work is done in slices, one piece of long work at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from stigmer.wire import slices
from stigmer.wire.slices import SLICE_S, Slices, at_once

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP_S = SLICE_S / 5


class Clock:
    """The slices' own: it goes on with the work alone, however loaded the machine is."""

    now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s


CLOCK = Clock()


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "time", CLOCK)


def steps(number: int, log: list[str] | None = None, name: str = "") -> Iterator[int | None]:
    for index in range(number):
        CLOCK.now_s += STEP_S
        if log is not None:
            log.append(name)
        yield index if index % 2 else None


async def turns_during(work: asyncio.Task[list[int]]) -> int:
    """How often the loop goes round until the work is done."""
    count = 0
    while not work.done():
        await asyncio.sleep(0)
        count += 1
    return count


async def busy(work: Slices) -> None:
    """Wait until long work is on."""
    for _ in range(1_000):
        if "busy" in repr(work):
            return
        await asyncio.sleep(0)
    raise AssertionError("never busy")


async def test_it_gives_what_the_work_gives() -> None:
    assert await Slices().run(steps(40)) == list(range(1, 40, 2))
    assert at_once(steps(4)) == [1, 3]
    assert await Slices().run([]) == []


async def test_the_loop_has_its_turn_between_the_slices() -> None:
    work = asyncio.create_task(Slices().run(steps(100)))
    assert await turns_during(work) >= 100 * STEP_S / SLICE_S / 4


async def test_short_work_waits_for_nobody_and_lets_nobody_in() -> None:
    both = Slices()
    long = asyncio.create_task(both.run(steps(200)))
    await busy(both)
    short = asyncio.create_task(both.run(steps(2)))
    await asyncio.sleep(0)
    assert short.done()
    assert not long.done()
    await long
    assert "idle" in repr(both)


async def test_of_two_long_ones_the_second_waits_after_its_first_slice() -> None:
    """So that a turn of the loop sees one slice, however many callers ask for long work at once."""
    both, log = Slices(), list[str]()
    await asyncio.gather(both.run(steps(60, log, "a")), both.run(steps(60, log, "b")))
    last_of_a = len(log) - 1 - log[::-1].index("a")
    assert log[last_of_a:].count("b") >= 40


async def test_a_failure_and_a_cancellation_leave_the_turn_to_the_next() -> None:
    all_work = Slices()

    def failing() -> Iterator[None]:
        for _ in steps(20):
            yield None
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await all_work.run(failing())
    work = asyncio.create_task(all_work.run(steps(10_000)))
    await busy(all_work)
    work.cancel()
    await asyncio.wait([work])
    assert work.cancelled()
    assert await all_work.run(steps(20)) == list(range(1, 20, 2))
