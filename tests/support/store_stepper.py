"""Cancels a coroutine at a chosen point: for tests that cancel at every one."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")


async def after_iterations(number: int, coroutine: Coroutine[Any, Any, T]) -> T | None:
    """Run, and cancel after so many iterations of the event loop; gives None where it was cancelled."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(number):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    return None if task.cancelled() else task.result()


class Suspensions:
    """Runs a coroutine when awaited; calls `at_point` with the future that it is about to wait for at one suspension.

    Attributes:
        count: how many times the coroutine was suspended.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], point: int, at_point: Callable[[asyncio.Future[Any] | None], None]
    ) -> None:
        self.count = 0
        self._coroutine = coroutine
        self._point = point
        self._at_point = at_point

    def __await__(self) -> Generator[Any, Any, Any]:
        while True:
            try:
                waited_for = self._coroutine.send(None)
            except StopIteration as stop:
                return stop.value
            if self.count == self._point:
                self._at_point(waited_for)
            self.count += 1
            try:
                yield waited_for
            except BaseException as error:  # noqa: BLE001 - the coroutine decides what becomes of a cancellation
                try:
                    self._coroutine.throw(error)
                except StopIteration as stop:
                    return stop.value
                raise AssertionError("it waits again when it is cancelled") from None


async def while_waiting(point: int, coroutine: Coroutine[Any, Any, T]) -> bool:
    """Cancel while the coroutine waits at its suspension number `point`.

    Returns:
        whether it came so far.
    """

    def cancel(_: object) -> None:
        asyncio.get_running_loop().call_soon(task.cancel)

    watched = Suspensions(coroutine, point, cancel)
    task = asyncio.ensure_future(_run(watched))
    await asyncio.wait((task,))
    return watched.count > point


async def when_woken(point: int, coroutine: Coroutine[Any, Any, T]) -> bool:
    """Cancel when what suspension number `point` waits for is done, before the coroutine goes on.

    Returns:
        whether it came so far.
    """

    def cancel(waited_for: asyncio.Future[Any] | None) -> None:
        if waited_for is None:
            asyncio.get_running_loop().call_soon(task.cancel)
        else:
            waited_for.add_done_callback(lambda _: task.cancel())

    watched = Suspensions(coroutine, point, cancel)
    task = asyncio.ensure_future(_run(watched))
    await asyncio.wait((task,))
    return watched.count > point


async def _run(watched: Suspensions) -> Any:
    assert inspect.iscoroutine(watched._coroutine)
    return await watched
