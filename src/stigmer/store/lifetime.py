"""Starts and stops that may be cancelled at any moment: nothing is left halfway, and no wait is without an end.

`store.sqlite` opens and closes by it, `server` listens by it, and `app` has it bound the whole of a stop.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE_S = 5.0
"""How long a cancelled caller waits for what it began to be undone; it goes on without the caller then."""

LEAST_S = 0.25
"""What closing a database on a disk that is well takes at most."""


class Grace:
    """How long a stop may take, counted from its first step.

    Args:
        total_s: seconds for all of it.
    """

    def __init__(self, total_s: float) -> None:
        self.total_s = total_s
        self._by: float | None = None

    def __repr__(self) -> str:
        return f"<Grace of {self.total_s:g} s, {'not begun' if self._by is None else f'{self.left_s():.1f} s left'}>"

    def left_s(self) -> float:
        """What is left of it; asked for the first time, all of it."""
        now = time.monotonic()
        if self._by is None:
            self._by = now + self.total_s
        return max(0.0, self._by - now)

    def closing_s(self) -> float:
        """The same for what comes last: however short the grace, a disk that is well has enough of it."""
        return max(LEAST_S, self.left_s())


async def outlast(event: asyncio.Event, within_s: float | None = None) -> bool:
    """Wait for the end of what must not be left halfway.

    A caller that is cancelled waits on, PATIENCE_S more at most, and is cancelled then.

    Returns:
        whether it came within that time.
    """
    by = math.inf if within_s is None else time.monotonic() + within_s
    cancelled: asyncio.CancelledError | None = None
    while not event.is_set() and (left_s := by - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(None if left_s == math.inf else left_s):
                await event.wait()
        except TimeoutError:
            break
        except asyncio.CancelledError as error:
            by = min(by, time.monotonic() + PATIENCE_S) if cancelled is None else by
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return event.is_set()


async def undoable(work: Callable[[threading.Event], T], undo: Callable[[T], None]) -> T:
    """Run blocking work on a thread of its own, whose result must not be left to nobody.

    A caller that is cancelled, at whatever moment, gets nothing of it: the thread undoes it, and the caller waits for
    that PATIENCE_S at most.

    Args:
        work: is handed an event that is set once nobody wants the result any more.
        undo: called on the thread with the result, in place of giving it to the caller.
    """
    job = _Job(work, undo)
    try:
        await job.worked.wait()
    except BaseException as error:
        job.drop()
        if isinstance(error, asyncio.CancelledError):
            with suppress(asyncio.CancelledError):
                await outlast(job.over, PATIENCE_S)
        raise
    return job.kept()


class _Job(Generic[T]):
    """Work on a thread, which at its end waits for the word what shall become of the result."""

    def __init__(self, work: Callable[[threading.Event], T], undo: Callable[[T], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.worked, self.over = asyncio.Event(), asyncio.Event()
        self._work, self._undo = work, undo
        self._unwanted = threading.Event()
        self._verdict: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._results: list[T] = []
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="stigmer start", daemon=True).start()

    def kept(self) -> T:
        """The result, or its failure raised: it is the caller's now."""
        self._verdict.put(True)
        if self._error is not None:
            raise self._error
        return self._results[0]

    def drop(self) -> None:
        """Nobody wants the result any more."""
        self._unwanted.set()
        self._verdict.put(False)

    def _run(self) -> None:
        try:
            self._results.append(self._work(self._unwanted))
        except BaseException as error:  # noqa: BLE001 - it is the caller's to see
            self._error = error
        tell(self._loop, self.worked.set)
        wanted = self._verdict.get()
        if not wanted and self._results:
            self._undo(self._results.pop())
        tell(self._loop, self.over.set)


def tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Have a callback run on a loop, from any thread; nothing where the loop is closed."""
    with suppress(RuntimeError):  # nobody waits there any more
        loop.call_soon_threadsafe(callback)
