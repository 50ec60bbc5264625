"""One log line a call: method, code, duration, request id, kind, id; whatever becomes of the call."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Around, Rig, executions, id_of, said, sessions, turns
from grpclib.exceptions import GRPCError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call

CREATE = "/ai.stigmer.agentic.session.v1.SessionCommandController/create"
SUBSCRIBE = "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/subscribe"


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "stigmer")


def codes(caplog: pytest.LogCaptureFixture, method: str = "") -> list[str]:
    return [line["code"] for line in said(caplog, "call") if method in line["method"]]


async def test_a_line_has_what_it_takes(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    made = await rig.sessions.create(samples.session(), metadata={"x-request-id": "mine"})
    (line,) = said(caplog, "call")
    assert line.pop("duration_ms") > 0
    assert line == {
        "event": "call",
        "method": CREATE,
        "code": "OK",
        "request_id": "mine",
        "kind": "Session",
        "id": id_of(made),
        "caller": "local",
        "peer": "loopback",
        "attempt": 1,
    }


async def test_every_unary_call_leaves_one_line(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    agent = await rig.agent()
    assert codes(caplog) == ["OK", "OK"]  # the default instance's create joined
    for call in (
        rig.agents.create(samples.agent("")),
        rig.agents.create(samples.agent(id=id_of(agent))),
        rig.find_sessions.get(sessions.SessionId(value="ses-none")),
        rig.agents.create(samples.agent(), timeout=0),
    ):
        caplog.clear()
        with pytest.raises(GRPCError) as caught:
            await call
        assert codes(caplog)[-1] == caught.value.status.name


async def test_refused_requests_are_named_too(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """What never reaches the handler: Python cannot put it on the wire."""
    broken: Any = samples.session()
    broken.spec.subject = "\ud800"
    with pytest.raises(GRPCError):
        await rig.sessions.create(broken)
    (line,) = said(caplog, "call")
    assert (line["code"], line["kind"]) == ("INVALID_ARGUMENT", "Session")
    assert line["request_id"].startswith("req-")


async def test_a_long_id_of_a_caller_s_is_clipped(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(GRPCError):
        await rig.find_sessions.get(sessions.SessionId(value="x" * 1_000_000))
    (line,) = said(caplog, "call")
    assert len(line["id"]) < 200


async def test_a_cancelled_call_says_so(wire: Callable[..., Rig], caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Event()

    async def hang(call: Call, request: Any, proceed: UnaryNext) -> Any:
        begun.set()
        await asyncio.Event().wait()

    rig = wire(Around(CREATE, hang))
    task = asyncio.create_task(rig.sessions.create(samples.session()))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert codes(caplog) == ["CANCELLED"]


async def test_streams_say_how_they_ended(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    execution = await rig.execution()
    id_ = executions.AgentExecutionId(value=id_of(execution))
    async with aclosing(rig.find_executions.subscribe(id_)) as left:
        await anext(left)
    await turns()
    async with aclosing(rig.find_executions.subscribe(id_, timeout=0.5)) as late:
        await anext(late)
        with pytest.raises(GRPCError):
            await anext(late)
    await rig.report(id_of(execution), phase=executions.ExecutionPhase.EXECUTION_COMPLETED)
    assert len([state async for state in rig.find_executions.subscribe(id_)]) == 1
    with pytest.raises(GRPCError):
        await anext(rig.find_executions.subscribe(executions.AgentExecutionId(value="aex-none")))

    lines = [line for line in said(caplog, "call") if line["method"] == SUBSCRIBE]
    assert [line["code"] for line in lines] == ["CANCELLED", "DEADLINE_EXCEEDED", "OK", "NOT_FOUND"]
    assert [line["sent"] for line in lines] == [1, 1, 1, 0]
    assert {line["kind"] for line in lines} == {"AgentExecution"}
