"""A run that lost a race is repeated from the untouched request; only the run that commits leaves anything."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Around, Rig, id_of, instances, lose_once, said, separately
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.agentic.agent.v1 import AgentId

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call
    from stigmer.pipeline.context import AnyContext
    from stigmer.store.changes import Change


def losing(rig_: list[Rig], agent_id: str, times: int, runs: list[int]) -> Any:
    """Around a joined call: commit a change of the agent meanwhile, so that the run loses, so many times."""

    async def hook(call: Call, request: Any, proceed: UnaryNext) -> Any:
        runs.append(call.attempt)
        if len(runs) <= times:
            changed = samples.agent(f"Instructions {len(runs)}.")
            changed.metadata.id = agent_id
            await separately(rig_[0].agents.update(changed))
        return await proceed(call, request)

    return hook


class Contended:
    """An execution's create that touches its agent (which has no default instance) and loses `times` runs."""

    def __init__(self, wire: Callable[..., Rig], times: int) -> None:
        self.runs: list[int] = []
        self.outermost = Around("AgentExecutionCommandController/create", self._note)
        self._rigs: list[Rig] = []
        self._times = times
        self.requests: list[Any] = []
        self.rig = wire(self.outermost, Around("SessionCommandController/create", self._lose))
        self._rigs.append(self.rig)
        self.agent_id = ""

    async def _note(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
        self.requests.append(request)
        return await proceed(call, request)

    async def _lose(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
        hook = losing(self._rigs, self.agent_id, self._times, self.runs)
        return await hook(call, request, proceed)

    async def create(self, **call: Any) -> Any:
        agent = await self.rig.agent()
        self.agent_id = id_of(agent)
        await self.rig.instances.delete(instances.AgentInstanceId(value=agent.status.default_instance_id))
        return await self.rig.executions.create(samples.agent_execution(agent_id=self.agent_id), **call)


async def test_the_run_that_commits_leaves_one_of_each(wire: Callable[..., Rig]) -> None:
    contended = Contended(wire, times=3)
    execution = await contended.create()
    rig = contended.rig

    assert await rig.ids("AgentExecution") == {id_of(execution)}
    assert await rig.ids("Session") == {execution.spec.session_id}
    agent = await rig.find_agents.get(AgentId(value=contended.agent_id))
    assert await rig.ids("AgentInstance") == {agent.status.default_instance_id}
    assert agent.spec.instructions == "Instructions 3."


async def test_outermost_interceptors_run_once_and_joined_ones_once_a_run(wire: Callable[..., Rig]) -> None:
    contended = Contended(wire, times=3)
    await contended.create()
    assert contended.outermost.calls == 1
    assert contended.runs == [1, 2, 3, 4]


async def test_lines_of_success_and_feed_events_come_from_the_run_that_commits(
    wire: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "stigmer")
    contended = Contended(wire, times=2)
    changes: list[Change] = []
    contended.rig.store.feed.listen(changes.append)
    execution = await contended.create()

    session = execution.spec.session_id
    (made,) = said(caplog, "Successfully auto-created session via in-process gRPC")
    assert made["session_id"] == session
    assert [line["session_id"] for line in said(caplog, "Successfully created session")] == [session]
    assert [line["attempt"] for line in said(caplog, "Creating session via in-process gRPC")] == [1, 2, 3]
    assert [c.id for c in changes if c.kind == "Session"] == [session]
    assert [c.id for c in changes if c.kind == "AgentExecution"] == [id_of(execution)]
    assert len(said(caplog, "Lost a race, running again")) == 2


async def test_steps_and_calls_say_their_attempt(wire: Callable[..., Rig], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "stigmer")
    await Contended(wire, times=1).create()

    steps = [line for line in said(caplog, "Step done") if line["name"] == "SetInitialPhase"]
    assert [line["attempt"] for line in steps] == [1, 2]
    pipelines = [line for line in said(caplog, "Pipeline done") if line["name"] == "agent_execution.create"]
    assert [line["attempt"] for line in pipelines] == [1, 2]
    calls = said(caplog, "call")
    assert [c["attempt"] for c in calls if c["method"].endswith("SessionCommandController/create")] == [1, 2]
    assert [c["attempt"] for c in calls if c["method"].endswith("AgentExecutionCommandController/create")] == [2]


async def test_every_run_starts_from_the_request_as_the_interceptors_left_it(wire: Callable[..., Rig]) -> None:
    """What an interceptor changed stays; what a step changed is gone in the next run."""

    async def rename(call: Call, request: Any, proceed: UnaryNext) -> Any:
        request.metadata.labels["by"] = "interceptor"
        return await proceed(call, request)

    rig = wire(Around("EnvironmentCommandController/create", rename))
    rival = await rig.agent()
    seen: list[tuple[list[str], list[str], str]] = []

    async def spoil(ctx: AnyContext) -> None:
        request = ctx.request
        assert request.metadata is not None
        seen.append((sorted(request.metadata.labels), sorted(request.spec.data), request.metadata.name))
        request.metadata.labels["by"] = request.metadata.labels["step"] = "step"
        request.metadata.name = "spoiled"
        request.spec.data.clear()
        await lose_once(rig, ctx, rival, len(seen))

    rig.inside.action = spoil
    sent: Any = samples.environment()
    before = copy.deepcopy(sent)
    stored = await rig.environments.create(sent)

    assert seen == [(["by"], ["TZ"], sent.metadata.name)] * 2
    assert stored.metadata.labels == {"by": "interceptor"}
    assert sent == before
    assert sent.metadata.labels == {}


async def test_ids_and_times_are_made_anew(rig: Rig) -> None:
    rival = await rig.agent()
    seen: list[Any] = []

    async def note(ctx: AnyContext) -> None:
        seen.append(ctx.new_state)
        await lose_once(rig, ctx, rival, len(seen))

    rig.inside.action = note
    stored = await rig.environments.create(samples.environment())

    assert len({id_of(state) for state in seen}) == 2
    assert len({state.metadata.version.id for state in seen}) == 2
    assert len({state.status.audit.spec_audit.created_at for state in seen}) == 2
    assert stored == seen[1]
    assert await rig.ids("Environment") == {id_of(stored)}


async def test_the_caller_gets_the_error_of_the_last_run(rig: Rig) -> None:
    """The slug is free in the first run and taken in the second."""
    holders: list[str] = []
    name = samples.unique("taken")

    async def take(ctx: AnyContext) -> None:
        if rig.inside.runs == 1:
            holders.append(id_of(await separately(rig.environments.create(samples.environment(name=name)))))

    rig.inside.action = take
    with pytest.raises(GRPCError) as caught:
        await rig.environments.create(samples.environment(name=name))

    assert caught.value.status is Status.ALREADY_EXISTS
    assert caught.value.message == f"Environment with slug '{name}' already exists: {holders[0]}"
    assert await rig.ids("Environment") == set(holders)
