"""An execution's context and its end, whichever commits first; runs that are repeated; contexts of another server."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import contexts, executions, id_of, lose_once, said, separately
from edge_sockets import serving
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer.downstream import ResourceClient
from stigmer.store.rows import Query, Window

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_rig import Rig

    from stigmer.pipeline.context import AnyContext

COMPLETED = executions.ExecutionPhase.EXECUTION_COMPLETED


class FailedError(Exception):
    """What a test makes a call fail with."""


async def run(rig: Rig) -> Any:
    sent = samples.agent_execution(agent_id=id_of(await rig.agent()))
    sent.spec.runtime_env = {"A": contexts.ExecutionValue(value="a")}
    return await rig.executions.create(sent)


async def test_a_context_that_is_made_while_its_execution_ends_is_refused(rig: Rig) -> None:
    execution, runs = await rig.execution(), 0

    async def make() -> None:
        nonlocal runs
        runs += 1
        await rig.contexts.create(samples.execution_context(id_of(execution)))
        await separately(rig.report(id_of(execution), phase=COMPLETED))

    with pytest.raises(GRPCError) as caught:
        await rig.outer(make)
    assert (caught.value.status, runs) == (Status.FAILED_PRECONDITION, 2)
    assert "has ended with EXECUTION_COMPLETED" in str(caught.value.message)
    assert await rig.ids("ExecutionContext") == set()


async def test_a_context_that_is_made_while_its_execution_goes_on_is_made(rig: Rig) -> None:
    """A report that does not end it has the run repeated, no more."""
    execution, runs = await rig.execution(), 0

    async def make() -> None:
        nonlocal runs
        runs += 1
        await rig.contexts.create(samples.execution_context(id_of(execution)))
        if runs == 1:
            await separately(rig.report(id_of(execution), error="none"))

    await rig.outer(make)
    assert (len(await rig.ids("ExecutionContext")), runs) == (1, 2)


async def test_a_context_that_was_made_while_its_execution_was_ending_goes_with_it(rig: Rig) -> None:
    execution = await run(rig)

    async def end() -> None:
        await rig.report(id_of(execution), phase=COMPLETED)
        await separately(rig.contexts.create(samples.execution_context(id_of(execution))))
        assert len(await rig.ids("ExecutionContext")) == 2

    await rig.outer(end)
    assert await rig.ids("ExecutionContext") == set()


async def test_of_many_contexts_and_an_end_at_once_none_is_left(rig: Rig) -> None:
    execution = await run(rig)
    make = [rig.contexts.create(samples.execution_context(id_of(execution))) for _ in range(32)]
    make.insert(16, rig.report(id_of(execution), phase=COMPLETED))
    done = await asyncio.gather(*make, return_exceptions=True)
    assert {one.status for one in done if isinstance(one, GRPCError)} <= {Status.FAILED_PRECONDITION}
    assert not [one for one in done if isinstance(one, BaseException) and not isinstance(one, GRPCError)]
    assert await rig.ids("ExecutionContext") == set()


async def test_a_context_made_in_the_transaction_that_ends_its_execution_is_refused(rig: Rig) -> None:
    execution = await run(rig)

    async def both() -> None:
        await rig.report(id_of(execution), phase=COMPLETED)
        with pytest.raises(GRPCError) as caught:
            await rig.contexts.create(samples.execution_context(id_of(execution)))
        assert caught.value.status is Status.FAILED_PRECONDITION

    await rig.outer(both)
    assert await rig.ids("ExecutionContext") == set()


async def test_a_run_that_is_repeated_leaves_one_context_and_says_so_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rival, runs = await rig.agent(), 0

    async def make(ctx: AnyContext) -> None:
        nonlocal runs
        runs += 1
        await run(rig)
        await lose_once(rig, ctx, rival, runs)

    rig.inside.action = make
    await rig.environments.create(samples.environment())
    (context,), (execution,) = await rig.ids("ExecutionContext"), await rig.ids("AgentExecution")
    (line,) = said(caplog, "Successfully created execution context")
    assert (line["context_id"], line["execution_id"], runs) == (context, execution, 2)
    assert [one.key for one in await rig.store.records("runtime_env_keys")] == [execution]


async def test_a_failed_call_leaves_neither_execution_nor_context_nor_names(rig: Rig) -> None:
    async def make() -> None:
        await run(rig)
        raise FailedError

    with pytest.raises(GRPCError):
        await rig.outer(make)
    assert await rig.ids("AgentExecution") | await rig.ids("ExecutionContext") == set()
    assert await rig.store.records("runtime_env_keys") == []


@pytest.mark.parametrize("fails", [False, True])
async def test_a_context_kept_by_another_server_is_taken_back_where_the_call_fails(
    tmp_path: Path, wire: Callable[..., Rig], fails: bool
) -> None:
    async with serving(tmp_path / "far") as (channel, far):
        near = wire(ExecutionContext=ResourceClient[Any]("ExecutionContext", channel))

        async def make() -> None:
            made = await run(near)
            page = await far.store.page(Query("ExecutionContext", (("spec.execution_id", id_of(made)),)), Window(None))
            assert len(page.rows) == 1
            if fails:
                raise FailedError

        if fails:
            with pytest.raises(GRPCError):
                await near.outer(make)
        else:
            await near.outer(make)
        assert (await far.store.page(Query("ExecutionContext"), Window(limit=None))).total == (0 if fails else 1)
        assert len(await near.ids("AgentExecution")) == (0 if fails else 1)
