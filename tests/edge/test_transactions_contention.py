"""A hot row: its callers take turns, all succeed, and none waits for itself."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
import samples
from edge_rig import Rig, executions, id_of, lose_once, said, separately
from google.rpc import error_details_pb2 as rpc
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.pipeline import row_queue

if TYPE_CHECKING:
    from stigmer.pipeline.context import AnyContext


async def test_64_callers_on_one_row_all_succeed(rig: Rig) -> None:
    execution = await rig.execution()
    phases = [executions.ExecutionPhase.EXECUTION_PENDING, executions.ExecutionPhase.EXECUTION_IN_PROGRESS]

    async def report(number: int) -> None:
        await rig.report(id_of(execution), phase=phases[number % 2], error=str(number))

    await asyncio.gather(*(separately(report(number)) for number in range(64)))

    assert rig.unit_of_work._row_queues._locks == {}


async def test_who_waits_for_a_row_is_not_passed_by_those_that_come_later(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """64 callers, each with one call after the other: no call needs more than a few runs."""
    caplog.set_level(logging.INFO, "stigmer.call")
    execution = await rig.execution()

    async def report_on_and_on() -> None:
        for number in range(5):
            await rig.report(id_of(execution), error=str(number))

    await asyncio.gather(*(separately(report_on_and_on()) for _ in range(64)))

    reports = [line["attempt"] for line in said(caplog, "call") if line["method"].endswith("updateStatus")]
    assert len(reports) == 64 * 5
    assert max(reports) <= 5


async def test_a_call_that_waits_for_one_that_wants_its_turn_is_not_stuck(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the turn at a row, and waits for two others' changes of that row."""
    monkeypatch.setattr(row_queue, "WAIT_S", 0.01)
    rival = await rig.agent()

    async def change() -> None:
        changed = samples.agent()
        changed.metadata.id = id_of(rival)
        await separately(rig.agents.update(changed))

    async def lose(ctx: AnyContext) -> None:
        row = await ctx.tx.get("Agent", id_of(rival))
        assert row is not None
        ctx.tx.update(row)
        if rig.inside.runs < 3:
            await asyncio.gather(change(), change(), change())

    rig.inside.action = lose
    await rig.environments.create(samples.environment())
    assert rig.inside.runs == 3


async def test_64_counters_lose_no_count(rig: Rig) -> None:
    """Each run adds one to what it read: optimistic locking is kept through all the reruns."""
    counter = await rig.environments.create(samples.environment())

    async def add(ctx: AnyContext) -> None:
        row = await ctx.tx.get("Environment", id_of(counter))
        assert row is not None
        state = await ctx.load(row)
        labels = state.metadata.labels
        labels["count"] = str(int(labels.get("count", "0")) + 1)
        await ctx.save(state, over=row)

    rig.inside.action = add
    await asyncio.gather(*(separately(rig.environments.create(samples.environment())) for _ in range(64)))

    stored = await rig.find_environments.get(ApiResourceId(value=id_of(counter)))
    assert stored.metadata.labels == {"count": "64"}
    assert len(await rig.ids("Environment")) == 65


async def test_a_call_gives_up_after_a_hundred_runs(rig: Rig) -> None:
    rival = await rig.agent()

    async def always_lose(ctx: AnyContext) -> None:
        await lose_once(rig, ctx, rival, 1)

    rig.inside.action = always_lose
    with pytest.raises(GRPCError) as caught:
        await rig.environments.create(samples.environment())

    assert rig.inside.runs == 100
    assert caught.value.status is Status.ABORTED
    (detail,) = caught.value.details
    assert detail == rpc.ErrorInfo(reason="CONTENTION", domain="stigmer.ai")
    assert await rig.ids("Environment") == set()


async def test_the_deadline_ends_a_call_that_loses_on_and_on(rig: Rig) -> None:
    rival = await rig.agent()
    waits = asyncio.Event()

    async def always_lose(ctx: AnyContext) -> None:
        await lose_once(rig, ctx, rival, 1)
        if rig.inside.runs == 5:
            await waits.wait()

    rig.inside.action = always_lose
    with pytest.raises(GRPCError) as caught:
        await rig.environments.create(samples.environment(), timeout=0.5)

    assert caught.value.status is Status.DEADLINE_EXCEEDED
    assert await rig.ids("Environment") == set()
