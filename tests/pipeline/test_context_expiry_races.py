"""Whoever uses a context, or ends it, while the server is about to end it goes before."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ageing import EXPIRED_MS, Ageing, Clock, is_missing, of_nobody, reads
from edge_rig import id_of, said

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceDeleteInput, ApiResourceId
from stigmer.store.changes import Changes, Put
from stigmer.types import ExecutionPhase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stigmer.store.rows import Row


RUNNING, COMPLETED = ExecutionPhase.EXECUTION_IN_PROGRESS, ExecutionPhase.EXECUTION_COMPLETED


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
