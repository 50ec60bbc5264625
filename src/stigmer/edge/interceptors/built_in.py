"""What is around every call, from the network or the loopback alike: name, span, log line, mapping of failures.

One context manager does all of it and sees neither request nor replies, so that it costs few frames and a stream that
waits is small. The outermost first: the call gets its request id, then its span, then what its log line tells counts;
innermost, every failure becomes one of `errors`.
"""

from __future__ import annotations

import re
import time
import uuid
from logging import DEBUG, ERROR, INFO
from typing import TYPE_CHECKING

from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider

from stigmer.edge.interceptors import tracing
from stigmer.edge.interceptors.error_mapping import told_as
from stigmer.errors import Code, Relayed, StigmerError, clip
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from stigmer.pipeline.call import Call
    from stigmer.pipeline.ids import IdSource

REQUEST_ID_KEY = "x-request-id"
EARLY_S = 0.01
"""How long before a deadline a cancellation is taken for it: the clocks of callers and loops count milliseconds."""

_WELL_FORMED = re.compile(r"[!-~]{1,128}")
_SERVER_FAULTS = frozenset({Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS})

log = get_logger("stigmer.call")


class BuiltIn:
    """The server's own interceptors.

    Args:
        ids: names calls that have no usable `x-request-id`.
        observe: told of each call that no other call made: its method, code and duration in seconds.
    """

    def __init__(self, ids: IdSource, observe: Callable[[str, str, float], None]) -> None:
        self._ids, self.observe = ids, observe

    def around(self, call: Call) -> AbstractContextManager[None]:
        """Around the whole of a call; sets no context variable, for a generator may yield within.

        Raises:
            StigmerError: in place of any other exception but that somebody cancels the call.
        """
        return _Around(self, call)

    def name(self, call: Call) -> None:
        """Take the caller's `x-request-id` where it is printable and short, else make one."""
        sent = call.metadata.get(REQUEST_ID_KEY)
        usable = isinstance(sent, str) and _WELL_FORMED.fullmatch(sent)
        call.request_id = str(sent) if usable else self._made()

    def _made(self) -> str:
        try:
            return self._ids.new("req")
        except Exception:  # noqa: BLE001  # a host's source of ids: a call must not fail for want of a name
            return f"req-{uuid.uuid4().hex}"


class _Around:
    """Around one call. An ExitStack of several would take 1.5 KB of each stream."""

    __slots__ = ("_built_in", "_call", "_started_s")

    def __init__(self, built_in: BuiltIn, call: Call) -> None:
        self._built_in, self._call = built_in, call

    def __enter__(self) -> None:
        call = self._call
        if not call.request_id:  # else it is inherited
            self._built_in.name(call)
        if _may_be_traced(call):
            call.span = tracing.started(call)
        self._started_s = time.perf_counter()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        told = error
        try:
            if error is not None and not isinstance(error, StigmerError):
                told = told_as(error, self._call)
            self._end(told)
            if told is not None and told is not error:
                raise told from error
        finally:
            del told  # its traceback has this frame: a cycle

    def _end(self, error: BaseException | None) -> None:
        call, duration_s = self._call, time.perf_counter() - self._started_s
        code = Code.OK if error is None else code_of(call, error)
        try:
            if call.parent is None:
                self._built_in.observe(call.method.path[1:], code.name, duration_s)
            if log.isEnabledFor(level := _level(call, code, error)):
                _line(call, code, level, duration_s)
        finally:
            if call.span is not None:
                tracing.end(call.span, call, code)


def _may_be_traced(call: Call) -> bool:
    """Whether there is an SDK, or the caller sent what may name a trace.

    Without an SDK there are no spans, but the trace that the caller sent still goes to the calls made downstream.
    """
    return (call.parent is None and bool(call.metadata)) or type(get_tracer_provider()) is not ProxyTracerProvider


def code_of(call: Call, error: BaseException) -> Code:
    """The code of a call that ends with an error, or is cancelled; one that another call makes is cancelled with it."""
    if isinstance(error, StigmerError):
        return error.code
    outer: Call | None = call
    while outer is not None:
        if outer.ended_by is not None:
            return outer.ended_by.code
        outer = outer.parent
    late = call.deadline_s is not None and time.monotonic() >= call.deadline_s - EARLY_S
    return Code.DEADLINE_EXCEEDED if late else Code.CANCELLED


def _level(call: Call, code: Code, error: BaseException | None) -> int:
    """How loud: what a health check finds well every ten seconds is for who looks into a fault."""
    if code in _SERVER_FAULTS and not (isinstance(error, Relayed) and error.callers_fault):
        return ERROR
    return DEBUG if not call.method.request and code is Code.OK else INFO  # no message of ours: health, reflection


def _line(call: Call, code: Code, level: int, duration_s: float) -> None:
    """One line a call; never its request or reply, which may hold secrets."""
    more = {"sent": call.sent} if call.method.server_streaming and call.method.kind is not None else {}
    if call.dry_run:
        more["dry_run"] = True
    with tracing.within_span(call):
        log.log(
            level,
            "call",
            method=call.method.path,
            code=code.name,
            duration_ms=round(duration_s * 1000, 3),
            request_id=call.request_id,
            kind=call.kind.name if call.kind is not None else "",
            id=clip(call.resource_id),
            caller=call.actor,
            peer=call.peer,
            attempt=call.attempt,
            **more,
        )
