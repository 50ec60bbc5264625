"""OpenTelemetry spans: one a call, in the caller's trace. The API alone; the SDK is the host's."""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING

from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind

from stigmer.telemetry import traces

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Span

    from stigmer.errors import Code
    from stigmer.pipeline.call import Call

tracer = trace.get_tracer("stigmer")

NOTHING = nullcontext()
"""Around what needs nothing around it."""


def started(call: Call) -> Span | None:
    """A server span for the call, which is not current yet; None where there is none.

    That of a call made over the loopback lies within its caller's, and is INTERNAL.
    """
    name = call.method.path[1:]
    known = {"rpc.system.name": "grpc", "rpc.method": name}
    kind = SpanKind.SERVER if call.parent is None else SpanKind.INTERNAL
    span = traces.started(tracer, name, _remote(call), kind, known)
    return None if span is trace.INVALID_SPAN else span


def end(span: Span, call: Call, code: Code) -> None:
    """End the span of a call that ended so."""
    if traces.is_recording(span):
        attributes = {"rpc.status_code": code.name, "stigmer.request_id": call.request_id}
        if code not in traces.FAULTS:
            traces.describe(span, attributes)
        else:
            traces.describe(span, {**attributes, "error.type": code.name}, code.name)
    traces.end(span)


def within_span(call: Call) -> AbstractContextManager[object]:
    """The call's span is the current one, where it has one. Not to be held across a yield of a generator."""
    return NOTHING if call.span is None else traces.current(call.span)


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
