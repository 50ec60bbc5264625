"""Each row of the errors table reads the same over the loopback and over a network: code, message, details."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Around, Stubs, agents, executions, failure_of, id_of, sessions
from edge_sockets import serving
from google.rpc import error_details_pb2 as rpc
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
from stigmer.store.errors import StoreUnavailableError, TooManySubscriptionsError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call

Phase = executions.ExecutionPhase


class World:
    """Stubs over one of the two channels, and what is there already."""

    def __init__(self, channel: Any, agent: Any, execution: Any) -> None:
        self.channel = channel
        self.stubs = Stubs(channel)
        self.agent = agent
        self.execution = execution


async def raising(call: Call, request: Any, proceed: UnaryNext) -> Any:
    raised = {
        "store": StoreUnavailableError("the database does not answer: /secret/path"),
        "full": TooManySubscriptionsError("7 subscriptions are open, which is the limit"),
        "bug": RuntimeError("SELECT * FROM secrets"),
        "host": GRPCError(Status.PERMISSION_DENIED, "not you: ü", [rpc.ErrorInfo(reason="R", domain="host")]),
        "nothing": GRPCError(Status.OK),
    }
    if "x-raise" not in call.metadata:
        return await proceed(call, request)
    raise raised[str(call.metadata["x-raise"])]


@pytest.fixture
async def worlds(tmp_path: Path) -> AsyncGenerator[list[World]]:
    async with serving(tmp_path / "data", Around("SessionQueryController/get", raising)) as (channel, app):
        near = Stubs(app.loopback)
        agent = await near.agents.create(samples.agent(name="one", org="acme"))
        execution = await near.executions.create(samples.agent_execution(agent_id=id_of(agent)))
        await near.agents.create(samples.agent(name="one", org="other"))
        yield [World(one, agent, execution) for one in (app.loopback, channel)]


def raise_(what: str) -> Callable[[World], Awaitable[Any]]:
    return lambda world: world.stubs.find_sessions.get(sessions.SessionId(value="ses-1"), metadata={"x-raise": what})


async def bad_fields(world: World) -> None:
    broken: Any = samples.agent("", name="", owner_scope=99)
    broken.kind = "Session"
    await world.stubs.agents.create(broken)


async def terminal(world: World) -> None:
    id_ = id_of(world.execution)
    await world.stubs.report(id_, phase=Phase.EXECUTION_COMPLETED)
    await world.stubs.report(id_, phase=Phase.EXECUTION_IN_PROGRESS)


async def stale(world: World) -> None:
    changed: Any = samples.agent()
    changed.metadata = world.agent.metadata
    changed.metadata.version.id = "ver-stale"
    await world.stubs.agents.update(changed)


async def unknown_method(world: World) -> None:
    path = "/ai.stigmer.agentic.session.v1.SessionQueryController/nope"
    call = world.channel.request(path, Cardinality.UNARY_UNARY, sessions.SessionId, sessions.Session)
    async with call:
        await call.send_message(sessions.SessionId(), end=True)
        await call.recv_message()


async def missing_stream(world: World) -> None:
    async for _ in world.stubs.find_executions.subscribe(executions.AgentExecutionId(value="aex-none")):
        raise AssertionError


CASES: dict[str, tuple[Callable[[World], Awaitable[Any]], Status, str, list[type[Any]]]] = {
    "broken rules": (bad_fields, Status.INVALID_ARGUMENT, "spec.instructions", [rpc.BadRequest]),
    "neither session nor agent": (
        lambda world: world.stubs.executions.create(samples.agent_execution()),
        Status.INVALID_ARGUMENT,
        "spec.session_id",
        [rpc.BadRequest],
    ),
    "bad page token": (
        lambda world: world.stubs.find_sessions.list(sessions.ListSessionsRequest(page_token="x")),
        Status.INVALID_ARGUMENT,
        "page_token",
        [rpc.BadRequest],
    ),
    "bad slug": (
        lambda world: world.stubs.sessions.create(samples.session(slug="Not A Slug")),
        Status.INVALID_ARGUMENT,
        "metadata.slug",
        [rpc.BadRequest],
    ),
    "wrong kind in a reference": (
        lambda world: world.stubs.find_agents.get_by_reference(ApiResourceReference(slug="one", kind=41)),  # type: ignore[arg-type]  # a number will do
        Status.INVALID_ARGUMENT,
        "kind",
        [rpc.BadRequest],
    ),
    "an ambiguous reference": (
        lambda world: world.stubs.find_agents.get_by_reference(ApiResourceReference(slug="one")),
        Status.INVALID_ARGUMENT,
        "org: is needed",
        [rpc.BadRequest],
    ),
    "no such resource": (
        lambda world: world.stubs.find_agents.get(agents.AgentId(value="agt-none")),
        Status.NOT_FOUND,
        "Agent not found: agt-none",
        [rpc.ResourceInfo],
    ),
    "no such resource to follow": (
        missing_stream,
        Status.NOT_FOUND,
        "AgentExecution not found: aex-none",
        [rpc.ResourceInfo],
    ),
    "slug taken": (
        lambda world: world.stubs.agents.create(samples.agent(name="one", org="acme")),
        Status.ALREADY_EXISTS,
        "Agent with slug 'one' already exists: agt-",
        [rpc.ResourceInfo],
    ),
    "id taken": (
        lambda world: world.stubs.agents.create(samples.agent(id=id_of(world.agent))),
        Status.ALREADY_EXISTS,
        "Agent already exists: agt-",
        [rpc.ResourceInfo],
    ),
    "stale version": (stale, Status.ABORTED, "is at version ver-", [rpc.ErrorInfo]),
    "terminal phase": (terminal, Status.FAILED_PRECONDITION, "EXECUTION_COMPLETED", [rpc.PreconditionFailure]),
    "store out of reach": (raise_("store"), Status.UNAVAILABLE, "the store is out of reach", [rpc.RetryInfo]),
    "too many subscriptions": (raise_("full"), Status.RESOURCE_EXHAUSTED, "7 subscriptions are open", []),
    "an unknown method": (unknown_method, Status.UNIMPLEMENTED, "unknown method /ai.stigmer", []),
    "a bug": (raise_("bug"), Status.INTERNAL, "internal error (error id ", [rpc.ErrorInfo]),
    "a host's refusal": (raise_("host"), Status.PERMISSION_DENIED, "not you: ü", [rpc.ErrorInfo]),
    "a host's OK that is none": (raise_("nothing"), Status.UNKNOWN, "", []),
    "a fixed field": (
        lambda world: world.stubs.instances.update(other_agent(world)),
        Status.INVALID_ARGUMENT,
        "spec.agent_id: is fixed after create",
        [rpc.BadRequest],
    ),
}


def other_agent(world: World) -> Any:
    return samples.agent_instance(id=world.agent.status.default_instance_id)


def telling(error: GRPCError) -> tuple[Any, ...]:
    """All that it says, error ids aside."""
    texts = [error.message or "", *(f"{type(one).__name__} {one}" for one in error.details or ())]
    return error.status, [re.sub(r"\b[0-9a-f]{32}\b", "<error id>", text) for text in texts]


@pytest.mark.parametrize("case", CASES)
async def test_both_channels_say_the_same(worlds: list[World], case: str) -> None:
    call, status, words, details = CASES[case]
    near, far = [await failure_of(call(world)) for world in worlds]

    assert telling(near) == telling(far)
    assert near.status is status
    assert words in (near.message or "")
    assert [type(one) for one in near.details or ()] == details
    assert not re.search("secret|SELECT|Traceback", str(telling(near)))


async def test_a_passed_deadline_is_said_alike(worlds: list[World]) -> None:
    near = await failure_of(worlds[0].stubs.agents.create(samples.agent(), timeout=0))
    assert near.status is Status.DEADLINE_EXCEEDED
    with pytest.raises(TimeoutError):  # grpclib's client sees to its deadline itself
        await worlds[1].stubs.agents.create(samples.agent(), timeout=0)
