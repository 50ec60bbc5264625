"""Pipelines: an RPC as an ordered list of steps.

`handlers/` lists the steps of each RPC, `steps/` has them. The type of a step's context says what the step reads of the
request and for which kinds it is made: where it is listed for an RPC that it does not fit, that is a type error. A
pipeline and each of its steps is a tracing span and a debug log line with its duration; both bear the attempt, because
a lost race runs the whole pipeline again.
"""

from __future__ import annotations

import contextlib
import time
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from logging import DEBUG
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from opentelemetry import trace

from stigmer.pipeline.context import AnyContext, Context, Reply, Rule
from stigmer.pipeline.idempotency import run_once
from stigmer.pipeline.kind import Resource
from stigmer.store.transaction import Transaction
from stigmer.telemetry import traces
from stigmer.telemetry.logs import get_logger
from stigmer.wire import codec
from stigmer.wire.message_types import object_class

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Generator, Mapping

    import betterproto2
    from google.protobuf.message import Message
    from opentelemetry.trace import Span

    from stigmer.errors import Violation
    from stigmer.pipeline.call import Call
    from stigmer.pipeline.kind import Kind
    from stigmer.pipeline.runtime import Runtime
    from stigmer.wire.descriptors import Method

log = get_logger("stigmer.pipeline")
tracer = trace.get_tracer("stigmer.pipeline")


Q = TypeVar("Q")
Q_contra = TypeVar("Q_contra", contravariant=True)
R_contra = TypeVar("R_contra", bound=Resource, contravariant=True)


class Step(Protocol[Q_contra, R_contra]):
    """One step of a unary pipeline. Its class name is the step's name.

    `Step[AgentId, Agent]` fits an RPC that takes an AgentId and is about an Agent; so does one that asks for less.
    """

    def __call__(self, ctx: Context[Q_contra, R_contra], /) -> Awaitable[None]:
        """Do it; raises a StigmerError to refuse the call."""
        ...


@runtime_checkable
class Ruled(Protocol):
    """A step with rules of its own."""

    def violations(self, ctx: AnyContext, /) -> list[Violation]:
        """What is wrong with the request itself."""
        ...


class StreamStep(Protocol[Q_contra, R_contra]):
    """The last step of a streaming pipeline."""

    def stream(self, ctx: Context[Q_contra, R_contra], /) -> AsyncGenerator[Reply, None]:
        """The replies, one by one."""
        ...


AnyStep: TypeAlias = "Step[Any, Any]"
AnyStreamStep: TypeAlias = "StreamStep[Any, Any]"


class Steps(Generic[R_contra]):
    """What an RPC takes, and the steps that serve it: an entry of a handler's table.

    Args:
        request: the class of its requests; a protocol says only what the steps read of them.
        steps: in order.
        last: what a streaming RPC ends in.
    """

    def __init__(
        self, request: type[Q], *steps: Step[Q, R_contra], last: StreamStep[Q, R_contra] | None = None
    ) -> None:
        self.request: type[Any] = request
        self.steps: tuple[AnyStep, ...] = steps
        self.last: AnyStreamStep | None = last


@dataclass(frozen=True)
class Pipeline:
    """The steps of one RPC.

    Attributes:
        name: `agent.create`.
        steps: in order.
        last: what a streaming RPC ends in.
    """

    name: str
    steps: tuple[AnyStep, ...]
    last: AnyStreamStep | None = None

    def names(self) -> list[str]:
        """The names of all steps, in order."""
        return [step_name(step) for step in (*self.steps, *((self.last,) if self.last is not None else ()))]

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of those steps that have some; ValidateProto checks them with the protos' own."""
        return tuple(step.violations for step in self.steps if isinstance(step, Ruled))

    async def run(self, ctx: AnyContext) -> None:
        """Run the steps in order; the reply is in `ctx.reply`.

        Raises:
            StigmerError: a step refuses the call.
        """
        if ctx.call.span is None and not log.isEnabledFor(DEBUG):
            await self._run_unwatched(ctx)
            return
        span = traces.started(tracer, self.name)
        traces.describe(span, _attributes(ctx))
        with traces.current(span, whole=True), _watched("Pipeline done", self.name, ctx, span):
            await self._run_steps(ctx, traced=traces.is_recording(span))

    async def _run_unwatched(self, ctx: AnyContext) -> None:
        """Nobody looks: neither spans nor durations are made."""
        ctx.rules = self.rules
        for step in self.steps:
            await step(ctx)

    async def _run_steps(self, ctx: AnyContext, *, traced: bool) -> None:
        ctx.rules = self.rules
        for step in self.steps:
            await _run_step(step, ctx, traced=traced)

    async def open(self, ctx: AnyContext) -> AsyncGenerator[Reply, None]:
        """Run the steps; what the last one gives, to be closed by who reads it.

        Raises:
            StigmerError: a step refuses the call.
        """
        if self.last is None:
            raise TypeError(f"{self.name} does not end in a StreamStep")
        if ctx.call.span is not None or log.isEnabledFor(DEBUG):
            return self._watched_stream(self.last, ctx, traces.started(tracer, self.name))
        await self._run_unwatched(ctx)
        return self.last.stream(ctx)

    async def _watched_stream(self, last: AnyStreamStep, ctx: AnyContext, span: Span) -> AsyncGenerator[Reply, None]:
        """The same, with spans and durations. No span is current while the reader has a reply."""
        traces.describe(span, _attributes(ctx))
        with _spanning("Pipeline done", self.name, ctx, span):
            with traces.current(span):
                await self._run_steps(ctx, traced=traces.is_recording(span))
            name, within = step_name(last), trace.set_span_in_context(span)
            of_last = traces.started(tracer, name, within, attributes=_attributes(ctx))
            with _spanning("Step done", name, ctx, of_last):
                async with aclosing(last.stream(ctx)) as replies:
                    async for reply in replies:
                        yield reply
                        del reply


def step_name(step: AnyStep | AnyStreamStep) -> str:
    """A step's name, as the tables of the docs have it."""
    return type(step).__name__


async def _run_step(step: AnyStep, ctx: AnyContext, *, traced: bool) -> None:
    name = step_name(step)
    if not traced:
        with _watched("Step done", name, ctx, trace.INVALID_SPAN):
            await step(ctx)
        return
    span = traces.started(tracer, name, attributes=_attributes(ctx))
    with traces.current(span, whole=True), _watched("Step done", name, ctx, span):
        await step(ctx)


@contextlib.contextmanager
def _spanning(event: str, name: str, ctx: AnyContext, span: Span) -> Generator[None]:
    """End a span that is not made current: a generator that yields within has its reader's context then."""
    try:
        with _watched(event, name, ctx, span):
            yield
    finally:
        traces.end(span)


@contextlib.contextmanager
def _watched(event: str, name: str, ctx: AnyContext, span: Span) -> Generator[None]:
    """Tell how the block ends, and after how long: ok, cancelled, or the error's name."""
    started, outcome = time.perf_counter(), "cancelled"
    try:
        yield
        outcome = "ok"
    except Exception as error:
        outcome = type(error).__name__
        raise
    finally:
        traces.describe(span, {"stigmer.outcome": outcome})
        log.debug(
            event,
            name=name,
            kind=_kind_of(ctx),
            outcome=outcome,
            attempt=ctx.call.attempt,
            duration_ms=round((time.perf_counter() - started) * 1000, 3),
            request_id=ctx.call.request_id,
        )


def _attributes(ctx: AnyContext) -> dict[str, str | int]:
    return {"stigmer.kind": _kind_of(ctx), "stigmer.method": ctx.call.method.name, "stigmer.attempt": ctx.call.attempt}


def _kind_of(ctx: AnyContext) -> str:
    return ctx.service_kind.name if ctx.service_kind is not None else ""


@dataclass(frozen=True)
class Endpoint:
    """One RPC of one handler, ready to be called by `edge`: a pipeline with what it works with.

    Attributes:
        method: the RPC, as the protos describe it.
        pipeline: what serves it.
        kind: the kind that it is about; None where its service is about none.
        runtime: what the steps work with.
        pipelines: all of the handler's, by RPC name.
    """

    method: Method
    pipeline: Pipeline
    kind: Kind[Any] | None
    runtime: Runtime
    pipelines: Mapping[str, Pipeline]

    async def run(self, call: Call, request: Message) -> Reply:
        """One run of the pipeline in the call's transaction, from a request that it does not change.

        Raises:
            StigmerError: the call is refused.
            StoreError: the store failed.
        """
        if call.transaction is None:
            raise TypeError("a unary call runs in a transaction")
        ctx = self._context(call, request, call.transaction)
        if call.once is not None and not call.transaction.is_nested:
            reply = await run_once(ctx, call.once, self.pipeline)
        else:
            await self.pipeline.run(ctx)
            reply = ctx.reply
        if reply is None:
            raise TypeError(f"{self.pipeline.name} ended without a reply")
        return reply

    async def open(self, call: Call, request: Message) -> AsyncGenerator[Reply, None]:
        """The replies of a streaming pipeline, to be closed by who reads them; it reads outside of any transaction.

        Raises:
            StigmerError: the call is refused.
            StoreError: the store failed.
        """
        return await self.pipeline.open(self._context(call, request, Transaction(self.runtime.store)))

    @cached_property
    def _request_class(self) -> type[betterproto2.Message]:
        return object_class(self.method.request)

    def _context(self, call: Call, wire: Message, transaction: Transaction) -> AnyContext:
        request = codec.lazily(self._request_class, wire)
        return Context(call, self.runtime, self.kind, request, wire, transaction, self.pipelines)
