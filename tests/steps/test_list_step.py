"""List and its filters; StreamUpdates."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance_bench import Bench, is_idle

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecutionId,
    AgentExecutionList,
    ExecutionPhase,
    ListAgentExecutionsRequest,
)
from stigmer._gen.ai.stigmer.agentic.agentinstance.v1 import AgentInstanceList, GetAgentInstancesByAgentRequest
from stigmer._gen.ai.stigmer.agentic.session.v1 import ListSessionsByAgentRequest
from stigmer._gen.ai.stigmer.commons.rpc import PageInfo
from stigmer.errors import InvalidArgument, NotFound
from stigmer.pipeline.context import decoded
from stigmer.steps.list_filters import HasAll, Is, IsOrHasParent
from stigmer.steps.list_resources import MAX_PAGE_BYTES, List
from stigmer.steps.stream_updates import StreamUpdates
from stigmer.store.changes import Changes, Put, Remove
from stigmer.store.rows import ABSENT, Query, Row, Through
from stigmer.store.sqlite import SqliteStore
from stigmer.wire.codec import Encoded

if TYPE_CHECKING:
    from pathlib import Path

BY_PHASE_AND_TAGS = List(AgentExecutionList, Is("phase", "status.phase"), HasAll("tags", "metadata.tags"))


async def listed(bench: Bench, step: List, kind: str, rpc: str, request: Any) -> Any:
    ctx = bench.context(kind, rpc, request)
    await step(ctx)
    assert is_idle(ctx)
    assert ctx.reply is not None
    return decoded(ctx.reply)


async def executions(bench: Bench, **request: Any) -> Any:
    return await listed(bench, BY_PHASE_AND_TAGS, "AgentExecution", "list", ListAgentExecutionsRequest(**request))


def test_a_filter_that_is_not_set_narrows_nothing() -> None:
    query, request = Query("AgentExecution"), ListAgentExecutionsRequest()
    assert Is("phase", "status.phase").narrow(query, request) == query
    assert HasAll("tags", "metadata.tags").narrow(query, request) == query


def test_filters_narrow_by_the_keys_of_rows() -> None:
    request = ListAgentExecutionsRequest(phase=ExecutionPhase.EXECUTION_FAILED, tags=["b", "a", "b"])
    query = HasAll("tags", "metadata.tags").narrow(
        Is("phase", "status.phase").narrow(Query("AgentExecution"), request), request
    )
    assert query.keys == (("status.phase", "4"), ("metadata.tags", "a"), ("metadata.tags", "b"))
    joined = IsOrHasParent("agent_id", "spec.agent_instance_id", "AgentInstance", "spec.agent_id").narrow(
        Query("Session"), ListSessionsByAgentRequest(agent_id="agt-1")
    )
    assert joined.through == Through("spec.agent_instance_id", "agt-1", "AgentInstance", ("spec.agent_id", "agt-1"))


async def test_list_answers_with_stored_bytes_newest_first(bench: Bench) -> None:
    rows = [await bench.keep(samples.agent_execution("ses-1", tags=["a"])) for _ in range(3)]
    reply = await executions(bench, page_size=2, tags=["a"])
    assert reply.entries == [bench.resource(row) for row in rows[:0:-1]]
    assert (reply.total_pages, bool(reply.next_page_token)) == (2, True)
    rest = await executions(bench, page_size=2, tags=["a"], page_token=reply.next_page_token)
    assert (rest.entries, rest.next_page_token) == ([bench.resource(rows[0])], "")


async def test_list_refuses_a_token_of_other_filters(bench: Bench) -> None:
    for _ in range(2):
        await bench.keep(samples.agent_execution("ses-1", tags=["a"]))
    token = (await executions(bench, page_size=1, tags=["a"])).next_page_token
    for request in ({}, {"tags": ["b"]}, {"tags": ["a"], "phase": ExecutionPhase.EXECUTION_PENDING}):
        with pytest.raises(InvalidArgument, match="page_token"):
            await executions(bench, page_token=token, **request)


async def test_a_whole_reply_stays_under_its_limit_and_comes_near_it(bench: Bench) -> None:
    """Also where the rows' data alone would fit."""
    data = b"x" * (MAX_PAGE_BYTES // 1000 - 1)
    rows = [Row("AgentExecution", f"aex-{number}", "", None, data, ()) for number in range(1000)]
    await bench.store.commit(Changes(puts=[Put(row, ABSENT) for row in rows]))
    ctx = bench.context("AgentExecution", "list", ListAgentExecutionsRequest(page_size=1000))
    await BY_PHASE_AND_TAGS(ctx)
    reply = ctx.reply
    assert isinstance(reply, Encoded)
    assert MAX_PAGE_BYTES - 3 * len(data) < len(reply.data) < MAX_PAGE_BYTES


@pytest.mark.parametrize(("info", "count"), [(None, 3), (PageInfo(num=1, size=2), 2), (PageInfo(num=2, size=2), 1)])
async def test_list_by_number_counts_all(bench: Bench, info: PageInfo | None, count: int) -> None:
    for _ in range(3):
        await bench.keep(samples.agent_instance("agt-1"))
    step = List(AgentInstanceList, Is("agent_id", "spec.agent_id"))
    request = GetAgentInstancesByAgentRequest(agent_id="agt-1", page_info=info)
    reply = await listed(bench, step, "AgentInstance", "getByAgent", request)
    assert (len(reply.items), reply.total_count) == (count, 3)


async def test_stream_updates_gives_the_current_state_and_each_later_one(bench: Bench) -> None:
    row = await bench.keep(samples.agent_execution("ses-1"), phase=ExecutionPhase.EXECUTION_PENDING)
    ctx = bench.context("AgentExecution", "subscribe", AgentExecutionId(value=row.id), resource_id=row.id, row=row)
    states = StreamUpdates().stream(ctx)
    assert _data(await anext(states)) == row.data
    following = asyncio.create_task(_rest(states))
    for phase in (ExecutionPhase.EXECUTION_IN_PROGRESS, ExecutionPhase.EXECUTION_CANCELLED):
        resource = bench.resource(row)
        resource.status.phase = phase
        await bench.store.commit(
            Changes(puts=[Put(bench.kinds["AgentExecution"].row_of(resource, row.owner, based_on=row), row.revision)])
        )
        found = await bench.store.get("AgentExecution", row.id)
        assert found is not None
        row = found
    assert (await following)[-1] == row.data


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
async def test_stream_updates_ends_at_once_where_the_phase_is_terminal(tmp_path: Path, cache_bytes: int) -> None:
    """Also where the row comes from the disk, without its keys."""
    async with SqliteStore(tmp_path / "other", cache_bytes=cache_bytes) as store:
        bench = Bench(store)
        row = await bench.keep(samples.agent_execution("ses-1"), phase=ExecutionPhase.EXECUTION_FAILED)
        ctx = bench.context("AgentExecution", "subscribe", AgentExecutionId(value=row.id), resource_id=row.id, row=row)
        assert await _rest(StreamUpdates().stream(ctx)) == [row.data]


async def test_stream_updates_refuses_what_is_or_will_be_gone(bench: Bench) -> None:
    row = await bench.keep(samples.agent_execution("ses-1"))
    request = AgentExecutionId(value=row.id)
    first, second = (
        bench.context("AgentExecution", "subscribe", request, resource_id=row.id, row=row) for _ in range(2)
    )
    states = StreamUpdates().stream(first)
    await anext(states)
    await bench.store.commit(Changes(removes=[Remove("AgentExecution", row.id, None)]))
    with pytest.raises(NotFound, match=f"AgentExecution not found: {row.id}"):
        await anext(states)
    with pytest.raises(NotFound):
        await anext(StreamUpdates().stream(second))


async def _rest(states: Any) -> list[bytes]:
    return [_data(state) async for state in states]


def _data(state: Any) -> bytes:
    return bytes(state.data)
