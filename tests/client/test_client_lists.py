"""Lists are walked entry by entry or page by page, each page asked for when it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from transports import calling

import stigmer

if TYPE_CHECKING:
    from pathlib import Path


async def five_runs(client: stigmer.Client) -> list[str]:
    agent = await client.agents.create(name="Reviewer", instructions="Review the change.")
    session = await client.sessions.create(agent_instance=agent.status.default_instance_id if agent.status else "")
    runs = [
        await client.executions.create(
            session=session, message="Hello", name=f"r{number}", tags=["even"] * (number % 2 == 0)
        )
        for number in range(5)
    ]
    return [run.metadata.name for run in runs if run.metadata]


async def test_a_list_gives_each_entry_of_every_page(client: stigmer.Client) -> None:
    names = await five_runs(client)
    listing = client.executions.list(page_size=2)
    for _ in range(2):  # each walk begins anew
        assert [run.metadata.name async for run in listing if run.metadata] == names[::-1]
    pages = [page async for page in listing.pages()]
    assert [(len(page.entries), page.total_pages) for page in pages] == [(2, 3), (2, 3), (1, 3)]
    rest = client.executions.list(page_size=2, page_token=pages[0].next_page_token)
    assert [run.metadata.name async for run in rest if run.metadata] == names[2::-1]


async def test_a_list_takes_filters_as_keywords(client: stigmer.Client) -> None:
    names = await five_runs(client)
    assert [one.metadata.name async for one in client.executions.list(tags=["even"]) if one.metadata] == names[::-2]
    pending = client.executions.list(phase="EXECUTION_PENDING", page_size=3)
    assert len([one async for one in pending]) == 5
    assert [one async for one in client.executions.list(phase="EXECUTION_FAILED")] == []
    sessions = [one async for one in client.sessions.list_by_agent(agent="acme/reviewer")]
    assert len([one async for one in client.executions.list_by_session(session=sessions[0], page_size=2)]) == 5


async def test_a_list_that_cannot_be_had_fails_when_it_is_walked(client: stigmer.Client) -> None:
    with pytest.raises(stigmer.InvalidArgument, match="page_token"):
        await anext(aiter(client.executions.list(page_token="nonsense")))
    with pytest.raises(stigmer.NotFound):
        await anext(aiter(client.sessions.list_by_agent(agent="acme/nobody")))


class Counting(stigmer.Interceptor):
    def __init__(self) -> None:
        self.calls: list[str] = []

    async def unary(self, call: stigmer.Call, request: Any, proceed: stigmer.UnaryNext) -> Any:
        self.calls.append(call.method.name)
        return await proceed(call, request)


async def test_no_page_is_asked_for_before_it_is_wanted(pems: Path) -> None:
    counting = Counting()
    async with calling("tcp", pems, counting, org="acme") as (client, _):
        names = await five_runs(client)
        counting.calls.clear()
        walk = aiter(client.executions.list(page_size=2))
        seen = [run.metadata.name for run in (await anext(walk), await anext(walk)) if run.metadata]
        assert (seen, counting.calls) == (names[:2:-1], ["list"])
        await anext(walk)
        assert counting.calls == ["list", "list"]
        await walk.aclose()
