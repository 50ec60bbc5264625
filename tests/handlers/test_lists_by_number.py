"""AgentInstance.getByAgent: pages by their number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance_plane import Plane

from stigmer._gen.ai.stigmer.agentic.agentinstance.v1 import GetAgentInstancesByAgentRequest
from stigmer._gen.ai.stigmer.commons.rpc import PageInfo

if TYPE_CHECKING:
    from stigmer.app.assembly import App


@pytest.fixture
def plane(app: App) -> Plane:
    return Plane(app)


@pytest.fixture
async def full(plane: Plane) -> tuple[str, list[str]]:
    """An agent with its default instance and four more; the ids, newest first. Another agent has some, too."""
    agent, other = await plane.agent(), await plane.agent()
    made = [agent.status.default_instance_id]
    for _ in range(4):
        made.append((await plane.instances.create(samples.agent_instance(agent.metadata.id))).metadata.id)
        await plane.instances.create(samples.agent_instance(other.metadata.id))
    return agent.metadata.id, made[::-1]


async def find(plane: Plane, agent_id: str, info: PageInfo | None = None) -> Any:
    request = GetAgentInstancesByAgentRequest(agent_id=agent_id, page_info=info)
    return await plane.instances.queries.get_by_agent(request)


def ids(found: Any) -> list[str]:
    return [item.metadata.id for item in found.items]


async def test_without_a_page_all_are_given(plane: Plane, full: tuple[str, list[str]]) -> None:
    found = await find(plane, full[0])
    assert (ids(found), found.total_count) == (full[1], 5)


@pytest.mark.parametrize(
    ("num", "size", "part"),
    [
        (1, 2, slice(0, 2)),
        (0, 2, slice(0, 2)),
        (2, 2, slice(2, 4)),
        (3, 2, slice(4, 5)),
        (4, 2, slice(5, 5)),
        (2**31 - 1, 2**31 - 1, slice(5, 5)),
        (1, 0, slice(0, 5)),
        (2, 0, slice(5, 5)),
        (1, 5000, slice(0, 5)),
        (2, 5, slice(5, 5)),
    ],
)
async def test_a_page_is_found_by_its_number(
    plane: Plane, full: tuple[str, list[str]], num: int, size: int, part: slice
) -> None:
    found = await find(plane, full[0], PageInfo(num=num, size=size))
    assert (ids(found), found.total_count) == (full[1][part], 5)


async def test_more_than_a_page_of_any_size_are_given_where_no_page_is_asked_for(plane: Plane) -> None:
    """`page_info` unset means all, however many: the cap of a page does not count."""
    agent = await plane.agent()
    for _ in range(60):
        await plane.instances.create(samples.agent_instance(agent.metadata.id))
    assert len(ids(await find(plane, agent.metadata.id))) == 61
    assert len(ids(await find(plane, agent.metadata.id, PageInfo(num=1)))) == 50
