"""What an interceptor is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

from stigmer.errors import Code

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from stigmer.pipeline.call import Call
    from stigmer.pipeline.context import Reply

EARLY_S = 0.01
"""How long before a deadline a cancellation is taken for it: the clocks of callers and loops count milliseconds."""

UnaryNext: TypeAlias = "Callable[[Call, Any], Awaitable[Reply]]"
StreamNext: TypeAlias = "Callable[[Call, Any], AsyncGenerator[Reply, None]]"


def cut_short(call: Call) -> Code:
    """The code of a call that was cancelled; one that another call makes is cancelled with it."""
    outer: Call | None = call
    while outer is not None:
        if outer.drained:
            return Code.UNAVAILABLE
        outer = outer.parent
    late = call.deadline_s is not None and time.monotonic() >= call.deadline_s - EARLY_S
    return Code.DEADLINE_EXCEEDED if late else Code.CANCELLED


class Interceptor:
    """Sees every call: override either method, or both. The defaults hand on.

    A unary one is a coroutine around `proceed`; a streaming one an async generator around it, which must close it
    (`contextlib.aclosing`) and must not yield inside a cancel scope. Raise a `errors.StigmerError`, or a
    `grpclib.GRPCError`, to refuse. Requests and replies are betterproto2 objects, filled in when they are touched;
    those of health and reflection, which are no services of stigmer's, are None.

    Around a call that joins another one's transaction it is part of that transaction: it runs once in each run, and
    what it does over the loopback is committed or dropped with the rest. Around an outermost call it runs once, and a
    loopback call that it makes stands alone.
    """

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Reply:  # noqa: ANN401 - any RPC's request
        """Around a call with one reply."""
        return await proceed(call, request)

    def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Reply, None]:  # noqa: ANN401 - as above
        """Around a call with a stream of replies."""
        return proceed(call, request)
