"""The six kinds as `app` wires them, with a step of the test's own in Environment.create, and stubs for them all."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import samples
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.admin.v1 import AdminControllerStub
from stigmer._gen.ai.stigmer.agentic.agent import v1 as agents
from stigmer._gen.ai.stigmer.agentic.agentexecution import v1 as executions
from stigmer._gen.ai.stigmer.agentic.agentinstance import v1 as instances
from stigmer._gen.ai.stigmer.agentic.environment import v1 as environments
from stigmer._gen.ai.stigmer.agentic.executioncontext import v1 as contexts
from stigmer._gen.ai.stigmer.agentic.session import v1 as sessions
from stigmer._gen.ai.stigmer.iam.caller.v1 import CallerQueryControllerStub
from stigmer.access.authorizer import Policy
from stigmer.access.principal import INTERNAL
from stigmer.downstream import ResourceClient, SessionClient
from stigmer.edge.door import Edge
from stigmer.edge.interceptors import Interceptor
from stigmer.handlers import HANDLERS, SERVICES
from stigmer.pipeline.ids import IdSource
from stigmer.pipeline.kind import Resource
from stigmer.pipeline.pipeline import Steps
from stigmer.pipeline.runtime import Client, Runtime
from stigmer.pipeline.sealing_keys import SealingKeys
from stigmer.pipeline.unit_of_work import UnitOfWork
from stigmer.store.rows import Query, Window

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence

    from stigmer.access.authorizer import Authorizer
    from stigmer.edge.interceptors import StreamNext, UnaryNext
    from stigmer.handlers.base import Handler
    from stigmer.pipeline.call import Call
    from stigmer.pipeline.context import AnyContext
    from stigmer.store.memory import MemoryStore
    from stigmer.store.sqlite import SqliteStore

__all__ = ["agents", "contexts", "environments", "executions", "instances", "sessions"]

T = TypeVar("T")


class Stubs:
    """The generated stubs of every kind over one channel: commands by the kind's name, queries after `find_`."""

    def __init__(self, channel: Any) -> None:
        self.agents: Any = agents.AgentCommandControllerStub(channel)
        self.find_agents: Any = agents.AgentQueryControllerStub(channel)
        self.instances: Any = instances.AgentInstanceCommandControllerStub(channel)
        self.find_instances: Any = instances.AgentInstanceQueryControllerStub(channel)
        self.sessions: Any = sessions.SessionCommandControllerStub(channel)
        self.find_sessions: Any = sessions.SessionQueryControllerStub(channel)
        self.executions: Any = executions.AgentExecutionCommandControllerStub(channel)
        self.find_executions: Any = executions.AgentExecutionQueryControllerStub(channel)
        self.environments: Any = environments.EnvironmentCommandControllerStub(channel)
        self.find_environments: Any = environments.EnvironmentQueryControllerStub(channel)
        self.contexts: Any = contexts.ExecutionContextCommandControllerStub(channel)
        self.find_contexts: Any = contexts.ExecutionContextQueryControllerStub(channel)
        self.callers: Any = CallerQueryControllerStub(channel)
        self.admin: Any = AdminControllerStub(channel)

    async def report(self, execution_id: str, **fields: Any) -> Any:
        status = executions.AgentExecutionStatus(**fields)
        report = executions.AgentExecutionUpdateStatusInput(execution_id=execution_id, status=status)
        return await self.executions.update_status(report)


class Inside:
    """A step that does in every run what the test says."""

    def __init__(self) -> None:
        self.runs = 0
        self.action: Callable[[AnyContext], Awaitable[object]] | None = None

    async def __call__(self, ctx: AnyContext) -> None:
        self.runs += 1
        if self.action is not None:
            await self.action(ctx)


class Rig(Stubs):
    """A control plane on a store; `inside` is the last step of Environment.create."""

    def __init__(
        self,
        store: SqliteStore | MemoryStore,
        interceptors: Sequence[Interceptor] = (),
        authorizer: Authorizer | None = None,
        **clients: Any,
    ) -> None:
        self.store = store
        self.inside = Inside()
        self.unit_of_work = UnitOfWork(store)
        downstream, ids = dict[str, Client](), IdSource()
        handlers = [self._with_inside(handler) for handler in HANDLERS]
        kinds = {handler.kind.name: handler.kind for handler in handlers}
        self.runtime = Runtime(
            store, self.unit_of_work, kinds, ids, downstream, SealingKeys(store, kinds), policy=Policy(authorizer)
        )
        endpoints = [endpoint for handler in handlers for endpoint in handler.bind(self.runtime)]
        endpoints += [endpoint for service in SERVICES for endpoint in service.bind(self.runtime)]
        self.edge = Edge(endpoints, ids, interceptors)
        self.loopback, internal = self.edge.channel(), self.edge.channel(INTERNAL)
        downstream["Agent"] = ResourceClient[Any]("Agent", internal)
        downstream["AgentInstance"] = ResourceClient[Any]("AgentInstance", internal)
        downstream["ExecutionContext"] = ResourceClient[Any]("ExecutionContext", internal)
        downstream["Session"] = SessionClient(internal)
        downstream.update(clients)
        super().__init__(self.loopback)

    def _with_inside(self, handler: Handler[Any]) -> Handler[Any]:
        if handler.kind.name != "Environment":
            return handler
        create = Steps(Resource, *handler.rpcs["create"].steps, self.inside)
        return replace(handler, rpcs={**handler.rpcs, "create": create})

    async def outer(self, action: Callable[[], Awaitable[object]], **call: Any) -> Any:
        """A unary call that does `action` in each of its runs, after it has staged its own row."""

        async def run(_ctx: AnyContext) -> None:
            await action()

        self.inside.action = run
        return await self.environments.create(samples.environment(), **call)

    async def ids(self, kind: str) -> set[str]:
        """What is committed."""
        page = await self.store.page(Query(kind), Window(limit=None))
        return {row.id for row in page.rows}

    async def agent(self) -> Any:
        return await self.agents.create(samples.agent())

    async def execution(self) -> Any:
        agent = await self.agent()
        return await self.executions.create(samples.agent_execution(agent_id=id_of(agent)))


class Around(Interceptor):
    """A host's interceptor that does what the test says around the calls of one RPC."""

    def __init__(self, rpc: str, hook: Callable[[Call, Any, UnaryNext], Awaitable[Any]]) -> None:
        self._rpc = rpc
        self._hook = hook
        self.calls = 0

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
        if not call.method.path.endswith(self._rpc):
            return await proceed(call, request)
        self.calls += 1
        return await self._hook(call, request, proceed)


class Seen(Interceptor):
    """Notes every call, and what it was called with."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.requests: list[Any] = []
        self.replies: list[Any] = []

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
        self._note(call, request)
        reply = await proceed(call, request)
        self.replies.append(reply)
        return reply

    async def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Any, None]:
        self._note(call, request)
        replies = proceed(call, request)
        try:
            async for reply in replies:
                self.replies.append(reply)
                yield reply
        finally:
            await replies.aclose()

    def _note(self, call: Call, request: Any) -> None:
        self.calls.append(call)
        self.requests.append(request)

    def of(self, rpc: str) -> list[Call]:
        return [call for call in self.calls if call.method.path.endswith(rpc)]


async def lose_once(rig: Rig, ctx: AnyContext, rival: Any, run: int) -> None:
    """Read and stage a row that another client changes before the commit, in the first run."""
    row = await ctx.tx.get("Agent", id_of(rival))
    assert row is not None
    ctx.tx.update(row)
    if run == 1:
        rival.metadata.version = None
        await separately(rig.agents.update(rival))


def id_of(resource: Any) -> str:
    id_: str = resource.metadata.id
    return id_


async def failure_of(call: Awaitable[Any]) -> GRPCError:
    """What a call fails with."""
    with pytest.raises(GRPCError) as caught:
        await call
    return caught.value


def separately(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Do it in a task that knows of no call: what another client does."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


async def turns(number: int = 10) -> None:
    """Let the event loop go round."""
    for _ in range(number):
        await asyncio.sleep(0)


def said(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """The fields of the log lines with that event."""
    return [record.msg for record in caplog.records if isinstance(record.msg, dict) and record.msg["event"] == event]
