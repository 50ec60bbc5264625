"""The caller's deadline: when it has passed, the work is cancelled."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from stigmer.edge.interceptors.tracing import within_span
from stigmer.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from stigmer.pipeline.call import Call

T = TypeVar("T")


async def within(call: Call, work: Callable[[], Awaitable[T]]) -> T:
    """What the work gives, if it does before the call's deadline; the call's span is current meanwhile.

    Raises:
        DeadlineExceeded: the deadline has passed.
    """
    with within_span(call):
        if call.deadline_s is None:
            return await work()
        async with before(call.deadline_s):
            return await work()


class before:  # noqa: N801 - a context manager, used like a function
    """What is awaited within is cancelled when the deadline passes.

    Args:
        deadline_s: on the clock of `time.monotonic`.

    Raises:
        DeadlineExceeded: it has passed; at once where it had before, also where the work would not wait for anything.
    """

    def __init__(self, deadline_s: float) -> None:
        self._left_s = deadline_s - time.monotonic()

    async def __aenter__(self) -> None:
        if self._left_s <= 0:
            raise _late()
        self._scope = asyncio.timeout(self._left_s)
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
