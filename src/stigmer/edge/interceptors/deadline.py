"""The caller's deadline: when it has passed, the work is cancelled."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from stigmer.edge.interceptors.base import Interceptor, StreamNext, UnaryNext
from stigmer.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from stigmer.pipeline.call import Call
    from stigmer.pipeline.context import Reply


class Deadline(Interceptor):
    """Give up at `call.deadline_s`."""

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Reply:  # noqa: ANN401 - any RPC's request
        """Cancel the handler when the deadline passes.

        Raises:
            DeadlineExceeded: it has passed.
        """
        if call.deadline_s is None:
            return await proceed(call, request)
        _refuse_late(call.deadline_s)
        scope = until(call.deadline_s)
        try:
            async with scope:
                return await proceed(call, request)
        except TimeoutError:
            if scope.expired():
                raise DeadlineExceeded(_MESSAGE) from None
            raise

    async def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Reply, None]:  # noqa: ANN401 - as above
        """Cancel the wait for the next reply when the deadline passes.

        Raises:
            DeadlineExceeded: it has passed.
        """
        async with aclosing(proceed(call, request)) as replies:
            while True:
                reply = await _next(replies, call.deadline_s)
                if reply is None:
                    return
                yield reply
                del reply


_MESSAGE = "the deadline passed before the call was done"


def until(deadline_s: float) -> asyncio.Timeout:
    """A scope that is cancelled at `deadline_s` on the clock of `time.monotonic`."""
    return asyncio.timeout(max(0.0, deadline_s - time.monotonic()))


def _refuse_late(deadline_s: float) -> None:
    """A deadline that has passed is one, also where the work would not wait for anything."""
    if time.monotonic() >= deadline_s:
        raise DeadlineExceeded(_MESSAGE)


async def _next(replies: AsyncGenerator[Reply, None], deadline_s: float | None) -> Reply | None:
    if deadline_s is None:
        return await anext(replies, None)
    _refuse_late(deadline_s)
    scope = until(deadline_s)
    try:
        async with scope:
            return await anext(replies, None)
    except TimeoutError:
        if scope.expired():
            raise DeadlineExceeded(_MESSAGE) from None
        raise
