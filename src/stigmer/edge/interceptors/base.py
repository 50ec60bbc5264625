"""What an interceptor is."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from stigmer.errors import Code, StigmerError
from stigmer.telemetry import traces

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from types import TracebackType

    from stigmer.pipeline.call import Call
    from stigmer.pipeline.context import Reply

EARLY_S = 0.01
"""How long before a deadline a cancellation is taken for it: the clocks of callers and loops count milliseconds."""

UnaryNext: TypeAlias = "Callable[[Call, Any], Awaitable[Reply]]"
StreamNext: TypeAlias = "Callable[[Call, Any], AsyncGenerator[Reply, None]]"


def code_of(call: Call, error: BaseException | None) -> Code:
    """The code of a call that ends, with an error or, where there is none, well."""
    if error is None:
        return Code.OK
    return error.code if isinstance(error, StigmerError) else _cut_short(call)


def _cut_short(call: Call) -> Code:
    """The code of a call that was cancelled; one that another call makes is cancelled with it."""
    outer: Call | None = call
    while outer is not None:
        if outer.drained:
            return Code.UNAVAILABLE
        outer = outer.parent
    late = call.deadline_s is not None and time.monotonic() >= call.deadline_s - EARLY_S
    return Code.DEADLINE_EXCEEDED if late else Code.CANCELLED


NOTHING = nullcontext()
"""What a built-in interceptor is around a call of which it only takes note."""


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


class BuiltIn(Protocol):
    """One of the server's own: around every call a context manager alone, which sees neither request nor replies.

    So many of them cost no more frames than one, and a stream that waits is small.
    """

    def watch(self, call: Call) -> AbstractContextManager[object]:
        """Around the whole of a call; sets no context variable, for a generator may yield within."""
        ...


class watching:  # noqa: N801 - a context manager, used like a function
    """Around a call: what all of these are, the first outermost. An ExitStack would take 1.5 KB of each stream."""

    __slots__ = ("_call", "_interceptors", "_scopes")

    def __init__(self, interceptors: Sequence[BuiltIn], call: Call) -> None:
        self._interceptors, self._call = interceptors, call
        self._scopes: list[AbstractContextManager[object]] = []

    def __enter__(self) -> None:
        try:
            for interceptor in self._interceptors:
                scope = interceptor.watch(self._call)
                if scope is not NOTHING:
                    scope.__enter__()
                    self._scopes.append(scope)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        last = error
        try:
            while self._scopes:
                try:
                    scope = self._scopes.pop()
                    if last is None:
                        scope.__exit__(None, None, None)
                    else:
                        scope.__exit__(type(last), last, last.__traceback__)
                except BaseException as raised:  # noqa: BLE001  # the next one gets it
                    last = raised
            if last is not None and last is not error:
                raise last
        finally:
            del last  # its traceback has this frame: a cycle


def within_span(call: Call) -> AbstractContextManager[object]:
    """The call's span is the current one, where it has one. Not to be held across a yield of a generator."""
    return NOTHING if call.span is None else traces.current(call.span)
