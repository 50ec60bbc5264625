"""What an interceptor is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from stigmer.pipeline.call import Call
    from stigmer.pipeline.context import Reply

UnaryNext: TypeAlias = "Callable[[Call, Any], Awaitable[Reply]]"
StreamNext: TypeAlias = "Callable[[Call, Any], AsyncGenerator[Reply, None]]"


class Interceptor:
    """Sees every call: override either method, or both. The defaults hand on.

    A unary one is a coroutine around `proceed`; a streaming one an async generator around it, which must close it
    (`contextlib.aclosing`) and must not yield inside a cancel scope. Raise a `errors.StigmerError`, or a
    `grpclib.GRPCError`, to refuse. Requests and replies are betterproto2 objects, filled in when they are touched.

    `around` says what it is around:

    - a `"call"`: once for each call, that of health and reflection included, whose messages are None. A loopback call
      that it makes around an outermost call stands alone.
    - a `"run"`: within the call's transaction, next to the handler, and again each time that a lost race has the call
      run again. It is not yet known then whether the run will be committed; a loopback call that it makes is committed
      or dropped with the run. A streaming call has one run, and no transaction.

    A call that joins another one's transaction is part of the other's run: both kinds are around it once in each run of
    that one, and the loopback calls of both are committed or dropped with it.

    Attributes:
        around: set it in the class.
    """

    around: ClassVar[Literal["call", "run"]] = "call"

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Reply:  # noqa: ANN401 - any RPC's request
        """Around a call with one reply."""
        return await proceed(call, request)

    def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Reply, None]:  # noqa: ANN401 - as above
        """Around a call with a stream of replies."""
        return proceed(call, request)
