"""The loopback takes the place of a network channel: every generated stub, metadata, deadlines, cancellation."""

from __future__ import annotations

import asyncio
import copy
import inspect
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Around, Rig, Seen, Stubs, executions, id_of, sessions, turns
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline

from stigmer.edge.loopback import LoopbackChannel
from stigmer.wire import descriptors
from stigmer.wire.message_types import object_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call


async def status_of(call: Any) -> Status:
    with pytest.raises(GRPCError) as caught:
        await call
    return caught.value.status


async def test_every_method_of_every_stub_comes_to_its_rpc(wire: Callable[..., Rig]) -> None:
    """With an empty request, which some take and others refuse; none is unknown, and none an internal error."""
    seen = Seen()
    rig = wire(seen)
    answers: dict[str, Status] = {}
    for stub in [value for name, value in vars(Stubs(rig.loopback)).items() if not name.startswith("_")]:
        for name, method in inspect.getmembers(type(stub), inspect.isfunction):
            if name.startswith("_"):
                continue
            hint = inspect.signature(method).parameters["message"].annotation.strip("'\"").removesuffix(" | None")
            answers[f"{type(stub).__name__}.{name}"] = await answer(getattr(stub, name), stub, hint.rpartition(".")[2])
    assert len(answers) == len(descriptors.methods())
    assert set(answers.values()) <= {Status.OK, Status.INVALID_ARGUMENT, Status.NOT_FOUND}, answers
    assert {call.method.path for call in seen.calls} == set(descriptors.methods())


async def answer(method: Any, stub: Any, hint: str) -> Status:
    package = inspect.getmodule(type(stub))
    kinds = {m.request.rpartition(".")[2]: object_class(m.request) for m in descriptors.methods().values()}
    request = getattr(package, hint, kinds.get(hint))()  # type: ignore[misc]  # one of both is there
    try:
        if inspect.isasyncgenfunction(method):
            async with aclosing(method(request)) as replies:
                await anext(replies, None)
        else:
            await method(request)
    except GRPCError as error:
        return error.status
    return Status.OK


async def test_an_unknown_method_is_unimplemented(rig: Rig) -> None:
    for path in ("/ai.stigmer.agentic.session.v1.SessionQueryController/nope", "/nope.Nope/get", "", "/"):
        for cardinality in (Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM):
            call = rig.loopback.request(path, cardinality, sessions.SessionId, sessions.Session)
            await call.send_message(sessions.SessionId())
            assert await status_of(call.recv_message()) is Status.UNIMPLEMENTED


async def test_a_request_of_another_type_is_a_mistake_of_the_program(rig: Rig) -> None:
    with pytest.raises(TypeError, match="wants Session, not SessionId"):
        await rig.sessions.create(sessions.SessionId(value="x"))
    with pytest.raises(RuntimeError, match="send the request first"):
        await rig.loopback.request("/x", Cardinality.UNARY_UNARY, sessions.SessionId, sessions.Session).recv_message()


async def test_a_unary_call_is_made_once_however_often_its_reply_is_asked_for(wire: Callable[..., Rig]) -> None:
    seen = Seen()
    rig = wire(seen)
    path = "/ai.stigmer.agentic.session.v1.SessionCommandController/create"
    async with rig.loopback.request(path, Cardinality.UNARY_UNARY, sessions.Session, sessions.Session) as call:
        await call.send_message(samples.session(), end=True)
        assert [reply.__class__ async for reply in call] == [sessions.Session]
        assert await call.recv_message() is None
    assert len(seen.calls) == 1


async def test_metadata_arrives_as_over_a_network(wire: Callable[..., Rig]) -> None:
    seen = Seen()
    rig = wire(seen)
    sent = {"x-one": "1", "x-raw-bin": b"\x00\xff"}
    await rig.sessions.create(samples.session(), metadata=sent)
    await rig.sessions.create(samples.session(), metadata=[("x-two", "a"), ("x-two", "b")])
    one, two = seen.calls
    assert dict(one.metadata) == sent
    assert two.metadata.getall("x-two") == ["a", "b"]
    one.metadata["x-one"] = "changed"
    assert sent["x-one"] == "1"
    for bad in ({"X-Upper": "x"}, {"grpc-timeout": "1S"}, {"x-umlaut": "ü"}, {"x-line": "a\nb"}):
        with pytest.raises(ValueError, match="Invalid metadata"):
            await rig.sessions.create(samples.session(), metadata=bad)
    with pytest.raises(TypeError):
        await rig.sessions.create(samples.session(), metadata={"x-bin": "text"})


async def test_of_timeout_and_deadline_the_sooner_counts(wire: Callable[..., Rig]) -> None:
    seen = Seen()
    rig = wire(seen)
    for timeout, deadline in ((50.0, 600.0), (600.0, 50.0), (None, 50.0), (50.0, None)):
        given = Deadline.from_timeout(deadline) if deadline is not None else None
        await rig.sessions.create(samples.session(), timeout=timeout, deadline=given)
    await rig.sessions.create(samples.session())
    *limited, unlimited = [call.deadline_s for call in seen.calls]
    assert all(one is not None and 0 < one - time.monotonic() <= 50 for one in limited)
    assert unlimited is None


async def test_a_stub_s_own_defaults_hold(wire: Callable[..., Rig]) -> None:
    seen = Seen()
    rig = wire(seen)
    stub = sessions.SessionCommandControllerStub(rig.loopback, timeout=5, metadata={"x-of": "stub"})
    await stub.create(samples.session())
    (call,) = seen.calls
    assert call.deadline_s is not None
    assert dict(call.metadata) == {"x-of": "stub"}


async def test_the_caller_s_message_is_never_touched(wire: Callable[..., Rig]) -> None:
    """Neither by a step, which gives it an id and a slug, nor by an interceptor, nor later by the caller itself."""

    async def spoil(call: Call, request: Any, proceed: UnaryNext) -> Any:
        request.metadata.labels["spoiled"] = "yes"
        request.spec.subject = "spoiled"
        return await proceed(call, request)

    rig = wire(Around("SessionCommandController/create", spoil))
    sent: Any = samples.session()
    before = copy.deepcopy(sent)
    stored = await rig.sessions.create(sent)
    assert sent == before
    sent.metadata.labels["later"] = "yes"
    assert (await rig.find_sessions.get(sessions.SessionId(value=id_of(stored)))).metadata.labels == {"spoiled": "yes"}


async def test_a_reply_is_the_caller_s_own(rig: Rig) -> None:
    """What is done to it shows neither in the store, nor in its cache, nor in another's reply or list."""
    stored = await rig.sessions.create(samples.session())
    id_ = sessions.SessionId(value=id_of(stored))
    for read in (rig.find_sessions.get, rig.find_sessions.get):
        reply = await read(id_)
        assert reply == stored
        reply.metadata.labels["spoiled"] = "yes"
        reply.spec.subject = "spoiled"
    (listed,) = (await rig.find_sessions.list(sessions.ListSessionsRequest())).entries
    listed.metadata.name = "spoiled"
    assert await rig.find_sessions.get(id_) == stored


async def test_readers_of_one_stream_share_no_state(rig: Rig) -> None:
    execution = await rig.execution()
    id_ = executions.AgentExecutionId(value=id_of(execution))
    async with aclosing(rig.find_executions.subscribe(id_)) as one, aclosing(rig.find_executions.subscribe(id_)) as two:
        first = await anext(one)
        first.status.error = "spoiled"
        assert await anext(two) == execution
        await rig.report(id_of(execution), error="true")
        spoiled = await anext(one)
        spoiled.status.error = "spoiled"
        assert (await anext(two)).status.error == "true"


async def test_closing_a_stream_early_ends_the_handler_and_its_subscription(rig: Rig) -> None:
    execution = await rig.execution()
    states = rig.find_executions.subscribe(executions.AgentExecutionId(value=id_of(execution)))
    await anext(states)
    assert rig.store.feed._open == 1
    await states.aclose()
    await turns()  # the stub leaves closing its inner generator to the event loop
    assert rig.store.feed._open == 0


async def test_cancelling_a_reader_ends_the_handler_and_its_subscription(rig: Rig) -> None:
    execution = await rig.execution()

    async def read() -> None:
        async for _ in rig.find_executions.subscribe(executions.AgentExecutionId(value=id_of(execution))):
            reading.set()

    reading = asyncio.Event()
    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await turns()
    assert rig.store.feed._open == 0


async def test_a_stream_s_deadline_ends_it(rig: Rig) -> None:
    execution = await rig.execution()
    states = rig.find_executions.subscribe(executions.AgentExecutionId(value=id_of(execution)), timeout=0.5)
    async with aclosing(states):
        assert await anext(states) == execution
        assert await status_of(anext(states)) is Status.DEADLINE_EXCEEDED
    assert rig.store.feed._open == 0


async def test_a_stream_ends_after_the_last_state(rig: Rig) -> None:
    execution = await rig.execution()
    await rig.report(id_of(execution), phase=executions.ExecutionPhase.EXECUTION_FAILED)
    states = rig.find_executions.subscribe(executions.AgentExecutionId(value=id_of(execution)))
    assert [state.status.phase async for state in states] == [executions.ExecutionPhase.EXECUTION_FAILED]


async def test_many_calls_at_once(rig: Rig) -> None:
    made = await asyncio.gather(*(rig.sessions.create(samples.session()) for _ in range(100)))
    found = await asyncio.gather(*(rig.find_sessions.get(sessions.SessionId(value=id_of(one))) for one in made))
    assert found == made
    assert len({id_of(one) for one in made}) == 100


async def test_it_says_what_it_is(rig: Rig) -> None:
    count = len(rig.edge.routes)
    assert repr(rig.loopback) == f"<LoopbackChannel to <Edge {count} RPCs, <RunningCalls open, 0 running>>>"
    call = LoopbackChannel(rig.edge).request("/a/b", Cardinality.UNARY_UNARY, sessions.SessionId, sessions.Session)
    assert repr(call) == "<LoopbackStream /a/b>"
