"""A question to a host's own code, answered within its time or not at all, whatever that code does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


async def asked(question: Callable[[], Coroutine[object, object, T]], within_s: float) -> asyncio.Task[T] | None:
    """The task of a question that was answered, or has failed; None where it goes on, which it is told to end."""
    task = asyncio.get_running_loop().create_task(_of(question))
    task.add_done_callback(fault_of)  # asyncio complains of failures that nobody asks for
    try:
        await asyncio.wait((task,), timeout=within_s)  # whatever it makes of a cancellation
    finally:
        task.cancel()
    return task if task.done() else None


def fault_of(task: asyncio.Task[T]) -> BaseException | None:
    """How it failed, if it did."""
    return asyncio.CancelledError() if task.cancelled() else task.exception()


async def _of(question: Callable[[], Coroutine[object, object, T]]) -> T:
    """In a task of its own, whatever it is: a host's code may answer what cannot be awaited."""
    return await question()
