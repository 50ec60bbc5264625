"""Contexts end when they were not used for their time to live, and when they outlive their execution."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import samples
from ageing import DAY_MS, EXPIRED_MS, HOUR_MS, Ageing, Clock, is_missing, opened
from audited import count, events
from edge_rig import contexts, executions, id_of, said

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceDeleteInput, ApiResourceId, ApiResourceReference
from stigmer.app import MEMORY
from stigmer.pipeline import context_expiry, uses
from stigmer.pipeline.made_contexts import MADE_CONTEXTS
from stigmer.secrets.audit import Op
from stigmer.store.changes import Changes, Put, Remove
from stigmer.store.errors import ConflictError, DamagedError
from stigmer.types import ExecutionPhase

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from stigmer.store.rows import Row

RUNNING, COMPLETED = ExecutionPhase.EXECUTION_IN_PROGRESS, ExecutionPhase.EXECUTION_COMPLETED


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.set_in(monkeypatch)


@pytest.fixture(params=["sqlite", "memory"])
async def ageing(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncGenerator[Ageing]:
    async with opened(tmp_path / "data" if request.param == "sqlite" else MEMORY) as plane:
        assert clock.ahead_ms == 0
        ageing = Ageing(plane)
        await ageing.begun()
        yield ageing


async def of_nobody(ageing: Ageing) -> Any:
    """A context whose execution this server does not know."""
    return await ageing.contexts.create(samples.execution_context(f"aex-{samples.NOBODY}"))


def during_commit(ageing: Ageing, monkeypatch: pytest.MonkeyPatch, action: Callable[[], Awaitable[object]]) -> None:
    """Have the action done right before the first commit that ends what is unused."""
    really, done = ageing.store.commit, list[bool]()

    async def commit(changes: Changes, *, dry_run: bool = False) -> Any:
        if changes.unused and not done:
            done.append(True)
            await action()
        return await really(changes, dry_run=dry_run)

    monkeypatch.setattr(ageing.store, "commit", commit)


async def report(ageing: Ageing, execution: Any, phase: ExecutionPhase = RUNNING) -> None:
    await ageing.report(id_of(execution), phase=phase)


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


def reads(ageing: Ageing, context: Any) -> dict[str, Callable[[], Awaitable[Any]]]:
    execution_id = contexts.ExecutionContextExecutionIdInput(execution_id=context.spec.execution_id)
    return {
        "get": lambda: ageing.find_contexts.get(contexts.ExecutionContextId(value=id_of(context))),
        "by reference": lambda: ageing.find_contexts.get_by_reference(ApiResourceReference(slug=context.metadata.slug)),
        "by execution id": lambda: ageing.find_contexts.get_by_execution_id(execution_id),
        "marked": lambda: ageing.find_contexts.get(
            contexts.ExecutionContextId(value=id_of(context)), metadata={"x-secrets": "redacted"}
        ),
        "rotate": lambda: ageing.contexts.rotate(
            contexts.RotateExecutionValueInput(resource_id=id_of(context), key="TOKEN", value="another")
        ),
    }


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
    await report(ageing, made)
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


# Who comes in between.


@pytest.mark.parametrize("known", [True, False])
async def test_a_read_that_comes_before_the_end_goes_before_it(
    ageing: Ageing, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    made = await ageing.execution() if known else None
    context = await ageing.context(made) if known else await of_nobody(ageing)
    clock.ahead_ms = EXPIRED_MS
    during_commit(ageing, monkeypatch, reads(ageing, context)["get"])
    for _ in range(2):
        await ageing.sweep()
        assert await ageing.ids() == [id_of(context)]
    assert ageing.ended("expired") == 0
    assert made is None or await ageing.phase(made) == "PENDING"


async def test_a_report_that_comes_before_the_end_goes_before_it(
    ageing: Ageing, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.ahead_ms = -EXPIRED_MS
    made = await ageing.execution()
    row = await ageing.store.get("AgentExecution", id_of(made))
    assert row is not None
    await ageing.store.commit(Changes(puts=[Put(reported_long_ago(ageing, row), row.revision)]))
    clock.ahead_ms = 0
    during_commit(ageing, monkeypatch, lambda: report(ageing, made))
    await ageing.sweep()
    await ageing.sweep()
    assert await ageing.phase(made) == "IN_PROGRESS"
    assert len(await ageing.ids()) == 1


def reported_long_ago(ageing: Ageing, row: Row) -> Row:
    """The same execution, of which the last report is from 1970."""
    kind = ageing.plane._app.sealing.kinds["AgentExecution"]
    wire = kind.wire_of(row)
    wire.status.audit.status_audit.ClearField("updated_at")
    keys = tuple(kind._keys(wire, row.owner))
    return replace(row, data=wire.SerializeToString(), keys=keys)


@pytest.mark.parametrize("what", ["context", "execution", "report"])
async def test_what_is_gone_before_the_end_is_no_failure(
    ageing: Ageing, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    made = await ageing.execution()
    context = await ageing.context(made)
    clock.ahead_ms = EXPIRED_MS
    ends: dict[str, Callable[[], Awaitable[object]]] = {
        "context": lambda: ageing.contexts.delete(ApiResourceDeleteInput(resource_id=id_of(context))),
        "execution": lambda: ageing.executions.delete(ApiResourceId(value=id_of(made))),
        "report": lambda: report(ageing, made, COMPLETED),
    }
    during_commit(ageing, monkeypatch, ends[what])
    await ageing.sweep()
    await ageing.sweep()
    assert await ageing.ids() == []
    assert ageing.ended("expired") <= (what == "context")
    if what == "report":
        assert await ageing.phase(made) == "COMPLETED"
    assert said(caplog, "A context that has expired, or whose execution has ended, cannot be ended") == []


async def test_racing_reads_and_ends_leave_no_execution_without_a_context_that_has_not_failed(
    ageing: Ageing, clock: Clock
) -> None:
    session = await ageing.session()
    made = [await ageing.execution(session) for _ in range(40)]
    clock.ahead_ms = EXPIRED_MS

    async def read(execution: Any) -> bool:
        return not await is_missing(ageing.context(execution))

    found, _ = await asyncio.gather(asyncio.gather(*map(read, made)), ageing.sweep())
    await ageing.sweep()
    for is_read, one in zip(found, made, strict=True):
        assert await ageing.phase(one) == ("PENDING" if is_read else "FAILED")
        assert await is_missing(ageing.context(one)) is not is_read


# Orphans.


async def removed(ageing: Ageing, execution: Any) -> None:
    """Take the execution's row out, as who repairs a database does, past all that goes with it."""
    await ageing.store.commit(Changes(removes=[Remove("AgentExecution", id_of(execution), None)]))


async def completed(ageing: Ageing, execution: Any) -> None:
    """End the execution past all that goes with that."""
    kind = ageing.plane._app.sealing.kinds["AgentExecution"]
    row = await ageing.store.get("AgentExecution", id_of(execution))
    assert row is not None
    wire = kind.wire_of(row)
    wire.status.phase = COMPLETED.value
    put = Put(replace(row, data=wire.SerializeToString(), keys=tuple(kind._keys(wire, row.owner))), row.revision)
    await ageing.store.commit(Changes(puts=[put]))


@pytest.mark.parametrize("end", [removed, completed])
async def test_what_create_made_for_an_execution_goes_when_that_is_gone_and_what_a_caller_made_stays(
    ageing: Ageing, clock: Clock, end: Callable[[Ageing, Any], Awaitable[None]]
) -> None:
    session = await ageing.session()
    gone, goes_on = await ageing.execution(session), await ageing.execution(session)
    by_caller = await ageing.contexts.create(samples.execution_context(id_of(gone)))
    other = await ageing.context(goes_on)
    await end(ageing, gone)
    await ageing.sweep()
    assert await ageing.ids() == [id_of(by_caller), id_of(other)]
    assert (ageing.ended("orphaned"), ageing.ended("expired")) == (1, 0)
    assert [one.key for one in await ageing.store.records(MADE_CONTEXTS)] == [id_of(other)]
    clock.ahead_ms = EXPIRED_MS
    await ageing.sweep()
    assert await ageing.ids() == []
    assert await ageing.phase(goes_on) == "FAILED"


async def test_orphans_are_found_some_at_a_time_and_all_of_them_in_turn(
    ageing: Ageing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_expiry, "ORPHANS", 3)
    session = await ageing.session()
    made = [await ageing.execution(session) for _ in range(8)]
    for one in made[::2]:
        await removed(ageing, one)
    counts = [len(await ageing.ids())]
    for _ in range(3):
        await ageing.sweep()
        counts.append(len(await ageing.ids()))
    assert counts == [8, 6, 5, 4]
    await removed(ageing, made[1])
    await ageing.sweep()
    assert len(await ageing.ids()) == 3


async def test_a_note_of_a_context_that_is_not_there_is_taken_out_with_its_execution(ageing: Ageing) -> None:
    made = await ageing.execution()
    (note,) = await ageing.store.records(MADE_CONTEXTS)
    await ageing.executions.delete(ApiResourceId(value=id_of(made)))
    await ageing.store.commit(Changes(records={(MADE_CONTEXTS, note.key): note.value}))
    await ageing.sweep()
    assert await ageing.store.records(MADE_CONTEXTS) == []


# How it scales, and how it fails.


async def test_what_has_not_expired_costs_nothing_however_much_it_is(
    ageing: Ageing, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("get", "unused", "records", "page", "record", "commit"):
        really = getattr(ageing.store, name)

        async def counted(*args: Any, name: str = name, really: Any = really, **more: Any) -> Any:
            asked.append(name)
            return await really(*args, **more)

        monkeypatch.setattr(ageing.store, name, counted)
    costs: list[list[str]] = []
    for _ in range(3):
        for _ in range(20):
            await of_nobody(ageing)
        asked.clear()
        await ageing.sweep()
        costs.append([*asked])
    assert costs == [["unused", "records"]] * 3


async def test_one_that_cannot_be_ended_keeps_no_other_and_is_told_once(
    ageing: Ageing, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = await of_nobody(ageing), await ageing.execution()
    clock.ahead_ms = EXPIRED_MS
    really = ageing.store.get

    async def get(kind: str, id_: str, owners: Any = None) -> Any:
        if id_ == id_of(bad):
            raise LookupError(id_)
        return await really(kind, id_, owners)

    with monkeypatch.context() as patch:
        patch.setattr(ageing.store, "get", get)
        for _ in range(3):
            await ageing.sweep()
        assert await ageing.phase(good) == "FAILED"
        assert await ageing.ids() == [id_of(bad)]
    (line,) = said(caplog, "A context that has expired, or whose execution has ended, cannot be ended")
    assert line["id"] == id_of(bad)
    await ageing.sweep()
    assert await ageing.ids() == []


async def test_a_context_whose_secrets_do_not_open_ends_like_any_other(ageing: Ageing, clock: Clock) -> None:
    made = await ageing.execution()
    context = await ageing.context(made)
    await removed(ageing, made)
    await ageing.store.commit(Changes(records={("sealed", f"ExecutionContext/{id_of(context)}"): b"rubbish"}))
    clock.ahead_ms = EXPIRED_MS
    await ageing.sweep()
    assert await ageing.ids() == []


async def test_a_context_whose_execution_is_damaged_expires_and_before_that_it_stays(
    ageing: Ageing, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, really = await ageing.execution(), ageing.store.get

    async def get(kind: str, id_: str, owners: Any = None) -> Any:
        if kind == "AgentExecution":
            raise DamagedError(kind, id_, "a test says so")
        return await really(kind, id_, owners)

    monkeypatch.setattr(ageing.store, "get", get)
    await ageing.sweep()
    assert len(await ageing.ids()) == 1
    clock.ahead_ms = EXPIRED_MS
    await ageing.sweep()
    assert await ageing.ids() == []
    assert await ageing.ids("AgentExecution") == [id_of(made)]
