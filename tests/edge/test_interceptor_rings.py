"""Interceptors around a call run once; those around a run are within its transaction, and run again when it does."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Around, Rig, Seen, Stubs, executions, id_of, lose_once
from edge_sockets import listening, raw
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError

from stigmer.edge.interceptors import Interceptor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call
    from stigmer.pipeline.context import AnyContext


class Counting(Interceptor):
    """Notes each time it is entered, and in which run."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, int]] = []

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
        self.noted.append((call.method.path.rpartition(".")[2], call.attempt))
        request.metadata.labels["run"] = f"{request.metadata.labels.get('run', '')}+{call.attempt}"
        return await proceed(call, request)


class CountingRuns(Counting):
    around = "run"


async def test_those_around_a_call_run_once_and_those_around_a_run_again_where_a_race_is_lost(
    wire: Callable[..., Rig],
) -> None:
    """Each run gets the request as those around the call left it; of a call that joins, both are part of the run."""
    calls, runs = Counting(), CountingRuns()
    rig = wire(runs, calls)
    environment, session = "EnvironmentCommandController/create", "SessionCommandController/create"

    async def lose(ctx: AnyContext) -> None:
        assert ctx.request.metadata.labels == {"run": f"+1+{ctx.call.attempt}"}
        await rig.sessions.create(samples.session())
        await lose_once(rig, ctx, rival, rig.inside.runs)

    rival = await rig.agents.create(samples.agent())
    calls.noted.clear()
    runs.noted.clear()
    rig.inside.action = lose
    made = await rig.environments.create(samples.environment())

    assert made.metadata.labels == {"run": "+1+2"}
    joined = [(session, 1), (session, 2)]
    update = [("AgentCommandController/update", 1)]
    assert sorted(calls.noted) == sorted([(environment, 1), *joined, *update])
    assert sorted(runs.noted) == sorted([(environment, 1), (environment, 2), *joined, *update])
    assert len(await rig.ids("Session")) == len(await rig.ids("Environment")) == 1


async def test_what_one_around_a_run_does_is_committed_or_dropped_with_the_run(wire: Callable[..., Rig]) -> None:
    rigs: list[Rig] = []

    class Audit(Around):
        around = "run"

    async def audit(call: Call, request: Any, proceed: UnaryNext) -> Any:
        await rigs[0].contexts.create(samples.execution_context())
        assert await rigs[0].ids("ExecutionContext") == set()
        return await proceed(call, request)

    rigs.append(wire(Audit("SessionCommandController/create", audit)))
    with pytest.raises(GRPCError, match=r"metadata\.slug"):
        await rigs[0].sessions.create(samples.session(slug="Not A Slug"))
    assert await rigs[0].ids("ExecutionContext") == set()
    await rigs[0].sessions.create(samples.session())
    assert len(await rigs[0].ids("ExecutionContext")) == len(await rigs[0].ids("Session")) == 1


async def test_those_around_a_run_follow_a_stream_and_see_neither_health_nor_reflection(tmp_path: Path) -> None:
    class Runs(Seen):
        around = "run"

    seen = Runs()
    async with listening(tmp_path, seen) as (server, channel), AsyncExitStack() as stack:
        stubs = Stubs(channel)
        agent = await stubs.agents.create(samples.agent())
        execution = await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent)))
        id_ = executions.AgentExecutionId(value=id_of(execution))
        async with aclosing(stubs.find_executions.subscribe(id_)) as states:
            assert await anext(states) == execution
        raw_channel = stack.enter_context(raw(server))
        path = "/grpc.health.v1.Health/Check"
        async with raw_channel.request(path, Cardinality.UNARY_UNARY, bytes, bytes) as call:
            await call.send_message(b"", end=True)
            await call.recv_message()
    assert seen.replies[-1] == execution
    assert seen.calls[-1].method.name == "subscribe"
