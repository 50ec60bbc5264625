"""Threads for what waits for a disk, or keeps a processor busy for long, while the loop goes on."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def on_thread(work: Callable[[], T]) -> T:
    """Run work that nothing is to be undone of on a thread of its own; its result, or its failure raised.

    A caller that is cancelled goes on at once, and the process ends without the thread: a disk that does not answer
    holds up neither. (anyio's threads, and those of asyncio, are waited for at the exit.)
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if result.cancelled():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)  # type: ignore[arg-type]  # None is a value as well

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except BaseException as failure:  # noqa: BLE001  # it is the caller's to see
            error = failure
        with suppress(RuntimeError):  # the loop is closed, nobody waits there any more
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, name="stigmer access", daemon=True).start()
    return await result
