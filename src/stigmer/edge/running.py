"""The calls that run, and their end when the server stops.

The door says of each call when it begins and when its request is there; a server of stigmer's drains and cuts.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from stigmer.errors import Stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from stigmer.errors import StigmerError
    from stigmer.pipeline.call import Call


RECHECK_S = 5.0
"""How often the streams that are open are looked at again."""
AT_ONCE = 500
"""So many of them in one turn of the loop."""


class RunningCalls:
    """The calls that run, each in a task of its own; one over the loopback in that of its caller.

    Args:
        recheck: asked every RECHECK_S of each stream of a network: why it is to end; None lets it go on.
    """

    def __init__(self, recheck: Callable[[Call], StigmerError | None] = lambda _call: None) -> None:
        self._recheck = recheck
        self._timer: asyncio.TimerHandle | None = None
        self._running: dict[Call, asyncio.Task[Any]] = {}
        self._finishing: set[Call] = set()
        self._draining = False
        self._idle: asyncio.Event | None = None

    def __repr__(self) -> str:
        return f"<RunningCalls {'draining' if self._draining else 'open'}, {len(self._running)} running>"

    def run(self, call: Call) -> running:
        """Around the whole of a call; raises why the server ended it, where it did."""
        return running(self, call)

    def may_finish(self, call: Call) -> None:
        """The call's request is there and it will not last: from now on only `cut` ends it."""
        self._finishing.add(call)

    def refuse_if_draining(self) -> None:
        """Refuse a call that comes too late.

        Raises:
            Stopping: the server stops.
        """
        if self._draining:
            raise Stopping

    def drain(self) -> Collection[asyncio.Task[Any]]:
        """Refuse new calls, and end those that may last or whose request is not there; the tasks of those."""
        self._draining = True
        return self.end([call for call in self._running if call not in self._finishing], Stopping)

    def cut(self) -> None:
        """End those that still run, each once: a second time would break into their cleaning up."""
        self.end([call for call in self._running if call.ended_by is None], Stopping)

    async def settled(self) -> None:
        """Wait until none runs."""
        self._idle = asyncio.Event()
        while self._running:
            self._idle.clear()
            await self._idle.wait()

    def began(self, call: Call, task: asyncio.Task[Any]) -> None:
        """Note a call that runs."""
        self._running[call] = task
        if call.method.server_streaming and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RECHECK_S, self._look)

    def over(self, call: Call) -> None:
        """Note its end."""
        del self._running[call]
        self._finishing.discard(call)
        if not self._running:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._idle is not None:
                self._idle.set()

    def _look(self) -> None:
        """Look at every stream again."""
        self._timer = None
        streams = [call for call in self._running if call.method.server_streaming]
        if streams:
            self._timer = asyncio.get_running_loop().call_later(RECHECK_S, self._look)
            self._look_at(streams)

    def _look_at(self, streams: list[Call]) -> None:
        for call in streams[:AT_ONCE]:
            error = self._recheck(call) if call in self._running and call.ended_by is None else None
            if error is not None:
                self.end([call], partial(_same, error))
        if left := streams[AT_ONCE:]:
            asyncio.get_running_loop().call_soon(self._look_at, left)

    def end(self, calls: Collection[Call], why: Callable[[], StigmerError]) -> Collection[asyncio.Task[Any]]:
        """End some of those that run, each with an error of its own; their tasks."""
        for call in calls:
            call.ended_by = why()
        tasks = {self._running[call] for call in calls}
        for task in tasks:
            task.cancel()
        return tasks


def _same(error: StigmerError) -> StigmerError:
    return error


class running:  # noqa: N801 - a context manager, used like a function
    """The current task works on a call."""

    __slots__ = ("_call", "_calls", "_task")

    def __init__(self, calls: RunningCalls, call: Call) -> None:
        self._calls, self._call = calls, call

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call is served in a task")
        self._task = task
        self._calls.began(self._call, task)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._calls.over(self._call)
        if self._call.ended_by is not None and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()
            raise self._call.ended_by from None
