"""What one principal may have open and write, over a port and on grpclib's own server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import samples
from badge_planes import ANN, BOB, Opened, failure
from badges import HEADER
from edge_rig import Around, Stubs, agents, executions, id_of
from google.rpc import error_details_pb2
from grpclib.const import Status

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceOwnerScope as Scope

if TYPE_CHECKING:
    from badges import Badges
    from grpclib.exceptions import GRPCError

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call


class Held:
    """Holds calls up until they may go on."""

    def __init__(self) -> None:
        self.entered, self.go = asyncio.Event(), asyncio.Event()

    async def wait(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
        self.entered.set()
        await self.go.wait()
        return await proceed(call, request)


async def test_calls_in_progress_of_a_principal_are_limited(serve: Opened) -> None:
    held = Held()
    async with serve(Around("AgentCommandController/create", held.wait), max_calls_per_principal=1) as opened:
        first = asyncio.ensure_future(opened.stubs.agents.create(samples.agent(org="acme"), metadata=ANN))
        await held.entered.wait()
        error = await failure(opened.stubs.agents.create(samples.agent(org="acme"), metadata=ANN))
        assert error.status is Status.RESOURCE_EXHAUSTED
        assert isinstance((error.details or [None])[0], error_details_pb2.RetryInfo)
        held.go.set()
        await first
        await opened.stubs.agents.create(samples.agent(org="acme"), metadata=ANN)
        await opened.stubs.agents.create(samples.agent(org="acme"), metadata={HEADER: "bob"})


async def test_subscriptions_of_a_principal_are_limited(serve: Opened) -> None:
    async with serve(max_subscriptions_per_principal=1, max_calls_per_principal=1) as opened:
        id_ = await opened.execution()
        async with opened.following(id_), opened.following(id_, "bob"):
            states = opened.stubs.find_executions.subscribe(executions.AgentExecutionId(value=id_), metadata=ANN)
            assert (await failure(anext(states))).status is Status.RESOURCE_EXHAUSTED
            await opened.stubs.agents.create(samples.agent(org="acme"), metadata=ANN)


async def test_writes_a_second_of_a_principal_are_limited_and_reads_are_not(serve: Opened) -> None:
    async with serve(max_writes_per_principal_s=2) as opened:
        opened.plane._app.edge.runtime.quotas._now = lambda: 0.0
        for _ in range(2):
            made = await opened.stubs.agents.create(samples.agent(org="acme"), metadata=ANN)
        error = await failure(opened.stubs.agents.create(samples.agent(org="acme"), metadata=ANN))
        assert error.status is Status.RESOURCE_EXHAUSTED
        (retry,) = error.details or (None,)
        assert isinstance(retry, error_details_pb2.RetryInfo)
        assert retry.retry_delay.ToMilliseconds() == 500
        for _ in range(3):
            await opened.stubs.find_agents.get(agents.AgentId(value=id_of(made)), metadata=ANN)
        opened.plane._app.edge.runtime.quotas._now = lambda: 0.5
        await opened.stubs.agents.create(samples.agent(org="acme"), metadata=ANN)


async def test_what_a_call_makes_downstream_is_not_counted_again(serve_own: Opened) -> None:
    async with serve_own(max_calls_per_principal=1, max_writes_per_principal_s=1) as opened:
        badges = {HEADER: "ann"}
        agent = await opened.stubs.agents.create(samples.agent(org="acme"), metadata=badges)
        execution = samples.agent_execution(agent_id=id_of(agent))
        made = await opened.stubs.executions.create(execution, metadata={HEADER: "bob"})
        assert made.spec.session_id


async def test_this_process_counts_as_a_principal_too(serve_own: Opened) -> None:
    held = Held()
    async with serve_own(Around("AgentCommandController/create", held.wait), max_calls_per_principal=1) as opened:
        first = asyncio.ensure_future(opened.local.agents.create(samples.agent(owner_scope=Scope.platform)))
        await held.entered.wait()
        error = await failure(opened.local.agents.create(samples.agent(owner_scope=Scope.platform)))
        assert error.status is Status.RESOURCE_EXHAUSTED
        held.go.set()
        await first


async def test_a_call_for_another_principal_counts_as_that_one_s(serve_own: Opened, badges: Badges) -> None:
    """Ann's call makes one for bob, by a channel of its own, while bob has as many in progress as he may."""
    held = Held()
    refusals: list[GRPCError] = []

    async def between(call: Call, request: Any, proceed: UnaryNext) -> Any:
        if call.principal.name == "bob":
            return await held.wait(call, request, proceed)
        for_bob = Stubs(opened.plane.channel_as(badges.holders["bob"]))
        refusals.append(await failure(for_bob.agents.create(samples.agent(org="acme"))))
        return await proceed(call, request)

    async with serve_own(Around("AgentCommandController/create", between), max_calls_per_principal=1) as opened:
        of_bob = asyncio.ensure_future(opened.stubs.agents.create(samples.agent(org="acme"), metadata=BOB))
        await held.entered.wait()
        await opened.stubs.agents.create(samples.agent(org="acme"), metadata=ANN)
        held.go.set()
        await of_bob
    assert [(error.status, (error.message or "")[:3]) for error in refusals] == [(Status.RESOURCE_EXHAUSTED, "bob")]
