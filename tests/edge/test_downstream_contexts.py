"""Contexts kept by another server: they are deleted there after their execution has ended here, until that is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import samples
from edge_rig import Around, Rig, contexts, id_of, sessions
from edge_sockets import serving
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.downstream import ResourceClient
from stigmer.handlers import HANDLERS
from stigmer.pipeline.context_expiry import ContextExpiry, Means
from stigmer.pipeline.made_contexts import MADE_CONTEXTS
from stigmer.store.rows import Query, Window
from stigmer.types import ExecutionPhase

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from stigmer.app.assembly import App
    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call

COMPLETED = ExecutionPhase.EXECUTION_COMPLETED


class Two(NamedTuple):
    """This side's plane, whose ExecutionContext client is connected to the far one."""

    near: Rig
    far: App
    expiry: ContextExpiry
    refused: list[str]

    async def execution(self) -> Any:
        agent = await self.near.agent()
        sent = samples.agent_execution(agent_id=id_of(agent))
        sent.spec.runtime_env = {"TOKEN": contexts.ExecutionValue(value="hunter2", is_secret=True)}
        return await self.near.executions.create(sent)

    async def far_ids(self) -> list[str]:
        return [row.id for row in (await self.far.store.page(Query("ExecutionContext"), Window(None))).rows]

    async def noted(self) -> dict[str, str]:
        return {one.key: one.value.decode() for one in await self.near.store.records(MADE_CONTEXTS)}


@pytest.fixture
async def two(tmp_path: Path, wire: Callable[..., Rig]) -> AsyncGenerator[Two]:
    refused: list[str] = []

    async def maybe(call: Call, request: Any, proceed: UnaryNext) -> Any:
        if refused:
            raise GRPCError(Status.UNAVAILABLE, refused.pop())
        return await proceed(call, request)

    async with serving(tmp_path / "far", Around("ExecutionContextCommandController/delete", maybe)) as (channel, far):
        near = wire(ExecutionContext=ResourceClient[Any]("ExecutionContext", channel))
        of_method = {
            (one.kind.name, one.method.name): one
            for handler in HANDLERS
            for one in handler.bind(near.runtime)
            if one.kind is not None
        }
        means = Means(of_method["AgentExecution", "updateStatus"], of_method["ExecutionContext", "delete"])
        yield Two(near, far, ContextExpiry(near.runtime, means, lambda _: None), refused)


async def test_a_context_made_elsewhere_is_noted_here_and_stays_while_its_execution_goes_on(two: Two) -> None:
    made = await two.execution()
    (there,) = await two.far_ids()
    assert await two.noted() == {there: id_of(made)}
    await two.expiry.work()
    assert await two.far_ids() == [there]
    assert await two.near.ids("ExecutionContext") == set()


@pytest.mark.parametrize("how", ["report", "delete", "delete of the session"])
async def test_it_is_deleted_there_after_its_execution_has_ended_here(two: Two, how: str) -> None:
    made, other = await two.execution(), await two.execution()
    if how == "report":
        await two.near.report(id_of(made), phase=COMPLETED)
    elif how == "delete":
        await two.near.executions.delete(ApiResourceId(value=id_of(made)))
    else:
        await two.near.sessions.delete(sessions.SessionId(value=made.spec.session_id))
    await two.expiry.work()
    assert list((await two.noted()).values()) == [id_of(other)]
    assert await two.far_ids() == list(await two.noted())


async def test_what_the_other_server_does_not_delete_is_tried_again(two: Two) -> None:
    made = await two.execution()
    await two.near.report(id_of(made), phase=COMPLETED)
    two.refused.extend(["not now", "nor now"])
    for _ in range(2):
        await two.expiry.work()
        assert (len(await two.far_ids()), len(await two.noted())) == (1, 1)
    await two.expiry.work()
    assert (await two.far_ids(), await two.noted()) == ([], {})
