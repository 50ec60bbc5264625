"""Contexts that outlive their execution, and those that cannot be ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import samples
from ageing import EXPIRED_MS, Ageing, Clock, of_nobody, removed
from edge_rig import id_of, said

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.pipeline import context_expiry
from stigmer.pipeline.made_contexts import MADE_CONTEXTS
from stigmer.store.changes import Changes, Put
from stigmer.store.errors import DamagedError
from stigmer.types import ExecutionPhase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def completed(ageing: Ageing, execution: Any) -> None:
    """End the execution past all that goes with that."""
    kind = ageing.plane._app.sealing.kinds["AgentExecution"]
    row = await ageing.store.get("AgentExecution", id_of(execution))
    assert row is not None
    wire = kind.wire_of(row)
    wire.status.phase = ExecutionPhase.EXECUTION_COMPLETED.value
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
