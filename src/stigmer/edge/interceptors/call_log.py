"""One log line a call: method, code, duration, request id, kind, id; and one observation for the metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from stigmer.edge.interceptors.base import code_of, within_span
from stigmer.errors import Code, clip
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from stigmer.pipeline.call import Call

log = get_logger("stigmer.call")

_SERVER_FAULTS = frozenset({Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS})


class Logging:
    """Log each call when it is done; never its request or reply, which may hold secrets.

    Args:
        observe: told of each call that no other call made: its method, code and duration in seconds.
    """

    def __init__(self, observe: Callable[[str, str, float], None]) -> None:
        self._observe = observe

    def watch(self, call: Call) -> AbstractContextManager[object]:
        """Log the call."""
        return _Line(call, self._observe)


class _Line:
    """A line at the end of a call."""

    __slots__ = ("_call", "_observe", "_started")

    def __init__(self, call: Call, observe: Callable[[str, str, float], None]) -> None:
        self._call, self._observe = call, observe

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        call, code = self._call, code_of(self._call, error)
        duration_s = time.perf_counter() - self._started
        if call.parent is None:
            self._observe(call.method.path[1:], code.name, duration_s)
        more = {"sent": call.sent} if call.method.server_streaming and call.method.kind is not None else {}
        with within_span(call):
            _line(call, code, duration_s, **more)


def _emit(call: Call, code: Code) -> Callable[..., None]:
    """How loud: what a health check finds well every ten seconds is for who looks into a fault."""
    if code in _SERVER_FAULTS:
        return log.error
    return log.debug if call.method.kind is None and code is Code.OK else log.info


def _line(call: Call, code: Code, duration_s: float, **more: object) -> None:
    _emit(call, code)(
        "call",
        method=call.method.path,
        code=code.name,
        duration_ms=round(duration_s * 1000, 3),
        request_id=call.request_id,
        kind=call.kind.name if call.kind is not None else "",
        id=clip(call.resource_id),
        peer=call.peer,
        attempt=call.attempt,
        **more,
    )
