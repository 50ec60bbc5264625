"""Walks over all pages while others write, and the cap of a page."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance_plane import COMPLETED, Plane

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import ListAgentExecutionsBySessionRequest
from stigmer._gen.ai.stigmer.agentic.session.v1 import ListSessionsByAgentRequest, ListSessionsRequest
from stigmer.access.principal import organization
from stigmer.handlers.session import HANDLER
from stigmer.store.changes import Changes, Put
from stigmer.store.rows import ABSENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stigmer.app.assembly import App


@pytest.fixture
def plane(app: App) -> Plane:
    return Plane(app)


async def pages(call: Any, request: Any) -> AsyncIterator[list[str]]:
    """The ids on each page."""
    token = ""
    while True:
        request.page_token = token
        page = await call(request)
        yield [entry.metadata.id for entry in page.entries]
        token = page.next_page_token
        if not token:
            return


@pytest.mark.parametrize("seed", range(5))
async def test_a_walk_sees_each_row_that_lives_throughout_exactly_once(plane: Plane, seed: int) -> None:
    """Between two pages rows are made, changed and deleted, the last one that was seen among them."""
    chance = random.Random(seed)
    session_id = (await plane.session()).metadata.id
    living = [(await plane.run(session_id)).metadata.id for _ in range(30)]
    throughout, seen = set(living), list[str]()
    request = ListAgentExecutionsBySessionRequest(session_id=session_id, page_size=4)
    async for ids in pages(plane.executions.queries.list_by_session, request):
        seen += ids
        for id_ in {ids[-1], chance.choice(living)} & set(living):
            living.remove(id_)
            throughout.discard(id_)
            await plane.executions.delete(id_)
        await plane.report(chance.choice(living), phase=COMPLETED)
        await plane.run(session_id)
    assert len(seen) == len(set(seen))
    assert throughout <= set(seen)
    assert seen == sorted(seen, reverse=True)


async def test_walks_hold_against_writers_that_run_meanwhile(plane: Plane) -> None:
    agent = await plane.agent()
    kept = [(await plane.session(agent)).metadata.id for _ in range(20)]

    async def churn() -> None:
        for _ in range(25):
            await plane.sessions.delete((await plane.session(agent)).metadata.id)

    async def walk(call: Any, request: Any) -> None:
        for _ in range(5):
            seen = [id_ async for ids in pages(call, request) for id_ in ids]
            assert len(seen) == len(set(seen))
            assert [id_ for id_ in seen if id_ in kept] == kept[::-1]

    queries = plane.sessions.queries
    by_agent = ListSessionsByAgentRequest(agent_id=agent.metadata.id, page_size=3)
    walks = walk(queries.list, ListSessionsRequest(page_size=3)), walk(queries.list_by_agent, by_agent)
    await asyncio.gather(churn(), churn(), *walks)


async def test_a_page_has_a_thousand_rows_at_most(plane: Plane) -> None:
    await _bulk(plane.app, 1001)
    page = await plane.sessions.queries.list(ListSessionsRequest(page_size=5000))
    assert (len(page.entries), page.total_pages, bool(page.next_page_token)) == (1000, 2, True)
    page = await plane.sessions.queries.list(ListSessionsRequest())
    assert (len(page.entries), page.total_pages) == (50, 21)


async def _bulk(app: App, count: int) -> None:
    puts = []
    for number in range(count):
        session = samples.session(id=f"ses-{number:026}")
        session.metadata.slug = session.metadata.name
        puts.append(Put(HANDLER.kind.row_of(session, organization("")), ABSENT))
    await app.store.commit(Changes(puts=puts))
