"""OpenTelemetry spans: one a call, in the caller's trace. The API alone; the SDK is the host's."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind

from stigmer.edge.interceptors.base import NOTHING, code_of
from stigmer.telemetry import traces

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Span

    from stigmer.errors import Code
    from stigmer.pipeline.call import Call

tracer = trace.get_tracer("stigmer")


class Tracing:
    """A server span for each call; one made over the loopback lies within its caller's, and is INTERNAL.

    Without an SDK there are no spans, but the trace that the caller sent still goes to the calls made downstream.
    """

    def watch(self, call: Call) -> AbstractContextManager[object]:
        """Trace the call: in `call.span`, which is not current yet."""
        span = _started(call)
        if span is trace.INVALID_SPAN:
            return NOTHING
        call.span = span
        return _Ending(span, call)


class _Ending:
    """The span of a call ends with the block."""

    __slots__ = ("_call", "_span")

    def __init__(self, span: Span, call: Call) -> None:
        self._span, self._call = span, call

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if traces.is_recording(self._span):
            _describe(self._span, self._call, code_of(self._call, error))
        traces.end(self._span)


def _started(call: Call) -> Span:
    name = call.method.path[1:]
    known = {"rpc.system.name": "grpc", "rpc.method": name}
    return traces.started(tracer, name, _remote(call), _span_kind(call), known)


def _remote(call: Call) -> Context | None:
    """The trace that the caller sent; None is the current one."""
    with traces.swallowing():
        propagator = propagate.get_global_textmap()
        if call.parent is None and not _headers(propagator).isdisjoint(call.metadata):
            carrier = {key: value for key, value in call.metadata.items() if isinstance(value, str)}
            return propagator.extract(carrier, context.get_current())
    return None


@lru_cache(maxsize=1)
def _headers(propagator: TextMapPropagator) -> frozenset[str]:
    """What the host's propagator reads: `traceparent`, or `b3`, as OTEL_PROPAGATORS says; asked at every call."""
    return frozenset(name.lower() for name in propagator.fields)


def _span_kind(call: Call) -> SpanKind:
    return SpanKind.SERVER if call.parent is None else SpanKind.INTERNAL


def _describe(span: Span, call: Call, code: Code) -> None:
    attributes = {
        "rpc.response.status_code": code.name,  # OpenTelemetry's name for it
        "rpc.status_code": code.name,  # the short one of our own contract
        "stigmer.request_id": call.request_id,
    }
    if code not in traces.FAULTS:
        traces.describe(span, attributes)
    else:
        traces.describe(span, {**attributes, "error.type": code.name}, code.name)
