"""The caller's deadline: when it has passed, the work is cancelled."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from stigmer.edge.interceptors.base import NOTHING, BuiltIn, UnaryNext
from stigmer.errors import DeadlineExceeded

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from stigmer.pipeline.call import Call
    from stigmer.pipeline.context import Reply


class Deadline(BuiltIn):
    """Give up at `call.deadline_s`."""

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Reply:  # noqa: ANN401 - any RPC's request
        """Cancel the handler when the deadline passes.

        Raises:
            DeadlineExceeded: it has passed.
        """
        if call.deadline_s is None:
            return await proceed(call, request)
        async with before(call.deadline_s):
            return await proceed(call, request)

    def watch(self, call: Call) -> AbstractContextManager[object]:  # noqa: ARG002  # as the base
        """Nothing: a stream is waited for reply by reply, each wait `before` its deadline."""
        return NOTHING


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
