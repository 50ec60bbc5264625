"""A host's own policy: asked once a call, outside of any transaction, and only to narrow."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import samples
from conformance import refused
from edge_rig import Rig, Stubs, agents, executions, id_of, lose_once, said, sessions
from grpclib.const import Status

from stigmer import rpc
from stigmer.access import authorizer
from stigmer.access.principal import Principal
from stigmer.errors import PermissionDenied, Unauthenticated
from stigmer.pipeline.call import CURRENT
from stigmer.types import ApiResourceIamPermission as Permission
from stigmer.types import ApiResourceKind as Kind
from stigmer.types import ApiResourceOwnerScope as Scope
from stigmer.types import ApiResourceReference, CanIRequest, ExecutionPhase

if TYPE_CHECKING:
    from collections.abc import Callable

ANN = Principal("ann", "editor", frozenset({"acme"}))


class Asked(NamedTuple):
    principal: Principal
    permission: str
    kind: str
    id: str | None


class Policy:
    """Notes what it is asked; answers what the test says."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Any] = lambda _asked: True

    async def check(self, principal: Principal, permission: str, kind: str, id_: str | None, /) -> Any:
        call = CURRENT.get()
        assert call is not None
        assert call.transaction is None or call.method.name == "canI"  # which asks for nothing but what it answers
        self.asked.append(Asked(principal, permission, kind, id_))
        answer = self.answer(self.asked[-1])
        return await answer if asyncio.iscoroutine(answer) else answer


class Hosted(Stubs):
    """A control plane with that policy; its own stubs are Ann's."""

    def __init__(self, wire: Callable[..., Rig]) -> None:
        self.policy = Policy()
        self.rig = wire(authorizer=self.policy)
        super().__init__(self.of(ANN))

    def of(self, principal: Principal) -> Any:
        return self.rig.edge.channel(principal)

    def asks(self) -> list[tuple[str, str, str | None]]:
        """What it was asked of Ann since the last time."""
        asked, self.policy.asked = self.policy.asked, []
        assert {one.principal for one in asked} <= {ANN}
        return [one[1:] for one in asked]


@pytest.fixture
def host(wire: Callable[..., Rig]) -> Hosted:
    return Hosted(wire)


async def test_it_is_asked_once_a_call_for_what_the_method_asks_of_the_role(host: Hosted) -> None:
    agent = await host.agents.create(samples.agent(org="acme"))
    assert host.asks() == [("can_create_agent", "organization", "acme")]
    await host.find_agents.get(agents.AgentId(id_of(agent)))
    assert host.asks() == [("can_view", "agent", id_of(agent))]
    await host.agents.update(agent)
    assert host.asks() == [("can_edit", "agent", id_of(agent))]
    environment = await host.environments.create(samples.environment(org="acme"))
    assert host.asks() == [("create", "environment", "acme")]
    await host.environments.apply(environment)
    assert host.asks() == [("create", "environment", "acme")]
    await host.find_agents.get_by_reference(ApiResourceReference(org="acme", slug=agent.metadata.slug))
    assert host.asks() == [("can_view", "agent", None)]
    agent.metadata.id, agent.metadata.version = "", None
    await host.agents.update(agent)
    assert host.asks() == [("can_edit", "agent", None)]


async def test_what_is_made_without_an_organization_gets_the_caller_s_only_one(host: Hosted) -> None:
    await host.environments.create(samples.environment())
    assert host.asks() == [("create", "environment", "acme")]
    await host.environments.create(samples.environment(owner_scope=Scope.identity_account))
    assert host.asks() == [("create", "environment", None)]


async def test_it_is_not_asked_for_what_the_server_calls_downstream(host: Hosted) -> None:
    agent = await host.agents.create(samples.agent(org="acme"))
    host.asks()
    await host.executions.create(samples.agent_execution(agent_id=id_of(agent)))
    assert host.asks() == [("create", "agent_execution", "acme")]


async def test_it_is_not_asked_for_lists(host: Hosted) -> None:
    host.policy.answer = lambda _asked: False
    await host.find_sessions.list(sessions.ListSessionsRequest())
    await host.find_executions.list(executions.ListAgentExecutionsRequest())
    assert host.asks() == []


async def test_it_is_asked_before_a_stream_opens_and_not_again(host: Hosted) -> None:
    agent = await host.agents.create(samples.agent(org="acme"))
    made = await host.executions.create(samples.agent_execution(agent_id=id_of(agent)))
    host.asks()
    request = executions.AgentExecutionId(id_of(made))
    async with aclosing(host.find_executions.subscribe(request)) as states:
        await anext(states)
        await host.rig.report(id_of(made), phase=ExecutionPhase.EXECUTION_IN_PROGRESS)
        await anext(states)
        asked = [one[1:] for one in host.policy.asked if one.principal == ANN]
        assert asked == [("can_view", "agent_execution", id_of(made))]
    host.policy.answer = lambda _asked: False
    await refused(anext(host.find_executions.subscribe(request)), Status.PERMISSION_DENIED)


async def test_a_no_names_permission_and_kind_the_same_whether_the_resource_is_there(host: Hosted) -> None:
    there = id_of(await host.agents.create(samples.agent(org="acme")))
    host.policy.answer = lambda _asked: False
    told = set[tuple[str, str, str]]()
    for id_ in (there, f"agt-{samples.NOBODY}"):
        error = rpc.error_of(await refused(host.find_agents.get(agents.AgentId(id_)), Status.PERMISSION_DENIED))
        assert isinstance(error, PermissionDenied)
        told.add((error.message, error.permission, error.kind))
    ((message, *named),) = told
    assert named == ["can_view", "agent"]
    assert there not in message


async def test_it_cannot_give_what_the_role_has_not(host: Hosted) -> None:
    reader = Stubs(host.of(Principal("bob", "reader", frozenset({"*"}))))
    await refused(reader.agents.create(samples.agent()), Status.PERMISSION_DENIED)
    assert host.policy.asked == []


@pytest.mark.parametrize("answer", [1, "yes", None, object(), [True]])
async def test_whatever_is_not_true_is_a_no(host: Hosted, answer: object) -> None:
    host.policy.answer = lambda _asked: answer
    await refused(host.agents.create(samples.agent(org="acme")), Status.PERMISSION_DENIED)


async def raising(error: BaseException) -> bool:
    raise error


async def stubborn(until: asyncio.Event) -> bool:
    """Will not be cancelled."""
    while not until.is_set():
        try:
            await until.wait()
        except asyncio.CancelledError:
            continue
    return True


@pytest.mark.parametrize(
    "error",
    [OSError("10.0.0.7:8080 refused"), Unauthenticated("no"), asyncio.CancelledError(), StopAsyncIteration()],
    ids=lambda error: type(error).__name__,
)
async def test_a_fault_is_unavailable_and_tells_the_caller_nothing(
    host: Hosted, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    host.policy.answer = lambda _asked: raising(error)
    told = await refused(host.agents.create(samples.agent(org="acme")), Status.UNAVAILABLE)
    assert told.message == "whoever decides what callers may do does not answer: try again"
    assert len(said(caplog, "The authorizer fails")) == 1


async def test_silence_is_unavailable_even_of_one_that_will_not_be_cancelled(
    host: Hosted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(authorizer, "ANSWER_S", 0.05)
    over = asyncio.Event()
    host.policy.answer = lambda _asked: stubborn(over)
    await refused(host.agents.create(samples.agent(org="acme")), Status.UNAVAILABLE)
    assert len(said(caplog, "The authorizer does not answer")) == 1
    assert (await host.find_sessions.list(sessions.ListSessionsRequest())).entries == []
    over.set()


async def test_a_caller_that_gives_up_ends_the_asking(host: Hosted) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def waiting() -> bool:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return True

    host.policy.answer = lambda _asked: waiting()
    call = asyncio.create_task(host.agents.create(samples.agent(org="acme")))
    await began.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(ended.wait(), 10)


async def test_it_may_call_the_server_itself(host: Hosted) -> None:
    """As the caller, which is part of the call, or as somebody of its own, about whom it is asked once more."""
    agent = await host.agents.create(samples.agent(org="acme"))
    host.policy.asked.clear()
    service = Principal("policy", "reader", frozenset({"*"}))

    async def looking(asked: Asked) -> bool:
        for channel in (host.rig.loopback, host.of(service)):
            await Stubs(channel).find_agents.get(agents.AgentId(id_of(agent)))
        return True

    host.policy.answer = looking
    await host.find_agents.get(agents.AgentId(id_of(agent)))
    assert [asked.principal for asked in host.policy.asked] == [ANN, service]


async def test_a_call_that_runs_again_is_not_asked_again(host: Hosted) -> None:
    rig = host.rig
    rival = await rig.agent()
    host.policy.asked.clear()
    rig.inside.action = lambda ctx: lose_once(rig, ctx, rival, rig.inside.runs)
    await host.environments.create(samples.environment(org="acme"))
    assert rig.inside.runs == 2
    asked = [one.permission for one in host.policy.asked if one.principal == ANN]
    assert asked == ["create"]


async def test_whoever_asks_what_it_may_do_is_told_what_the_policy_says(host: Hosted) -> None:
    agent = id_of(await host.agents.create(samples.agent(org="acme")))
    host.asks()
    request = CanIRequest(permission=Permission.can_edit, kind=Kind.agent, id=agent)
    assert (await host.callers.can_i(request)).allowed
    host.policy.answer = lambda _asked: False
    assert not (await host.callers.can_i(request)).allowed
    assert host.asks() == [("can_edit", "agent", agent)] * 2
    host.policy.answer = lambda _asked: raising(OSError())
    await refused(host.callers.can_i(request), Status.UNAVAILABLE)
    await host.callers.can_i(CanIRequest(permission=Permission.login_to_back_office, kind=Kind.platform))
    assert host.asks() == [("can_edit", "agent", agent)]
