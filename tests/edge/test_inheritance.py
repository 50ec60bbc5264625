"""What a call hands down to those it makes: request id, trace, deadline and caller, and no other metadata."""

from __future__ import annotations

import re
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import samples
from edge_rig import Around, Rig, Seen, Stubs, executions, id_of, separately, sessions
from edge_sockets import serving
from opentelemetry import trace

from stigmer.downstream import SessionClient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from stigmer.edge.interceptors import StreamNext, UnaryNext
    from stigmer.pipeline.call import Call

TRACE = "0af7651916cd43dd8448eb211c80319c"
SENT = {
    "x-request-id": "req-of-the-caller",
    "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
    "authorization": "Bearer secret",
    "x-tenant": "acme",
    "baggage": "who=me",
}


async def create_execution(rig: Rig, **call: Any) -> None:
    agent = await rig.agent()
    await rig.executions.create(samples.agent_execution(agent_id=id_of(agent)), **call)


async def test_over_the_loopback(wire: Callable[..., Rig]) -> None:
    seen, traces = Seen(), []

    async def note(call: Call, request: Any, proceed: UnaryNext) -> Any:
        traces.append(trace.get_current_span().get_span_context().trace_id)
        return await proceed(call, request)

    rig = wire(seen, Around("SessionCommandController/create", note))
    await create_execution(rig, timeout=30, metadata=SENT)

    (outer,) = seen.of("AgentExecutionCommandController/create")
    (inner,) = seen.of("SessionCommandController/create")
    assert outer.request_id == inner.request_id == "req-of-the-caller"
    assert inner.parent is outer
    assert inner.deadline_s is not None
    assert outer.deadline_s is not None
    assert inner.deadline_s <= outer.deadline_s
    assert set(inner.metadata) <= {"x-request-id", "traceparent"}
    assert traces == [int(TRACE, 16)]
    assert set(outer.metadata) == set(SENT)


async def test_over_a_network(tmp_path: Path, wire: Callable[..., Rig]) -> None:
    seen = Seen()
    async with serving(tmp_path / "far", seen) as (channel, _):
        rig = wire(Session=SessionClient(channel))
        await create_execution(rig, timeout=30, metadata=SENT)

    (far,) = seen.of("SessionCommandController/create")
    assert far.request_id == "req-of-the-caller"
    assert far.deadline_s is not None
    assert 0 < far.deadline_s - time.monotonic() <= 30
    assert set(far.metadata) == {"x-request-id", "traceparent"}
    assert TRACE in str(far.metadata["traceparent"])


async def test_the_smaller_of_both_deadlines_counts(wire: Callable[..., Rig]) -> None:
    seen = Seen()
    rig = wire(seen)

    async def inside(**own: Any) -> None:
        await rig.sessions.create(samples.session(), **own)

    await rig.outer(lambda: inside(timeout=50), timeout=600)
    await rig.outer(lambda: inside(timeout=600), timeout=50)
    await rig.outer(inside, timeout=50)
    await rig.outer(lambda: inside(timeout=50))

    now = time.monotonic()
    for call in seen.of("SessionCommandController/create"):
        assert call.deadline_s is not None
        assert 0 < call.deadline_s - now <= 50


async def test_calls_inside_a_stream_inherit_too(tmp_path: Path) -> None:
    """Over the loopback and over a network."""

    class Audit(Seen):
        async def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Any, None]:
            await rigs[0].find_sessions.list(sessions.ListSessionsRequest())
            async with aclosing(proceed(call, request)) as replies:
                async for reply in replies:
                    await rigs[0].find_sessions.list(sessions.ListSessionsRequest())
                    yield reply

    rigs: list[Any] = []
    seen = Audit()
    async with serving(tmp_path / "data", seen) as (channel, app):
        near, far = Stubs(app.loopback), Stubs(channel)
        rigs.append(near)
        agent = await near.agents.create(samples.agent())
        execution = await near.executions.create(samples.agent_execution(agent_id=id_of(agent)))
        for one in (near, far):
            follow = one.find_executions.subscribe(
                executions.AgentExecutionId(value=id_of(execution)), timeout=30, metadata=SENT
            )
            async with aclosing(follow) as states:
                await anext(states)
    listed = seen.of("SessionQueryController/list")
    assert len(listed) == 4
    assert {call.request_id for call in listed} == {"req-of-the-caller"}
    assert all(call.deadline_s is not None for call in listed)
    assert all(call.parent is not None and call.parent.method.name == "subscribe" for call in listed)


async def test_a_stream_does_not_leave_its_call_with_its_reader(rig: Rig) -> None:
    from stigmer.pipeline.call import CURRENT

    execution = await rig.execution()
    async with aclosing(rig.find_executions.subscribe(executions.AgentExecutionId(value=id_of(execution)))) as states:
        await anext(states)
        assert CURRENT.get() is None


async def test_a_request_id_is_made_where_none_usable_is_sent(wire: Callable[..., Rig]) -> None:
    seen = Seen()
    rig = wire(seen)
    for sent in ({}, {"x-request-id": "has spaces"}, {"x-request-id": "x" * 129}, {"x-request-id": "x" * 128}):
        await rig.sessions.create(samples.session(), metadata=sent)
    *made, kept = [call.request_id for call in seen.calls]
    assert all(re.fullmatch(r"req-[0-9a-z]{26}", one) for one in made)
    assert len(set(made)) == 3
    assert kept == "x" * 128


async def test_an_independent_call_inherits_nothing(wire: Callable[..., Rig]) -> None:
    seen = Seen()
    rig = wire(seen)

    async def inside() -> None:
        await separately(rig.sessions.create(samples.session()))

    await rig.outer(inside, timeout=30, metadata=SENT)
    (call,) = seen.of("SessionCommandController/create")
    assert call.parent is None
    assert call.deadline_s is None
    assert call.request_id != "req-of-the-caller"
