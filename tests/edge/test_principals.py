"""Who calls: `local`, or whom a channel or a host's interceptor names; the server itself downstream, for its caller."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import FrozenInstanceError, replace
from typing import TYPE_CHECKING, Any

import pytest
import samples
from callers import CLAIMS
from edge_rig import Around, Rig, Seen, Stubs, agents, executions, id_of, separately, sessions
from edge_sockets import serving

from stigmer.access.principal import INTERNAL, LOCAL, Principal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call

ANN = Principal("ann", "editor", frozenset({"acme"}))
SESSION, AGENT, EXECUTION = (f"{kind}CommandController/create" for kind in ("Session", "Agent", "AgentExecution"))


def creator(resource: Any) -> str:
    audit = resource.status.audit.spec_audit
    assert audit.created_by == audit.updated_by
    id_: str = audit.created_by.id
    return id_


async def created_session(rig: Rig) -> Any:
    (session,) = (await rig.find_sessions.list(sessions.ListSessionsRequest())).entries
    return session


def test_a_principal_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        ANN.name = "bob"  # type: ignore[misc]  # what is tested
    assert Principal("ann", "editor", frozenset({"acme"}), None) == ANN


async def test_callers_are_local_where_nobody_says_who_they_are(tmp_path: Path) -> None:
    seen = Seen()
    async with serving(tmp_path, seen) as (channel, app):
        for one in (channel, app.loopback):
            assert creator(await Stubs(one).sessions.create(samples.session())) == "local"
    assert [call.principal for call in seen.calls] == [LOCAL, LOCAL]


async def test_a_channel_carries_a_principal(wire: Callable[..., Rig]) -> None:
    seen = Seen()
    rig = wire(seen)
    ann = Stubs(rig.edge.channel(as_=ANN))
    agent = await ann.agents.create(samples.agent())
    execution = await ann.executions.create(samples.agent_execution(agent_id=id_of(agent)))
    follow = ann.find_executions.subscribe(executions.AgentExecutionId(value=id_of(execution)))
    async with aclosing(follow) as states:
        await anext(states)
    outermost = [call for call in seen.calls if call.parent is None]
    assert [call.method.name for call in outermost] == ["create", "create", "subscribe"]
    assert {call.principal for call in outermost} == {ANN}
    assert [creator(one) for one in (agent, execution, await created_session(rig))] == ["ann"] * 3


async def test_downstream_calls_are_the_server_s_own_for_its_caller(wire: Callable[..., Rig]) -> None:
    """However deep: the caller is the one who began it all."""
    seen = Seen()
    rig = wire(seen)
    agent = await Stubs(rig.edge.channel(as_=ANN)).agents.create(samples.agent())
    await rig.executions.create(samples.agent_execution(agent_id=id_of(agent)))
    (instance,) = seen.of("AgentInstanceCommandController/create")
    (session,) = seen.of(SESSION)
    assert instance.principal == replace(INTERNAL, on_behalf_of=ANN)
    assert session.principal == replace(INTERNAL, on_behalf_of=LOCAL)
    assert creator(await created_session(rig)) == "local"

    async def nested(call: Call, request: Any, proceed: UnaryNext) -> Any:
        await Stubs(deep.edge.channel(as_=INTERNAL)).agents.create(samples.agent(org="acme"))
        return await proceed(call, request)

    seen.calls.clear()
    deep = wire(Around(SESSION, nested), seen)
    await Stubs(deep.edge.channel(as_=ANN)).executions.create(samples.agent_execution(agent_id=id_of(agent)))
    assert {call.principal for call in seen.of(AGENT)} == {replace(INTERNAL, on_behalf_of=ANN)}


async def test_a_call_made_within_another_is_its_caller_s_unless_the_channel_says_otherwise(
    wire: Callable[..., Rig],
) -> None:
    bob = Principal("bob", "reader", frozenset({"*"}))
    seen = Seen()

    async def look(call: Call, request: Any, proceed: UnaryNext) -> Any:
        for channel in (rig.loopback, rig.edge.channel(as_=bob)):
            await Stubs(channel).find_sessions.list(sessions.ListSessionsRequest())
        return await proceed(call, request)

    rig = wire(Around(AGENT, look), seen)
    await separately(Stubs(rig.edge.channel(as_=ANN)).agents.create(samples.agent()))
    assert [call.principal for call in seen.of("SessionQueryController/list")] == [ANN, bob]


async def test_a_host_s_interceptor_may_say_who_calls(wire: Callable[..., Rig]) -> None:
    async def authenticate(call: Call, request: Any, proceed: UnaryNext) -> Any:
        call.principal = ANN
        return await proceed(call, request)

    seen = Seen()
    rig = wire(Around(EXECUTION, authenticate), seen)
    agent = await rig.agents.create(samples.agent(org="acme"))
    execution = await rig.executions.create(samples.agent_execution(agent_id=id_of(agent)))
    assert creator(execution) == creator(await created_session(rig)) == "ann"
    assert [call.principal.on_behalf_of for call in seen.of(SESSION)] == [ANN]


async def test_no_metadata_makes_a_caller_internal(tmp_path: Path) -> None:
    """Over a network or in this process; the server's own calls carry no more than that for whom they are."""
    seen = Seen()
    async with serving(tmp_path, seen) as (channel, app):
        for one in (channel, app.loopback):
            stubs = Stubs(one)
            agent = await stubs.agents.create(samples.agent(), metadata=CLAIMS)
            assert creator(agent) == "local"
            await stubs.find_agents.get(agents.AgentId(value=id_of(agent)), metadata=CLAIMS)
    made = [call for call in seen.calls if call.parent is None]
    assert len(made) == 4
    assert {call.principal for call in made} == {LOCAL}
    assert all("x-stigmer-principal" in call.metadata for call in made)
    downstream = [call for call in seen.calls if call.parent is not None]
    assert {call.principal for call in downstream} == {replace(INTERNAL, on_behalf_of=LOCAL)}
