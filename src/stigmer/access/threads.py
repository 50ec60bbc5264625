"""Threads for what waits for a disk, or keeps a processor busy for long, while the loop goes on."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def on_thread(work: Callable[[], T]) -> T:
    """Run work that nothing is to be undone of on a thread of its own; its result, or its failure raised.

    A caller that is cancelled goes on at once, and the process ends without the thread: a disk that does not answer
    holds up neither. (anyio's threads, and those of asyncio, are waited for at the exit.)
    """
    result: Future[T] = Future()
    result.set_running_or_notify_cancel()  # from now on it takes a result, even when nobody waits any more

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as failure:  # noqa: BLE001  # it is the caller's to see
            result.set_exception(failure)

    threading.Thread(target=run, name="stigmer", daemon=True).start()
    return await asyncio.wrap_future(result)
