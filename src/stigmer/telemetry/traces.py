"""OpenTelemetry's spans, kept from failing a call: what a host's tracer or span processor raises is swallowed.

`edge.interceptors.tracing` and `pipeline` make their spans here. A span that could not be made is INVALID_SPAN.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanKind, Status, StatusCode

from stigmer.errors import Code, StigmerError
from stigmer.telemetry.logs import Seldom, get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

log = get_logger("stigmer.telemetry.traces")

COMPLAINT_S = 60.0
"""How long a failure of the host's tracing goes unmentioned after one that was logged."""
FAULTS = frozenset(
    {Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS}
)
"""The codes of a server's own failures: what OpenTelemetry has a server span call an error. Others are the caller's."""

_SERVICE = "service.name"
_seldom = Seldom(COMPLAINT_S)


class swallowing:  # noqa: N801 - a context manager, used like a function
    """What the host's tracing raises within is swallowed, with a log line now and then."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        if _seldom.now():
            log.warning("Tracing failed; the call goes on", exc_info=error)
        return True


def started(
    tracer: Tracer,
    name: str,
    within: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int] | None = None,
) -> Span:
    """A span that has begun; `within` None is the current context."""
    with swallowing():
        span = tracer.start_span(name, within, kind, attributes)
        return _parent(within) if span is trace.INVALID_SPAN else span
    return trace.INVALID_SPAN


def _parent(within: Context | None) -> Span:
    """What the API makes of a span without an SDK since 1.43; before, it lost the parent."""
    parent = trace.get_current_span(within)
    return parent if parent is trace.INVALID_SPAN else NonRecordingSpan(parent.get_span_context())


def is_recording(span: Span) -> bool:
    """Whether it is worth to work for the span's attributes."""
    with swallowing():
        return span.is_recording()
    return False


def describe(span: Span, attributes: Mapping[str, str | int], failure: str = "") -> None:
    """Set attributes, and where there is a `failure`, the status."""
    with swallowing():
        span.set_attributes(attributes)
        if failure:
            span.set_status(Status(StatusCode.ERROR, failure))


def name_service(name: str) -> None:
    """Have the SDK tell of this process as `name` where nobody said otherwise (OTEL_SERVICE_NAME and the like).

    For the command line, before tracers are made. An SDK that `opentelemetry-instrument` configured is there before
    any code of ours, and says "unknown_service" then; its resource has no public way to be completed.
    """
    os.environ.setdefault("OTEL_SERVICE_NAME", name)
    provider: Any = trace.get_tracer_provider()
    resource = getattr(provider, "resource", None)
    if resource is not None and resource.attributes.get(_SERVICE, "").startswith("unknown_service"):
        with swallowing():
            provider._resource = resource.merge(type(resource)({_SERVICE: name}))  # noqa: SLF001  # see above


def end(span: Span) -> None:
    """End the span."""
    with swallowing():
        span.end()


class current:  # noqa: N801 - a context manager, used like a function
    """The span is the current one. Not to be held across a yield of a generator, which has its reader's context.

    Args:
        span: it begun before.
        whole: the span is about this block alone: it ends with it, and a failure of the server's own is noted in it.
    """

    __slots__ = ("_span", "_token", "_whole")

    def __init__(self, span: Span, *, whole: bool = False) -> None:
        self._span, self._whole = span, whole
        self._token: Token[Context] | None = None

    def __enter__(self) -> Span:
        with swallowing():
            self._token = context.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self._token is not None:
            with swallowing():
                context.detach(self._token)
        if self._whole:
            if isinstance(error, Exception):
                self._note(error)
            end(self._span)

    def _note(self, error: Exception) -> None:
        if isinstance(error, StigmerError) and error.code not in FAULTS:
            return
        with swallowing():
            if self._span.is_recording():
                self._span.record_exception(error)
                self._span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
