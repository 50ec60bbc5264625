"""What fails in logging, tracing or naming a call changes no reply, least of all after a commit."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Stubs, agents, executions, id_of, said
from edge_sockets import listening
from grpclib.exceptions import GRPCError
from opentelemetry import propagate
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import NoOpTracer
from server_wire import connect, message

from stigmer.edge.interceptors import built_in, tracing
from stigmer.pipeline import pipeline
from stigmer.pipeline.ids import IdSource
from stigmer.telemetry import logs, traces

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


class TelemetryError(Exception):
    """What the host's part raises."""


def fails(*_args: Any, **_kwargs: Any) -> Any:
    raise TelemetryError


class AtStart(SpanProcessor):
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        raise TelemetryError


class AtEnd(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise TelemetryError


class Exporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> Any:
        raise TelemetryError


class Attributes(SpanProcessor):
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        span.set_attribute = span.set_attributes = span.set_status = span.record_exception = fails  # type: ignore[method-assign]  # the test's point


class Propagator(TextMapPropagator):
    extract = inject = fails

    @property
    def fields(self) -> set[str]:
        return {"traceparent"}


class Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise TelemetryError


class Unprintable(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        line: Any = record.msg
        line["odd"] = Odd()
        self.format(record)


class Odd:
    def __repr__(self) -> str:
        raise TelemetryError


class NoTracer(NoOpTracer):
    start_span = fails


def sdk(processor: SpanProcessor) -> Tracer:
    provider = TracerProvider()
    provider.add_span_processor(processor)
    return provider.get_tracer("stigmer")


def traced_by(tracer: Tracer) -> Callable[[], AbstractContextManager[None]]:
    @contextmanager
    def traced() -> Generator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipeline, "tracer", tracer)
            patch.setattr(tracing, "tracer", tracer)
            patch.setattr(built_in, "_may_be_traced", lambda _call: True)
            yield

    return traced


def logged_by(handler: logging.Handler) -> Callable[[], AbstractContextManager[None]]:
    @contextmanager
    def logged() -> Generator[None]:
        log = logging.getLogger("stigmer")
        level = log.level
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(level)

    return logged


@contextmanager
def propagated() -> Generator[None]:
    usual = propagate.get_global_textmap()
    propagate.set_global_textmap(Propagator())
    try:
        yield
    finally:
        propagate.set_global_textmap(usual)


@contextmanager
def unnamed() -> Generator[None]:
    new = IdSource.new

    def some(self: IdSource, prefix: str) -> str:
        return new(self, prefix) if prefix != "req" else fails()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IdSource, "new", some)
        yield


BROKEN: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "a span processor, when a span starts": traced_by(sdk(AtStart())),
    "a span processor, when a span ends": traced_by(sdk(AtEnd())),
    "a span's attributes": traced_by(sdk(Attributes())),
    "an exporter": traced_by(sdk(SimpleSpanProcessor(Exporter()))),
    "a tracer": traced_by(NoTracer()),
    "a propagator": propagated,
    "a log handler": logged_by(Handler()),
    "a value that cannot be rendered": logged_by(Unprintable()),
    "the source of request ids": unnamed,
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_reply_stays_what_it_is(tmp_path: Path, broken: str) -> None:
    async with listening(tmp_path) as (_, channel):
        stubs = Stubs(channel)
        with BROKEN[broken]():
            agent = await stubs.agents.create(samples.agent(), metadata=PARENT)
            execution = await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent)))
            with pytest.raises(GRPCError) as caught:
                await stubs.find_agents.get(agents.AgentId(value="agt-none"))
            follow = stubs.find_executions.subscribe(executions.AgentExecutionId(value=id_of(execution)))
            first = await anext(follow)
            await stubs.report(id_of(execution), phase=executions.ExecutionPhase.EXECUTION_COMPLETED)
            rest = [state async for state in follow]
        assert caught.value.status.name == "NOT_FOUND"
        assert [id_of(state) for state in (first, *rest)] == [id_of(execution)] * 2
        assert id_of(await stubs.find_agents.get(agents.AgentId(value=id_of(agent)))) == id_of(agent)


async def test_the_transport_s_own_lines_end_no_connection(tmp_path: Path) -> None:
    """A frame of an unknown type is logged and ignored."""
    async with listening(tmp_path) as (server, _), connect(server) as wire:
        with BROKEN["a log handler"]():
            wire.writer.write(b"\0\0\1\xee\0\0\0\0\0?")
            assert await wire.status(wire.request(message(b""), path="/grpc.health.v1.Health/Check")) == "0"


async def test_tracing_that_fails_is_told_of_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "_seldom", logs.Seldom(60))
    with BROKEN["a tracer"]():
        async with listening(tmp_path) as (_, channel):
            for name in ("one", "two"):
                await Stubs(channel).agents.create(samples.agent(name=name))
    assert len(said(caplog, "Tracing failed; the call goes on")) == 1


async def test_logging_that_fails_is_told_of_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_seldom", logs.Seldom(60))
    with BROKEN["a log handler"]():
        async with listening(tmp_path) as (_, channel):
            await Stubs(channel).agents.create(samples.agent())
    assert capsys.readouterr().err == "stigmer: a log line was lost: TelemetryError\n"


async def test_what_escapes_an_interceptor_of_ours_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not UNKNOWN with grpclib's words, and the log bears the error's id."""
    monkeypatch.setattr("stigmer.edge.interceptors.built_in.BuiltIn.name", fails)
    async with listening(tmp_path) as (_, channel):
        stubs = Stubs(channel)
        for call in (
            stubs.agents.create(samples.agent()),
            anext(stubs.find_executions.subscribe(executions.AgentExecutionId(value="aex-none"))),
        ):
            with pytest.raises(GRPCError) as caught:
                await call
            assert caught.value.status.name == "INTERNAL"
            (line,) = said(caplog, "Internal error")
            assert line["error_id"] in (caught.value.message or "")
            caplog.clear()
