"""A host's own interceptors: what they see, change and refuse, unary and streaming, over both channels."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import betterproto2
import pytest
import samples
from edge_rig import Around, Rig, Seen, Stubs, executions, failure_of, id_of, said, separately, sessions, turns
from edge_sockets import listening, raw
from google.rpc import error_details_pb2 as rpc
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from stigmer.edge.interceptors import Interceptor
from stigmer.errors import NotFound
from stigmer.wire.codec import Encoded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from stigmer.edge.interceptors import StreamNext, UnaryNext
    from stigmer.pipeline.call import Call


class Named(Interceptor):
    """Notes when it is entered and left."""

    def __init__(self, name: str, log: list[str]) -> None:
        self._name = name
        self._log = log

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
        self._log.append(f"{self._name} in")
        try:
            return await proceed(call, request)
        finally:
            self._log.append(f"{self._name} out")

    async def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Any, None]:
        self._log.append(f"{self._name} in")
        try:
            async with aclosing(proceed(call, request)) as replies:
                async for reply in replies:
                    self._log.append(f"{self._name} reply")
                    yield reply
        finally:
            self._log.append(f"{self._name} out")


async def test_they_run_in_order_around_the_handler(wire: Callable[..., Rig]) -> None:
    log: list[str] = []
    rig = wire(Named("first", log), Named("second", log))
    session = await rig.sessions.create(samples.session())
    assert log == ["first in", "second in", "second out", "first out"]
    log.clear()
    execution = await rig.executions.create(samples.agent_execution(session_id=id_of(session)))
    log.clear()
    async with aclosing(rig.find_executions.subscribe(executions.AgentExecutionId(value=id_of(execution)))) as states:
        await anext(states)
        assert log == ["first in", "second in", "second reply", "first reply"]
    await turns()
    assert log[4:] == ["second out", "first out"]


@asynccontextmanager
async def both(directory: Path, *interceptors: Interceptor) -> AsyncGenerator[tuple[Stubs, Stubs]]:
    """The same interceptors on two control planes: stubs over the loopback, stubs over a network."""
    from stigmer.app import assembly
    from stigmer.store.sqlite import SqliteStore

    async with (
        SqliteStore(directory / "near") as store,
        listening(directory / "far", *interceptors) as (_, channel),
    ):
        yield Stubs(assembly.assemble(store, assembly.Own(interceptors)).loopback), Stubs(channel)


async def test_they_see_objects_and_what_they_change_counts(tmp_path: Path) -> None:
    """In the request, which is validated after them, and in the reply."""

    class Changing(Interceptor):
        async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
            assert isinstance(request, betterproto2.Message)
            if call.method.name == "create":
                assert call.kind is not None
                request.metadata.labels["kind"] = call.kind.name  # type: ignore[attr-defined]  # a resource
                request.spec.subject = request.spec.subject.upper()  # type: ignore[attr-defined]  # a session
            reply = await proceed(call, request)
            assert isinstance(reply, betterproto2.Message)
            assert not isinstance(reply, Encoded)
            reply.metadata.annotations["seen"] = "yes"  # type: ignore[attr-defined]  # a resource
            return reply

    async with both(tmp_path, Changing()) as channels:
        for stubs in channels:
            made = await stubs.sessions.create(samples.session())
            assert made.spec.subject == "THE WEATHER"
            assert made.metadata.labels == {"kind": "Session"}
            assert made.metadata.annotations == {"seen": "yes"}
            stored = await stubs.find_sessions.get(sessions.SessionId(value=id_of(made)))
            assert stored == made
            spoiled = samples.session()
            spoiled.metadata.owner_scope = 1  # platform: refused
            assert (await failure_of(stubs.sessions.create(spoiled))).status is Status.INVALID_ARGUMENT


async def test_what_they_break_is_refused_by_the_rules(tmp_path: Path) -> None:
    async def spoil(call: Call, request: Any, proceed: UnaryNext) -> Any:
        request.metadata.slug = "Not A Slug"
        return await proceed(call, request)

    async with both(tmp_path, Around("SessionCommandController/create", spoil)) as channels:
        for stubs in channels:
            error = await failure_of(stubs.sessions.create(samples.session()))
            assert error.status is Status.INVALID_ARGUMENT
            assert "metadata.slug" in (error.message or "")


async def test_a_status_they_set_is_not_kept(wire: Callable[..., Rig]) -> None:
    async def forge(call: Call, request: Any, proceed: UnaryNext) -> Any:
        request.status = executions.AgentExecutionStatus(phase=executions.ExecutionPhase.EXECUTION_COMPLETED)
        return await proceed(call, request)

    rig = wire(Around("AgentExecutionCommandController/create", forge))
    assert (await rig.execution()).status.phase == executions.ExecutionPhase.EXECUTION_PENDING


async def test_they_may_answer_themselves(tmp_path: Path) -> None:
    async def cached(call: Call, request: Any, proceed: UnaryNext) -> Any:
        return samples.session(name="from-a-cache")

    async with both(tmp_path, Around("SessionQueryController/get", cached)) as channels:
        for stubs in channels:
            found = await stubs.find_sessions.get(sessions.SessionId(value="ses-none"))
            assert found.metadata.name == "from-a-cache"


REFUSALS: dict[str, tuple[Callable[[], BaseException], Status, str]] = {
    "our error": (lambda: NotFound("Session", "x"), Status.NOT_FOUND, "Session not found: x"),
    "a GRPCError": (lambda: GRPCError(Status.UNAUTHENTICATED, "who?"), Status.UNAUTHENTICATED, "who?"),
    "any exception": (lambda: ZeroDivisionError("1/0 at /etc/secret"), Status.INTERNAL, "internal error"),
    "a timeout of its own": (lambda: TimeoutError("upstream"), Status.INTERNAL, "internal error"),
    "a cancellation that nobody asked for": (asyncio.CancelledError, Status.INTERNAL, "internal error"),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("where", ["before", "after"])
async def test_they_may_refuse(tmp_path: Path, case: str, where: str, caplog: pytest.LogCaptureFixture) -> None:
    make, status, words = REFUSALS[case]

    async def refuse(call: Call, request: Any, proceed: UnaryNext) -> Any:
        if where == "after":
            await proceed(call, request)
        raise make()

    async with both(tmp_path, Around("SessionQueryController/list", refuse)) as channels:
        for stubs in channels:
            caplog.clear()
            error = await failure_of(stubs.find_sessions.list(sessions.ListSessionsRequest(), timeout=30))
            assert (error.status, (error.message or "").startswith(words)) == (status, True)
            assert "secret" not in str(error)
            if status is Status.INTERNAL:
                (detail,) = list(error.details or ())
                assert isinstance(detail, rpc.ErrorInfo)
                (line,) = said(caplog, "Internal error")
                assert line["error_id"] == detail.metadata["error_id"]
                assert re.search(r"error id ([0-9a-f]{32})", error.message or "")[1] == line["error_id"]  # type: ignore[index]  # it matches


async def test_streaming_ones_may_change_add_and_refuse(tmp_path: Path) -> None:
    class Doubling(Interceptor):
        async def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Any, None]:
            if "x-fail" in call.metadata:
                raise GRPCError(Status.PERMISSION_DENIED, "no")
            async with aclosing(proceed(call, request)) as replies:
                async for reply in replies:
                    assert isinstance(reply, betterproto2.Message)
                    yield reply
                    reply.metadata.name = "again"  # type: ignore[attr-defined]  # an execution
                    yield reply
            raise ZeroDivisionError

    async with both(tmp_path, Doubling()) as channels:
        for stubs in channels:
            agent = await stubs.agents.create(samples.agent())
            execution = await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent)))
            await stubs.report(id_of(execution), phase=executions.ExecutionPhase.EXECUTION_COMPLETED)
            id_ = executions.AgentExecutionId(value=id_of(execution))
            async with aclosing(stubs.find_executions.subscribe(id_)) as states:
                first, second = await anext(states), await anext(states)
                assert (first.metadata.name, second.metadata.name) == (execution.metadata.name, "again")
                assert (await failure_of(anext(states))).status is Status.INTERNAL
            refused = stubs.find_executions.subscribe(id_, metadata={"x-fail": "1"})
            assert (await failure_of(anext(refused))).status is Status.PERMISSION_DENIED


SPOILED: dict[str, Any] = {
    "nothing": None,
    "another type": sessions.SessionId(value="x"),
    "text": "text",
    "what cannot be sent": sessions.Session(kind="\ud800"),
}


@pytest.mark.parametrize("case", SPOILED)
async def test_a_reply_they_spoil_is_an_internal_error(
    tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def spoil(call: Call, request: Any, proceed: UnaryNext) -> Any:
        await proceed(call, request)
        return SPOILED[case]

    async with both(tmp_path, Around("SessionCommandController/create", spoil)) as channels:
        for stubs in channels:
            caplog.clear()
            error = await failure_of(stubs.sessions.create(samples.session()))
            assert error.status is Status.INTERNAL
            assert said(caplog, "Internal error")
            assert [line["code"] for line in said(caplog, "call")] == ["INTERNAL"]


async def test_they_are_around_health_and_reflection_with_no_request(tmp_path: Path) -> None:
    seen = Seen()
    async with listening(tmp_path, seen) as (server, _), AsyncExitStack() as stack:
        channel = stack.enter_context(raw(server))
        async with channel.request("/grpc.health.v1.Health/Check", Cardinality.UNARY_UNARY, bytes, bytes) as call:
            await call.send_message(b"", end=True)
            assert await call.recv_message() == b"\x08\x01"
        path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        async with channel.request(path, Cardinality.STREAM_STREAM, bytes, bytes) as call:
            await call.send_message(b"\x3a\x00", end=True)
            reply: Any = await call.recv_message()
            assert b"SessionCommandController" in reply
    assert [call.method.path for call in seen.calls] == ["/grpc.health.v1.Health/Check", path]
    assert seen.requests == [None, None]
    assert [call.kind for call in seen.calls] == [None, None]


async def test_they_may_refuse_health(tmp_path: Path) -> None:
    async def refuse(call: Call, request: Any, proceed: UnaryNext) -> Any:
        raise GRPCError(Status.UNAUTHENTICATED, "who?")

    async with listening(tmp_path, Around("Health/Check", refuse)) as (server, _), AsyncExitStack() as stack:
        channel = stack.enter_context(raw(server))
        async with channel.request("/grpc.health.v1.Health/Check", Cardinality.UNARY_UNARY, bytes, bytes) as call:
            await call.send_message(b"", end=True)
            assert (await failure_of(call.recv_message())).status is Status.UNAUTHENTICATED


async def test_one_that_calls_twice_gets_two_calls(wire: Callable[..., Rig]) -> None:
    """A retry by an interceptor starts from the request anew."""

    async def twice(call: Call, request: Any, proceed: UnaryNext) -> Any:
        request.metadata.name = samples.unique("first")
        await proceed(call, request)
        request.metadata.name = samples.unique("second")
        return await proceed(call, request)

    rig = wire(Around("SessionCommandController/create", twice))
    made = await rig.sessions.create(samples.session())
    assert made.metadata.name.startswith("second")
    assert len(await rig.ids("Session")) == 2


async def test_around_an_outermost_call_what_one_does_stands_alone(wire: Callable[..., Rig]) -> None:
    """It runs once, so that it cannot be part of what may be run again."""
    rigs: list[Rig] = []

    async def audit(call: Call, request: Any, proceed: UnaryNext) -> Any:
        await rigs[0].contexts.create(samples.execution_context())
        assert len(await rigs[0].ids("ExecutionContext")) == 1
        return await proceed(call, request)

    rigs.append(wire(Around("SessionCommandController/create", audit)))
    bad = samples.session(slug="Not A Slug")
    assert (await failure_of(separately(rigs[0].sessions.create(bad)))).status is Status.INVALID_ARGUMENT
    assert len(await rigs[0].ids("ExecutionContext")) == 1
