"""OpenTelemetry spans: one a call, in the caller's trace. The API alone; the SDK is the host's."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from stigmer.errors import Code, StigmerError
from stigmer.interceptors.base import Interceptor, StreamNext, UnaryNext

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from stigmer.call import Call
    from stigmer.pipeline import Reply

tracer = trace.get_tracer("stigmer")


class Tracing(Interceptor):
    """A server span for each call; one made over the loopback lies within its caller's, and is INTERNAL."""

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Reply:  # noqa: ANN401 - any RPC's request
        """Trace the call."""
        with tracer.start_as_current_span(
            call.method.path[1:], context=_remote(call), kind=_span_kind(call), record_exception=False
        ) as span:
            try:
                reply = await proceed(call, request)
            except StigmerError as error:
                _describe(span, call, error.code)
                raise
            _describe(span, call, Code.OK)
            return reply

    async def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Reply, None]:  # noqa: ANN401 - as above
        """Trace the call; the span is not made current, because a generator shares its reader's context."""
        span = tracer.start_span(call.method.path[1:], context=_remote(call), kind=_span_kind(call))
        code = Code.CANCELLED
        try:
            async with aclosing(proceed(call, request)) as replies:
                async for reply in replies:
                    yield reply
            code = Code.OK
        except StigmerError as error:
            code = error.code
            raise
        finally:
            _describe(span, call, code)
            span.end()


def _remote(call: Call) -> Context | None:
    """The trace that the caller sent; None is the current one."""
    if call.parent is not None or "traceparent" not in call.metadata:
        return None
    carrier = {key: value for key, value in call.metadata.items() if isinstance(value, str)}
    return propagate.extract(carrier)


def _span_kind(call: Call) -> SpanKind:
    return SpanKind.SERVER if call.parent is None else SpanKind.INTERNAL


def _describe(span: Span, call: Call, code: Code) -> None:
    if not span.is_recording():
        return
    span.set_attribute("rpc.system", "grpc")
    span.set_attribute("rpc.service", call.method.service)
    span.set_attribute("rpc.method", call.method.name)
    span.set_attribute("rpc.grpc.status_code", int(code))
    span.set_attribute("stigmer.request_id", call.request_id)
    if code is not Code.OK:
        span.set_status(Status(StatusCode.ERROR, code.name))
