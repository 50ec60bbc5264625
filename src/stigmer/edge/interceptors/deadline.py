"""The caller's deadline: when it has passed, the work is cancelled."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast

from stigmer.edge.interceptors.tracing import within_span
from stigmer.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import TracebackType

    from stigmer.pipeline.call import Call

T = TypeVar("T")


async def within(call: Call, work: Callable[[], Awaitable[T]]) -> T:
    """What the work gives, if it does before the call's deadline; the call's span is current meanwhile.

    The clock is set when the work first waits for something: many calls in this process never do.

    Raises:
        DeadlineExceeded: the deadline has passed.
    """
    with within_span(call):
        if call.deadline_s is None:
            return await work()
        if call.deadline_s <= time.monotonic():
            raise _late()
        running = work()
        if _is_coroutine(running):
            try:
                running = _resumed(running, running.send(None))
            except StopIteration as done:
                return cast("T", done.value)
        async with _before(call.deadline_s):
            return await running


def _is_coroutine(work: Awaitable[T]) -> TypeGuard[CoroutineType[Any, Any, T]]:
    return isinstance(work, CoroutineType)


@coroutine
def _resumed(work: CoroutineType[Any, Any, T], waits_for: object) -> Generator[object, None, T]:
    """The rest of a coroutine that waits for something already."""
    while True:
        try:
            yield waits_for
        except BaseException as error:  # noqa: BLE001 - the work's to handle
            step = partial(work.throw, error)
        else:
            step = partial(work.send, None)
        try:
            waits_for = step()
        except StopIteration as done:
            return cast("T", done.value)


class _before:  # noqa: N801 - a context manager, used like a function
    """What is awaited within is cancelled when the deadline passes; raises DeadlineExceeded then."""

    def __init__(self, deadline_s: float) -> None:
        self._scope = asyncio.timeout(max(0.0, deadline_s - time.monotonic()))

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            raise _late() from None


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline passed before the call was done")
