"""Contexts end when nobody has used them for their time to live: what that does, and what is a use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import samples
from ageing import DAY_MS, EXPIRED_MS, HOUR_MS, Ageing, Clock, is_missing, of_nobody, opened, reads, removed
from audited import count, events
from edge_rig import executions, id_of, said

from stigmer.pipeline import uses
from stigmer.pipeline.made_contexts import MADE_CONTEXTS
from stigmer.secrets.audit import Op
from stigmer.store.changes import Changes
from stigmer.store.errors import ConflictError
from stigmer.types import ExecutionPhase

if TYPE_CHECKING:
    from pathlib import Path


# What expires, and what that does.


async def test_an_execution_whose_context_expires_fails_with_all_that_a_report_does(
    ageing: Ageing, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    made = await ageing.execution()
    await ageing.contexts.create(samples.execution_context(id_of(made)))
    contexts_of_it = await ageing.ids()
    stream = ageing.find_executions.subscribe(executions.AgentExecutionId(value=id_of(made)))
    assert (await anext(stream)).status.phase is ExecutionPhase.EXECUTION_PENDING
    clock.ahead_ms = EXPIRED_MS
    await ageing.sweep()
    last = await anext(stream)
    assert (last.status.phase, last.status.error) == (ExecutionPhase.EXECUTION_FAILED, "its context expired")
    assert last.status.completed_at.endswith("Z")
    assert last.status.audit.status_audit.updated_by.id == "system"
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert await is_missing(ageing.context(made))
    assert await ageing.ids() == []
    assert await ageing.store.records(MADE_CONTEXTS) == []
    (line,) = said(caplog, "A context has ended")
    assert (line["reason"], line["execution_id"], line["execution_failed"]) == ("expired", id_of(made), True)
    assert line["context_id"] in contexts_of_it
    assert ageing.ended("expired") == 1


async def test_the_audit_tells_of_each_context_that_the_server_ends(ageing: Ageing, clock: Clock) -> None:
    session = await ageing.session()
    expires, orphan = await ageing.execution(session), await ageing.execution(session)
    of_both = {id_of(await ageing.context(one)) for one in (expires, orphan)}
    await removed(ageing, orphan)
    last = await count(ageing.store)
    await ageing.sweep()
    clock.ahead_ms = EXPIRED_MS
    await ageing.sweep()
    told = await events(ageing.store, last)
    assert [(one.op, one.actor, one.kind) for one in told] == [(Op.EXPIRE, "system", "ExecutionContext")] * 2
    assert {one.id for one in told} == of_both


async def test_a_context_of_an_execution_that_nobody_knows_lives_until_it_expires(ageing: Ageing, clock: Clock) -> None:
    made = await of_nobody(ageing)
    clock.ahead_ms = DAY_MS
    await ageing.sweep()
    assert await ageing.ids() == [id_of(made)]
    clock.ahead_ms = EXPIRED_MS
    await ageing.sweep()
    assert await ageing.ids() == []
    assert (ageing.ended("expired"), ageing.ended("orphaned")) == (1, 0)


async def test_what_has_not_expired_stays_whatever_else_does(ageing: Ageing, clock: Clock) -> None:
    old = await ageing.execution()
    clock.ahead_ms = 2 * HOUR_MS
    young = await ageing.execution()
    clock.ahead_ms = EXPIRED_MS
    await ageing.sweep()
    assert [await ageing.phase(one) for one in (old, young)] == ["FAILED", "PENDING"]
    assert len(await ageing.ids()) == 1


async def test_executions_without_a_context_never_expire(ageing: Ageing, clock: Clock) -> None:
    made = await ageing.executions.create(samples.agent_execution(await ageing.session()))
    clock.ahead_ms = 100 * DAY_MS
    await ageing.sweep()
    assert await ageing.phase(made) == "PENDING"


async def test_only_an_execution_of_the_same_owner_fails_with_a_context(ageing: Ageing, clock: Clock) -> None:
    """A context may be there before somebody else brings its execution's id."""
    await of_nobody(ageing)
    sent = samples.agent_execution(await ageing.session(), id=f"aex-{samples.NOBODY}")
    made = await ageing.executions.create(sent)
    clock.ahead_ms = EXPIRED_MS
    await ageing.sweep()
    assert await ageing.phase(made) == "PENDING"
    assert await ageing.ids() == []


# What counts as a use, and what it costs.


@pytest.mark.parametrize("how", ["get", "by reference", "by execution id", "marked", "rotate"])
async def test_whoever_reads_or_renews_a_context_gives_it_its_whole_time_again(
    ageing: Ageing, clock: Clock, how: str
) -> None:
    made = await ageing.execution()
    context = await ageing.context(made)
    for _ in range(3):
        clock.ahead_ms += 23 * HOUR_MS
        await reads(ageing, context)[how]()
        await ageing.sweep()
        assert await ageing.phase(made) == "PENDING"
    clock.ahead_ms += DAY_MS
    await ageing.sweep()
    assert await ageing.ids() == [id_of(context)]
    clock.ahead_ms += HOUR_MS + 1000
    await ageing.sweep()
    assert await ageing.phase(made) == "FAILED"


async def test_a_context_lives_as_long_after_a_read_that_was_not_noted(ageing: Ageing, clock: Clock) -> None:
    made = await ageing.execution()
    clock.ahead_ms = HOUR_MS - 1000
    context = await ageing.context(made)
    noted = await ageing.uses()
    clock.ahead_ms += DAY_MS
    await ageing.sweep()
    assert await ageing.ids() == [id_of(context)]
    assert await ageing.uses() == noted


async def test_reads_are_written_once_an_hour(ageing: Ageing, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await ageing.execution()
    written, really = list[Changes](), ageing.store.commit

    async def commit(changes: Changes, *, dry_run: bool = False) -> Any:
        written.append(changes)
        return await really(changes, dry_run=dry_run)

    monkeypatch.setattr(ageing.store, "commit", commit)
    for hour in range(4):
        clock.ahead_ms = hour * HOUR_MS + 1000
        for _ in range(20):
            context = await ageing.context(made)
        noted = [one for one in written if one.uses]
        assert len(noted) == hour
    assert [[*one.uses] for one in noted] == [[("ExecutionContext", id_of(context))]] * 3
    assert not any(one.puts or one.records for one in noted)


async def test_a_read_whose_note_is_lost_is_noted_by_the_next_one(
    ageing: Ageing, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await ageing.execution()
    before, really, lost = await ageing.uses(), ageing.store.commit, list[bool]()

    async def commit(changes: Changes, *, dry_run: bool = False) -> Any:
        if changes.uses and not lost:
            lost.append(True)
            raise ConflictError(("a", "b"))
        return await really(changes, dry_run=dry_run)

    monkeypatch.setattr(ageing.store, "commit", commit)
    clock.ahead_ms = 2 * HOUR_MS
    await ageing.context(made)
    assert lost
    after = await ageing.uses()
    assert [after[id_] - before[id_] for id_ in before] == [pytest.approx(2 * HOUR_MS, abs=60_000)]


async def test_so_many_contexts_are_remembered_and_of_others_a_read_is_written(
    ageing: Ageing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uses, "REMEMBERED", 2)
    made = [await ageing.execution() for _ in range(3)]
    before = await ageing.uses()
    for one in made[1:]:
        await ageing.context(one)
    assert await ageing.uses() == before
    await asyncio.sleep(0.002)  # the clock counts in ms, and only a later time is noted
    await ageing.context(made[0])
    assert await ageing.uses() != before


async def test_a_report_on_the_execution_is_a_use(ageing: Ageing, clock: Clock) -> None:
    clock.ahead_ms = -EXPIRED_MS
    made = await ageing.execution()
    (noted_ms,) = (await ageing.uses()).values()
    clock.ahead_ms = 0
    await ageing.report(id_of(made), phase=ExecutionPhase.EXECUTION_IN_PROGRESS)
    await ageing.sweep()
    assert await ageing.phase(made) == "IN_PROGRESS"
    (moved_ms,) = (await ageing.uses()).values()
    assert moved_ms - noted_ms == pytest.approx(EXPIRED_MS, abs=60_000)
    clock.ahead_ms = DAY_MS
    await ageing.sweep()
    assert await ageing.phase(made) == "IN_PROGRESS"
    clock.ahead_ms = EXPIRED_MS
    await ageing.sweep()
    assert await ageing.phase(made) == "FAILED"


async def test_after_a_restart_what_was_noted_counts_by_the_time_to_live_of_now(tmp_path: Path, clock: Clock) -> None:
    async with opened(tmp_path) as plane:
        ageing = Ageing(plane)
        first, second = await ageing.execution(), await ageing.execution()
        clock.ahead_ms = HOUR_MS
        await ageing.context(second)
    async with opened(tmp_path, context_ttl=3600) as plane:
        ageing = Ageing(plane)
        await ageing.begun()
        assert [await ageing.phase(one) for one in (first, second)] == ["PENDING", "PENDING"]
        clock.ahead_ms = HOUR_MS + HOUR_MS // 24 + 1000
        await ageing.sweep()
        assert [await ageing.phase(one) for one in (first, second)] == ["FAILED", "PENDING"]
        before = await ageing.uses()
        await ageing.context(second)
        assert await ageing.uses() != before
