"""One log line a call: method, code, duration, request id, kind, id."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from stigmer.edge.interceptors.base import Interceptor, StreamNext, UnaryNext, cut_short
from stigmer.errors import Code, StigmerError, clip
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from stigmer.pipeline.call import Call
    from stigmer.pipeline.context import Reply

log = get_logger("stigmer.call")

_SERVER_FAULTS = frozenset({Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS})


class Logging(Interceptor):
    """Log each call when it is done; never its request or reply, which may hold secrets."""

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Reply:  # noqa: ANN401 - any RPC's request
        """Log the call."""
        started, code = time.perf_counter(), None
        try:
            reply = await proceed(call, request)
            code = Code.OK
        except StigmerError as error:
            code = error.code
            raise
        else:
            return reply
        finally:
            _line(call, cut_short(call) if code is None else code, started)

    async def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Reply, None]:  # noqa: ANN401 - as above
        """Log the call when the stream ends."""
        started = time.perf_counter()
        code, sent = None, 0
        try:
            async with aclosing(proceed(call, request)) as replies:
                async for reply in replies:
                    sent += 1
                    yield reply
                    del reply
            code = Code.OK
        except StigmerError as error:
            code = error.code
            raise
        finally:
            _line(call, cut_short(call) if code is None else code, started, sent=sent)


def _emit(call: Call, code: Code) -> Callable[..., None]:
    """How loud: what a health check finds well every ten seconds is for who looks into a fault."""
    if code in _SERVER_FAULTS:
        return log.error
    return log.debug if call.method.kind is None and code is Code.OK else log.info


def _line(call: Call, code: Code, started: float, **more: object) -> None:
    _emit(call, code)(
        "call",
        method=call.method.path,
        code=code.name,
        duration_ms=round((time.perf_counter() - started) * 1000, 3),
        request_id=call.request_id,
        kind=call.kind.name if call.kind is not None else "",
        id=clip(call.resource_id),
        peer=call.peer,
        attempt=call.attempt,
        **more,
    )
