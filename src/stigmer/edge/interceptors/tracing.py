"""OpenTelemetry spans: one a call, in the caller's trace. The API alone; the SDK is the host's."""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind

from stigmer.edge.interceptors.base import Interceptor, StreamNext, UnaryNext, cut_short
from stigmer.errors import Code, StigmerError
from stigmer.telemetry import traces

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Span

    from stigmer.pipeline.call import Call
    from stigmer.pipeline.context import Reply

tracer = trace.get_tracer("stigmer")


class Tracing(Interceptor):
    """A server span for each call; one made over the loopback lies within its caller's, and is INTERNAL.

    Without an SDK there are no spans, but the trace that the caller sent still goes to the calls made downstream.
    """

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Reply:  # noqa: ANN401 - any RPC's request
        """Trace the call."""
        span = _started(call)
        if span is trace.INVALID_SPAN:
            return await proceed(call, request)
        code = None
        with traces.current(span):
            try:
                reply = await proceed(call, request)
                code = Code.OK
            except StigmerError as error:
                code = error.code
                raise
            else:
                return reply
            finally:
                _end(span, call, code)

    async def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Reply, None]:  # noqa: ANN401 - as above
        """Trace the call; the span is current while a reply is made, not while the reader has it."""
        span = _started(call)
        scope = nullcontext if span is trace.INVALID_SPAN else partial(traces.current, span)
        code, replies = None, proceed(call, request)
        try:
            while True:
                with scope():
                    reply = await anext(replies, None)
                if reply is None:
                    break
                yield reply
                del reply
            code = Code.OK
        except StigmerError as error:
            code = error.code
            raise
        finally:
            try:
                with scope():
                    await replies.aclose()
            finally:
                _end(span, call, code)


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


def _end(span: Span, call: Call, code: Code | None) -> None:
    if traces.is_recording(span):
        _describe(span, call, cut_short(call) if code is None else code)
    traces.end(span)


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
