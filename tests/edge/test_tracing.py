"""OpenTelemetry spans: one a call, a pipeline, a step; in the caller's trace, with or without an SDK."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from contextlib import aclosing, closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
import samples
from bearing import token, tokens_file
from edge_rig import Around, Rig, Stubs, executions, id_of, said, separately, sessions, turns
from edge_sockets import dial, listening
from grpclib.exceptions import GRPCError
from opentelemetry import baggage, propagate, trace
from opentelemetry.propagators.textmap import Getter, Setter, TextMapPropagator, default_getter, default_setter
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags
from served_process import served

from stigmer.edge.interceptors import built_in, tracing
from stigmer.errors import Code
from stigmer.pipeline import pipeline
from stigmer.telemetry import traces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opentelemetry.context import Context

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
PARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
EXECUTION = "ai.stigmer.agentic.agentexecution.v1.AgentExecution"


class Spans:
    """What an SDK exported."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def all(self) -> list[ReadableSpan]:
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    def below(self, parent: ReadableSpan) -> list[str]:
        assert parent.context is not None
        own = parent.context.span_id
        return [span.name for span in self.all() if span.parent is not None and span.parent.span_id == own]

    def clear(self) -> None:
        self._exporter.clear()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """The SDK for stigmer's tracers alone; the process's own provider stays as it is."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for module in (pipeline, tracing):
        monkeypatch.setattr(module, "tracer", provider.get_tracer(module.__name__))
    monkeypatch.setattr(built_in, "_may_be_traced", lambda _call: True)
    return Spans(exporter)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_the_tree_of_an_execution_s_create(rig: Rig, spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "stigmer")
    agent = await rig.agent()
    spans.clear()
    await rig.executions.create(samples.agent_execution(agent_id=id_of(agent)), metadata={"x-request-id": "mine"})

    (call,) = spans.named(f"{EXECUTION}CommandController/create")
    assert call.parent is None
    assert call.kind is SpanKind.SERVER
    assert attributes(call) == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{EXECUTION}CommandController/create",
        "rpc.status_code": "OK",
        "stigmer.request_id": "mine",
    }
    assert spans.below(call) == ["agent_execution.create"]
    (whole,) = spans.named("agent_execution.create")
    assert spans.below(whole) == [
        "ValidateProto",
        "ResolveSlug",
        "ValidateSessionOrAgent",
        "BuildNewState",
        "CreateDefaultInstanceIfNeeded",
        "CreateSessionIfNeeded",
        "CreateExecutionContext",
        "SetInitialPhase",
        "Persist",
    ]
    expected = {"stigmer.kind": "AgentExecution", "stigmer.method": "create", "stigmer.attempt": 1}
    assert attributes(whole) == {**expected, "stigmer.outcome": "ok"}
    (step,) = spans.named("SetInitialPhase")
    assert attributes(step) == {**expected, "stigmer.outcome": "ok"}
    (create_session,) = spans.named("CreateSessionIfNeeded")
    session = "ai.stigmer.agentic.session.v1.SessionCommandController/create"
    assert session in spans.below(create_session)
    (inner,) = spans.named(session)
    assert inner.kind is SpanKind.INTERNAL
    assert spans.below(inner) == ["session.create"]
    assert attributes(spans.named("session.create")[0])["stigmer.kind"] == "Session"
    (whose,) = {span.context.trace_id for span in spans.all() if span.context is not None}
    mine = {line["trace_id"] for line in said(caplog, "call") if line["request_id"] == "mine"}
    assert mine == {trace.format_trace_id(whose)}


async def test_no_span_tells_of_a_token(tmp_path: Path, spans: Spans) -> None:
    secrets = [f"stg_{'0123456789abcdef' * 2}{one}" for one in "ab"]
    tokens = tokens_file(tmp_path / "tokens", token(secrets[0]))
    async with listening(tmp_path / "data", tokens_file=tokens) as (server, _):
        for secret in secrets:
            with closing(dial(server, bearer=secret)) as channel, suppress(GRPCError):
                agent = await Stubs(channel).agents.create(samples.agent(org="acme"))
                await Stubs(channel).executions.create(samples.agent_execution(agent_id=id_of(agent)))
    assert spans.named(f"{EXECUTION}CommandController/create")
    told = "".join(span.to_json() for span in spans.all())
    assert [
        one for one in (*secrets, *(hashlib.sha256(one.encode()).hexdigest() for one in secrets)) if one in told
    ] == []


async def test_a_refusal_is_an_outcome(rig: Rig, spans: Spans) -> None:
    with pytest.raises(GRPCError):
        await rig.find_sessions.get(sessions.SessionId(value="ses-none"))
    (call,) = spans.named("ai.stigmer.agentic.session.v1.SessionQueryController/get")
    assert attributes(call)["rpc.status_code"] == "NOT_FOUND"
    assert "error.type" not in attributes(call)
    assert {span.status.status_code for span in spans.all()} == {StatusCode.UNSET}
    assert attributes(spans.named("session.get")[0])["stigmer.outcome"] == "NotFound"
    assert attributes(spans.named("ValidateProto")[0])["stigmer.outcome"] == "ok"
    assert attributes(spans.named("LoadTarget")[0])["stigmer.outcome"] == "NotFound"


async def test_each_run_is_a_pipeline_of_its_own(rig: Rig, spans: Spans) -> None:
    rival = await rig.agent()

    async def lose(ctx: Any) -> None:
        ctx.tx.update(await ctx.tx.get("Agent", id_of(rival)))
        if rig.inside.runs == 1:
            rival.metadata.version = None
            await separately(rig.agents.update(rival))

    rig.inside.action = lose
    await rig.environments.create(samples.environment())
    runs = spans.named("environment.create")
    assert [attributes(run)["stigmer.attempt"] for run in runs] == [1, 2]
    assert [attributes(step)["stigmer.attempt"] for step in spans.named("Inside")] == [1, 2]
    assert len(spans.named("ai.stigmer.agentic.environment.v1.EnvironmentCommandController/create")) == 1


async def test_a_stream_s_spans_lie_within_each_other(rig: Rig, spans: Spans) -> None:
    execution = await rig.execution()
    spans.clear()
    async with aclosing(rig.find_executions.subscribe(executions.AgentExecutionId(value=id_of(execution)))) as states:
        await anext(states)
        assert trace.get_current_span() is trace.INVALID_SPAN
        await rig.report(id_of(execution), phase=executions.ExecutionPhase.EXECUTION_COMPLETED)
        assert len([state async for state in states]) == 1

    (call,) = spans.named(f"{EXECUTION}QueryController/subscribe")
    assert spans.below(call) == ["agent_execution.subscribe"]
    (whole,) = spans.named("agent_execution.subscribe")
    assert spans.below(whole) == ["ValidateProto", "LoadTarget", "StreamUpdates"]
    assert [attributes(span)["stigmer.outcome"] for span in (whole, *spans.named("StreamUpdates"))] == ["ok", "ok"]
    assert attributes(call)["rpc.status_code"] == "OK"


async def test_a_stream_that_is_left_says_so(rig: Rig, spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "stigmer")
    execution = await rig.execution()
    async with aclosing(rig.find_executions.subscribe(executions.AgentExecutionId(value=id_of(execution)))) as states:
        await anext(states)
    await turns()
    assert attributes(spans.named("StreamUpdates")[0])["stigmer.outcome"] == "cancelled"
    (call,) = spans.named(f"{EXECUTION}QueryController/subscribe")
    assert attributes(call)["rpc.status_code"] == "CANCELLED"
    (line,) = [line for line in said(caplog, "call") if line["code"] == "CANCELLED"]
    assert call.context is not None
    assert line["trace_id"] == trace.format_trace_id(call.context.trace_id)


async def test_a_cancelled_call_s_spans_end(rig: Rig, spans: Spans) -> None:
    with pytest.raises(GRPCError):
        await rig.outer(asyncio.Event().wait, timeout=0.5)
    (call,) = spans.named("ai.stigmer.agentic.environment.v1.EnvironmentCommandController/create")
    assert attributes(call)["rpc.status_code"] == "DEADLINE_EXCEEDED"
    assert attributes(call)["error.type"] == "DEADLINE_EXCEEDED"
    assert (call.status.status_code, call.status.description) == (StatusCode.ERROR, "DEADLINE_EXCEEDED")
    assert attributes(spans.named("environment.create")[0])["stigmer.outcome"] == "cancelled"


async def test_a_failure_of_the_server_s_own_is_an_error_in_each_span(rig: Rig, spans: Spans) -> None:
    async def fail(_ctx: Any) -> None:
        raise RuntimeError

    rig.inside.action = fail
    with pytest.raises(GRPCError):
        await rig.environments.create(samples.environment())
    (call,) = spans.named("ai.stigmer.agentic.environment.v1.EnvironmentCommandController/create")
    assert attributes(call)["error.type"] == "INTERNAL"
    failed = [span.name for span in spans.all() if span.status.status_code is StatusCode.ERROR]
    assert failed == [call.name, "environment.create", "Inside"]


@pytest.mark.parametrize("code", Code)
def test_only_a_server_s_own_failures_make_its_span_an_error(code: Code) -> None:
    """As OpenTelemetry's conventions for gRPC have it."""
    wanted = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
    assert (code in traces.FAULTS) == (code.name in wanted)


async def test_the_caller_s_trace_goes_on(tmp_path: Path, spans: Spans) -> None:
    async with listening(tmp_path) as (_, channel):
        stubs = Stubs(channel)
        agent = await stubs.agents.create(samples.agent(), metadata=PARENT)
        follow = await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent)))
        states = stubs.find_executions.subscribe(executions.AgentExecutionId(value=id_of(follow)), metadata=PARENT)
        async with aclosing(states):
            await anext(states)
    (create,) = spans.named("ai.stigmer.agentic.agent.v1.AgentCommandController/create")
    (subscribe,) = spans.named(f"{EXECUTION}QueryController/subscribe")
    for span in (create, subscribe):
        assert span.parent is not None
        assert span.parent.is_remote
        assert (span.parent.trace_id, span.parent.span_id) == (int(TRACE, 16), int(SPAN, 16))
        assert span.kind is SpanKind.SERVER
    (step,) = spans.named("CreateDefaultInstance")
    assert step.context is not None
    assert step.context.trace_id == int(TRACE, 16)
    (load,) = [span for span in spans.named("LoadTarget") if span.context and span.context.trace_id == int(TRACE, 16)]
    assert load.parent is not None


@pytest.mark.parametrize("sent", ["nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "ff-x", ""])
async def test_a_bad_traceparent_harms_nothing(rig: Rig, spans: Spans, sent: str) -> None:
    metadata = {"traceparent": sent} if sent else {"tracestate": "x=y"}
    await rig.sessions.create(samples.session(), metadata=metadata)
    (call,) = spans.named("ai.stigmer.agentic.session.v1.SessionCommandController/create")
    assert call.parent is None


class Single(TextMapPropagator):
    """What OTEL_PROPAGATORS=b3 would install: one header, `b3`, of trace and span."""

    def extract(self, carrier: Any, context: Context | None = None, getter: Getter[Any] = default_getter) -> Context:
        (sent,) = getter.get(carrier, "b3") or [""]
        trace_id, _, span_id = sent.partition("-")
        remote = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=SAMPLED)
        return trace.set_span_in_context(NonRecordingSpan(remote), context)

    def inject(self, carrier: Any, context: Context | None = None, setter: Setter[Any] = default_setter) -> None:
        span = trace.get_current_span(context).get_span_context()
        setter.set(carrier, "b3", f"{span.trace_id:032x}-{span.span_id:016x}")

    @property
    def fields(self) -> set[str]:
        return {"B3"}


async def test_a_host_s_propagator_reads_headers_of_its_own(rig: Rig, spans: Spans) -> None:
    usual = propagate.get_global_textmap()
    propagate.set_global_textmap(Single())
    try:
        await rig.sessions.create(samples.session(), metadata={"b3": f"{TRACE}-{SPAN}"})
        await rig.sessions.create(samples.session("other"), metadata=PARENT)
    finally:
        propagate.set_global_textmap(usual)
    sent, ignored = spans.named("ai.stigmer.agentic.session.v1.SessionCommandController/create")
    assert sent.parent is not None
    assert (sent.parent.trace_id, sent.parent.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert ignored.parent is None


async def test_baggage_reaches_the_host_s_span_processors(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    class Reader(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            seen.append(baggage.get_baggage("tenant", parent_context))

    provider = TracerProvider()
    provider.add_span_processor(Reader())
    monkeypatch.setattr(tracing, "tracer", provider.get_tracer("stigmer"))
    monkeypatch.setattr(built_in, "_may_be_traced", lambda _call: True)
    await rig.sessions.create(samples.session(), metadata={**PARENT, "baggage": "tenant=a"})
    assert seen == ["a"]


async def test_a_host_s_span_stays_the_parent_where_only_baggage_is_sent(rig: Rig, spans: Spans) -> None:
    host = SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=False, trace_flags=SAMPLED)
    with trace.use_span(NonRecordingSpan(host)):
        await rig.sessions.create(samples.session(), metadata={"baggage": "tenant=a"})
    (call,) = spans.named("ai.stigmer.agentic.session.v1.SessionCommandController/create")
    assert call.parent is not None
    assert call.parent.span_id == int(SPAN, 16)


async def test_without_an_sdk_the_caller_s_trace_still_goes_downstream(wire: Callable[..., Rig]) -> None:
    seen: list[int] = []

    async def note(call: Call, request: Any, proceed: UnaryNext) -> Any:
        seen.append(trace.get_current_span().get_span_context().trace_id)
        return await proceed(call, request)

    rig = wire(Around("AgentInstanceCommandController/create", note))
    await rig.agents.create(samples.agent(), metadata=PARENT)
    await rig.agents.create(samples.agent())
    assert seen == [int(TRACE, 16), 0]
    assert trace.get_current_span() is trace.INVALID_SPAN


SCRIPT = """
import asyncio, sys, tempfile, pathlib
from opentelemetry import trace
from stigmer.app import assembly
from stigmer.store.sqlite import SqliteStore
from stigmer._gen.ai.stigmer.agentic.session.v1 import SessionQueryControllerStub, ListSessionsRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

async def main():
    with tempfile.TemporaryDirectory() as directory:
        async with SqliteStore(pathlib.Path(directory)) as store:
            exporter, provider = InMemorySpanExporter(), TracerProvider()
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            trace.set_tracer_provider(provider)
            await SessionQueryControllerStub(assembly.assemble(store).loopback).list(ListSessionsRequest())
            print(*(span.name for span in exporter.get_finished_spans()))

asyncio.run(main())
"""


def test_a_host_s_provider_set_after_the_import_is_used() -> None:
    said = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, timeout=60)
    assert said.stdout.split() == [
        "ValidateProto",
        "List",
        "session.list",
        "ai.stigmer.agentic.session.v1.SessionQueryController/list",
    ]


INSTRUMENTED = """
from pathlib import Path
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

class File(SpanExporter):
    def export(self, spans):
        with Path(__file__).with_name("spans").open("a") as file:
            file.writelines(f"{span.resource.attributes['service.name']} {span.name}\\n" for span in spans)

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(File()))
trace.set_tracer_provider(provider)
"""


@pytest.mark.parametrize(("given", "shown"), [({}, "stigmer"), ({"OTEL_SERVICE_NAME": "mine"}, "mine")])
async def test_a_server_is_called_stigmer_where_nobody_says_otherwise(
    tmp_path: Path, given: dict[str, str], shown: str
) -> None:
    """The SDK is configured as `opentelemetry-instrument` does it: before any code of ours runs."""
    (tmp_path / "sitecustomize.py").write_text(INSTRUMENTED)
    async with served(tmp_path / "data", env={"PYTHONPATH": str(tmp_path), **given}) as server, dial(server) as channel:
        await Stubs(channel).find_sessions.list(sessions.ListSessionsRequest())
    names = {line.split()[0] for line in (tmp_path / "spans").read_text().splitlines()}
    assert names == {shown}
