"""The clock of a deadline is set when the work first waits; from then on it is as if it had been set at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from stigmer.edge.interceptors.deadline import within
from stigmer.errors import DeadlineExceeded
from stigmer.pipeline.call import Call
from stigmer.wire import descriptors

METHOD = next(iter(descriptors.methods().values()))


def a_call(left_s: float) -> Call:
    return Call(METHOD, deadline_s=time.monotonic() + left_s)


async def test_work_that_waits_for_nothing_sets_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> int:
        return 3

    monkeypatch.setattr(asyncio, "timeout", None)
    assert await within(a_call(60), work) == 3


async def test_work_is_not_begun_when_it_is_late() -> None:
    begun: list[int] = []

    async def work() -> None:
        begun.append(1)

    with pytest.raises(DeadlineExceeded):
        await within(a_call(-1), work)
    assert begun == []


async def test_work_that_waits_ends_at_its_deadline_and_may_clean_up() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    with pytest.raises(DeadlineExceeded):
        await within(a_call(0.02), work)
    assert seen == ["cleaned up"]
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0


async def test_work_whose_first_step_takes_too_long_ends_when_it_waits() -> None:
    seen: list[str] = []
    call = a_call(60)

    async def work() -> None:
        call.deadline_s = time.monotonic() - 1
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    with pytest.raises(DeadlineExceeded):
        await within(call, work)
    assert seen == ["cleaned up"]


@pytest.mark.parametrize("waits", [0, 1, 3])
async def test_what_the_work_gives_or_raises_comes_out(waits: int) -> None:
    async def work(error: Exception | None) -> int:
        for _ in range(waits):
            await asyncio.sleep(0)
        if error is not None:
            raise error
        return 3

    assert await within(a_call(60), lambda: work(None)) == 3
    for error in (ValueError("x"), TimeoutError("its own")):
        with pytest.raises(type(error), match=str(error)):
            await within(a_call(60), lambda error=error: work(error))  # type: ignore[misc]  # a default of its own


async def test_a_cancellation_reaches_the_work_and_the_caller() -> None:
    waiting, seen = asyncio.Event(), list[str]()

    async def work() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.create_task(within(a_call(60), work))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]


async def test_work_may_be_no_coroutine() -> None:
    async def numbers() -> Any:
        yield 1

    assert await within(a_call(60), lambda: anext(numbers())) == 1
