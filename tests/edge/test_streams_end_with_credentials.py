"""Open streams end when their credential does, or when its holder may not have them any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from badge_planes import ANN, Opened, failure, finish, info
from call_lines import Calls, listener
from edge_rig import executions
from grpclib.const import Cardinality, Status

from stigmer.access.credentials import Identity
from stigmer.access.gate import Gate
from stigmer.access.principal import LOCAL, Principal, organization
from stigmer.access.rules import Decision
from stigmer.edge import running
from stigmer.edge.recheck import Recheck
from stigmer.edge.running import RunningCalls
from stigmer.errors import PermissionDenied, StigmerError, Unauthenticated
from stigmer.pipeline.call import Call
from stigmer.wire import descriptors
from stigmer.wire.descriptors import message_class

if TYPE_CHECKING:
    from collections.abc import Generator

    from badges import Badges


SUBSCRIBE = "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/subscribe"


@pytest.fixture(autouse=True)
def calls() -> Generator[Calls]:
    with listener() as heard:
        yield heard


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams are looked at again all the time."""
    monkeypatch.setattr(running, "RECHECK_S", 0.01)


@pytest.mark.usefixtures("soon")
async def test_a_stream_ends_when_its_credential_does(serve: Opened, badges: Badges, calls: Calls) -> None:
    async with serve() as opened:
        id_ = await opened.execution()
        async with opened.following(id_) as states, opened.following(id_, "bob") as others:
            del badges.holders["ann"]
            error = await failure(anext(states))
            assert error.status is Status.UNAUTHENTICATED
            assert error.message == (
                "the credentials that this call came with have expired or were revoked; "
                "send one of: badge (header 'x-badge')"
            )
            assert info(error) == {"takes": "badge"}
            while (line := await calls.next())["method"] != SUBSCRIBE:
                pass
            assert (line["code"], line["sent"]) == ("UNAUTHENTICATED", 1)
            await finish(opened, id_)
            assert [state.status.phase async for state in others][-1] == executions.ExecutionPhase.EXECUTION_COMPLETED


@pytest.mark.usefixtures("soon")
async def test_a_stream_ends_when_its_organization_is_the_callers_no_more(serve: Opened, badges: Badges) -> None:
    async with serve() as opened:
        id_ = await opened.execution()
        async with opened.following(id_) as states:
            badges.let("ann", "reader", "acme", "other")
            badges.let("ann", "reader", "other")
            error = await failure(anext(states))
            assert error.status is Status.PERMISSION_DENIED
            assert info(error) == {"permission": "can_view", "kind": "agent_execution"}


@pytest.mark.usefixtures("soon")
async def test_a_stream_goes_on_while_its_caller_may_have_it(serve: Opened, badges: Badges) -> None:
    async with serve() as opened:
        id_ = await opened.execution()
        async with opened.following(id_) as states:
            looked_at = asyncio.Event()
            holder = badges._holder

            def look(name: str) -> Principal:
                looked_at.set()
                return holder(name)

            badges.let("ann", "reader", "acme", "other")
            badges._holder = look  # type: ignore[method-assign]
            await looked_at.wait()
            await finish(opened, id_)
            assert [state.status.phase async for state in states] == [executions.ExecutionPhase.EXECUTION_COMPLETED]


@pytest.mark.usefixtures("soon")
async def test_an_authenticator_that_cannot_say_ends_streams_without_a_yes(
    serve: Opened, badges: Badges, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve() as opened:
        id_ = await opened.execution()
        async with opened.following(id_) as states:
            badges.fault = RuntimeError("the secret is 1234")
            assert (await failure(anext(states))).status is Status.UNAVAILABLE
    assert "RuntimeError" in caplog.text
    assert "1234" not in caplog.text


@pytest.mark.usefixtures("soon")
async def test_reflection_ends_too(serve_own: Opened, badges: Badges) -> None:
    asked, told = (message_class(f"grpc.reflection.v1.ServerReflection{what}") for what in ("Request", "Response"))
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

    async def asking() -> None:
        async with opened.channel.request(path, Cardinality.STREAM_STREAM, asked, told, metadata=ANN) as stream:
            await stream.send_message(asked(list_services=""))
            await stream.recv_message()
            badges.holders.clear()
            await stream.recv_message()

    async with serve_own() as opened:
        assert (await failure(asking())).status is Status.UNAUTHENTICATED


@pytest.mark.usefixtures("soon")
async def test_a_stream_of_this_process_has_no_credential_that_could_end(serve_own: Opened, badges: Badges) -> None:
    async with serve_own() as opened:
        id_ = await opened.execution()
        states = opened.local.find_executions.subscribe(executions.AgentExecutionId(value=id_))
        await anext(states)
        badges.holders.clear()
        await finish(opened, id_)
        assert [state.status.phase async for state in states] == [executions.ExecutionPhase.EXECUTION_COMPLETED]


def open_call(identity: Identity | None, owner: str | None = None) -> Call:
    call = Call(descriptors.methods()[SUBSCRIBE], owner=owner, identity=identity)
    call.principal = identity.principal if identity is not None else LOCAL
    return call


ADMINS = {SUBSCRIBE: Decision("can_view", "agent_execution", frozenset({"admin"}))}


def test_a_role_that_is_not_enough_any_more_ends_a_stream() -> None:
    was, now = (Principal("ann", role, frozenset({"acme"})) for role in ("admin", "reader"))
    recheck = Recheck(Gate(), ADMINS)
    assert isinstance(recheck(open_call(Identity(was, lambda: now), organization("acme"))), PermissionDenied)
    assert recheck(open_call(Identity(was, lambda: was), organization("acme"))) is None
    assert recheck(open_call(None)) is None


async def test_many_streams_are_looked_at_some_in_each_turn_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "RECHECK_S", 0.0)
    monkeypatch.setattr(running, "AT_ONCE", 2)
    looked: list[Call] = []

    def recheck(call: Call) -> StigmerError | None:
        looked.append(call)
        return Unauthenticated("it has ended")

    calls, streams = RunningCalls(recheck), [open_call(None) for _ in range(5)]

    async def run(call: Call) -> None:
        with calls.run(call):
            await asyncio.get_running_loop().create_future()

    tasks = [asyncio.create_task(run(call)) for call in streams]
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in ended] == [Unauthenticated] * 5
    assert looked == streams
