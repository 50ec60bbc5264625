"""A call's handler, step by step: what each costs is its connection's, and where that costs much, each waits its turn.

A step is what a handler does between two waits. Many calls may wait for one thing, such as a read of the store: without
this they would all go on in the same turn of the loop. Who only lets others go first goes on in the next one: of long
work one slice runs in each (`wire.slices`), and who has its turn, or a row, must not wait for all others meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from stigmer.server.scheduler import TURN_S

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from stigmer.server.scheduler import Account, Scheduler

STEP_S = 0.0001
"""What a step is taken to cost at least until that is known."""


class Paced:
    """Awaits a coroutine, each step of which waits until the scheduler has time for it; the first had its turn.

    Args:
        scheduler: of all connections.
        account: what the connection costs.
        expected_s: what the first step was said to cost.
        begin: makes the coroutine.

    Attributes:
        left_s: what the next step will cost, as far as one can know: as much as all before it.
    """

    __slots__ = ("_account", "_begin", "_expected_s", "_granted", "_scheduler", "left_s")

    def __init__(
        self, scheduler: Scheduler, account: Account, expected_s: float, begin: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self._scheduler, self._account, self._begin = scheduler, account, begin
        self._expected_s = expected_s
        self._granted: asyncio.Future[None] | None = None
        self.left_s = 0.0

    def __repr__(self) -> str:
        return f"<Paced, {self.left_s:.4f} s so far>"

    def work(self) -> bool:
        """Let it take its next step, in the next turn of the loop; there is no more to do."""
        if self._granted is not None and not self._granted.done():
            self._expected_s = min(max(self.left_s, STEP_S), TURN_S)
            self._scheduler.charge(self._account, self._expected_s)
            self._granted.set_result(None)
        return False

    def __await__(self) -> Generator[Any, Any, None]:
        coroutine, failure = self._begin(), None
        while True:
            began = time.perf_counter()
            try:
                awaited = coroutine.send(None) if failure is None else coroutine.throw(failure)
            except StopIteration:
                return
            finally:
                failure = None  # no cycle with its traceback, which has this frame
                self._took(time.perf_counter() - began)
            try:
                yield awaited
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001  # the coroutine's to see
                failure = error
            if awaited is None or isinstance(failure, asyncio.CancelledError):
                continue
            if not self._scheduler.has_time(self._account):
                try:
                    yield from self._turn()
                except GeneratorExit:
                    coroutine.close()
                    raise
                except asyncio.CancelledError as error:
                    failure = error

    def _took(self, took_s: float) -> None:
        self._scheduler.charge(self._account, took_s - self._expected_s)
        self.left_s += took_s
        self._expected_s = 0.0

    def _turn(self) -> Generator[Any, Any, None]:
        """Wait until the scheduler comes to it."""
        self._granted = asyncio.get_running_loop().create_future()
        self._scheduler.ready(self._account, self)
        try:
            yield from self._granted
        finally:
            self._granted = None
