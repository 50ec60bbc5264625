"""Cancels a coroutine at a chosen point: for tests that cancel at every one."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
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
        self,
        coroutine: Coroutine[Any, Any, T],
        point: int,
        at_point: Callable[[asyncio.Future[Any] | None], None],
        *,
        patient: bool = False,
        again: bool = False,
    ) -> None:
        """Keep the coroutine.

        Args:
            coroutine: runs when this is awaited.
            point: the number of the suspension.
            at_point: called there.
            patient: whether it may wait again once it was cancelled.
            again: call `at_point` whenever it does.
        """
        self.count = 0
        self._patient, self._again = patient, again
        self._coroutine = coroutine
        self._point = point
        self._at_point = at_point

    def __await__(self) -> Generator[Any, Any, Any]:
        step, cancelled = partial(self._coroutine.send, None), False
        while True:
            try:
                waited_for = step()
            except StopIteration as stop:
                return stop.value
            assert not cancelled or self._patient, "it waits again when it is cancelled"
            if self.count == self._point or (cancelled and self._again):
                self._at_point(waited_for)
            self.count += 1
            step = partial(self._coroutine.send, None)
            try:
                yield waited_for
            except BaseException as error:  # noqa: BLE001 - the coroutine decides what becomes of a cancellation
                step, cancelled = partial(self._coroutine.throw, error), True


async def while_waiting(
    point: int, coroutine: Coroutine[Any, Any, T], *, patient: bool = False, again: bool = False
) -> bool:
    """Cancel while the coroutine waits at its suspension number `point`; see `Suspensions`.

    Returns:
        whether it came so far.
    """

    def cancel(_: object) -> None:
        asyncio.get_running_loop().call_soon(task.cancel)

    watched = Suspensions(coroutine, point, cancel, patient=patient, again=again)
    task = asyncio.ensure_future(_run(watched))
    await asyncio.wait((task,))
    return watched.count > point


async def when_woken(
    point: int, coroutine: Coroutine[Any, Any, T], *, patient: bool = False, again: bool = False
) -> bool:
    """Cancel when what suspension number `point` waits for is done, before the coroutine goes on.

    Returns:
        whether it came so far.
    """

    def cancel(waited_for: asyncio.Future[Any] | None) -> None:
        if waited_for is None:
            asyncio.get_running_loop().call_soon(task.cancel)
        else:
            waited_for.add_done_callback(lambda _: task.cancel())

    watched = Suspensions(coroutine, point, cancel, patient=patient, again=again)
    task = asyncio.ensure_future(_run(watched))
    await asyncio.wait((task,))
    return watched.count > point


async def _run(watched: Suspensions) -> Any:
    assert inspect.iscoroutine(watched._coroutine)
    return await watched
