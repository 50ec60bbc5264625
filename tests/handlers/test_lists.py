"""list, listBySession, listByAgent and getByAgent: what they find, page by page."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance import Resources, invalid
from conformance_broken import put
from conformance_facts import AGENT_EXECUTION, SESSION
from conformance_plane import CANCELLED, COMPLETED, PENDING, Plane

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    ExecutionPhase,
    ListAgentExecutionsBySessionRequest,
    ListAgentExecutionsRequest,
)
from stigmer._gen.ai.stigmer.agentic.agentinstance.v1 import GetAgentInstancesByAgentRequest
from stigmer._gen.ai.stigmer.agentic.session.v1 import ListSessionsByAgentRequest, ListSessionsRequest
from stigmer._gen.ai.stigmer.commons.rpc import PageInfo

if TYPE_CHECKING:
    from stigmer.app.assembly import App


@pytest.fixture
def plane(app: App) -> Plane:
    return Plane(app)


def ids(found: Any) -> list[str]:
    return [entry.metadata.id for entry in getattr(found, "entries", None) or getattr(found, "items", [])]


class Lists:
    """The five methods, each as a function of its paging fields."""

    def __init__(self, plane: Plane, session_id: str = "", agent_id: str = "") -> None:
        self._sessions, self._executions = plane.sessions.queries, plane.executions.queries
        self._instances = plane.instances.queries
        self._session_id, self._agent_id = session_id, agent_id

    async def sessions(self, **paging: Any) -> Any:
        return await self._sessions.list(ListSessionsRequest(**paging))

    async def sessions_by_agent(self, **paging: Any) -> Any:
        return await self._sessions.list_by_agent(ListSessionsByAgentRequest(agent_id=self._agent_id, **paging))

    async def executions(self, **paging: Any) -> Any:
        return await self._executions.list(ListAgentExecutionsRequest(**paging))

    async def executions_by_session(self, **paging: Any) -> Any:
        request = ListAgentExecutionsBySessionRequest(session_id=self._session_id, **paging)
        return await self._executions.list_by_session(request)

    async def instances_by_agent(self, page_info: PageInfo | None = None) -> Any:
        request = GetAgentInstancesByAgentRequest(agent_id=self._agent_id, page_info=page_info)
        return await self._instances.get_by_agent(request)


TOKENS = ("sessions", "sessions_by_agent", "executions", "executions_by_session")


@pytest.fixture
async def full(plane: Plane) -> tuple[Lists, dict[str, list[str]]]:
    """Seven executions in one session, seven sessions on one agent; the ids that each method finds, newest first."""
    agent = await plane.agent()
    sessions = [(await plane.session(agent)).metadata.id for _ in range(7)]
    executions = [(await plane.run(sessions[0])).metadata.id for _ in range(7)]
    newest_sessions, newest_executions = sessions[::-1], executions[::-1]
    found = dict.fromkeys(TOKENS[:2], newest_sessions) | dict.fromkeys(TOKENS[2:], newest_executions)
    return Lists(plane, sessions[0], agent.metadata.id), found


@pytest.mark.parametrize("method", TOKENS)
async def test_all_fit_on_one_page(full: tuple[Lists, dict[str, list[str]]], method: str) -> None:
    lists, expected = full
    for size in (0, 7, 8, 1000, 1001, 2**31 - 1):
        page = await getattr(lists, method)(page_size=size)
        assert (ids(page), page.next_page_token, page.total_pages) == (expected[method], "", 1)


@pytest.mark.parametrize("method", TOKENS)
@pytest.mark.parametrize("size", [1, 2, 3, 6])
async def test_pages_follow_one_another_newest_first(
    full: tuple[Lists, dict[str, list[str]]], method: str, size: int
) -> None:
    lists, expected = full
    seen: list[list[str]] = []
    token = ""
    while not seen or token:
        page = await getattr(lists, method)(page_size=size, page_token=token)
        assert page.total_pages == -(-7 // size)
        seen.append(ids(page))
        token = page.next_page_token
    assert seen == [expected[method][i : i + size] for i in range(0, 7, size)]


@pytest.mark.parametrize("method", TOKENS)
async def test_a_negative_page_size_is_refused(full: tuple[Lists, dict[str, list[str]]], method: str) -> None:
    await invalid(getattr(full[0], method)(page_size=-1), "page_size")


@pytest.mark.parametrize("method", TOKENS)
async def test_a_token_that_nobody_gave_is_refused(full: tuple[Lists, dict[str, list[str]]], method: str) -> None:
    call = getattr(full[0], method)
    token = (await call(page_size=2)).next_page_token
    raw = base64.urlsafe_b64decode(f"{token}==")
    flipped = [bytes(b ^ (i == at) for i, b in enumerate(raw)) for at in range(len(raw))]
    bad = [base64.urlsafe_b64encode(one).decode().rstrip("=") for one in flipped]
    for one in (*bad, "banana", token[:-1], token + "=", token + token, "", " " + token, "ünïcode", "A" * 9000):
        if one:
            await invalid(call(page_token=one), "page_token")


async def test_a_token_is_good_for_its_method_and_filters_alone(plane: Plane) -> None:
    agent = await plane.agent()
    sessions = [await plane.session(agent, tags=["a", "b"]) for _ in range(3)]
    first, second = (one.metadata.id for one in sessions[:2])
    for _ in range(3):
        await plane.run(first, tags=["a"])
    other = await plane.agent()
    lists = [Lists(plane, first, agent.metadata.id), Lists(plane, second, other.metadata.id)]
    calls: dict[str, tuple[Any, dict[str, Any]]] = {
        "all sessions": (lists[0].sessions, {}),
        "tagged sessions": (lists[0].sessions, {"tags": ["a"]}),
        "twice tagged sessions": (lists[0].sessions, {"tags": ["a", "b"]}),
        "an agent's sessions": (lists[0].sessions_by_agent, {}),
        "another agent's sessions": (lists[1].sessions_by_agent, {}),
        "all executions": (lists[0].executions, {}),
        "pending executions": (lists[0].executions, {"phase": PENDING}),
        "tagged executions": (lists[0].executions, {"tags": ["a"]}),
        "a session's executions": (lists[0].executions_by_session, {}),
        "another session's executions": (lists[1].executions_by_session, {}),
    }
    for name, (call, filters) in calls.items():
        token = (await call(page_size=1, **filters)).next_page_token
        assert bool(token) is not name.startswith("another")
        for other_name, (other_call, other_filters) in calls.items():
            if token and other_name != name:
                await invalid(other_call(page_token=token, **other_filters), "page_token")


async def test_the_order_of_tags_and_another_page_size_do_not_spoil_a_token(plane: Plane) -> None:
    agent = await plane.agent()
    made = [await plane.session(agent, tags=["a", "b"]) for _ in range(3)]
    lists = Lists(plane)
    token = (await lists.sessions(page_size=1, tags=["a", "b"])).next_page_token
    page = await lists.sessions(page_size=5, tags=["b", "a", "b"], page_token=token)
    assert ids(page) == [one.metadata.id for one in made[1::-1]]


async def test_tags_must_all_be_there(plane: Plane) -> None:
    agent = await plane.agent()
    sessions = {tags: await plane.session(agent, tags=list(tags)) for tags in ("", "a", "b", "ab", "abc")}
    session_id = sessions[""].metadata.id
    executions = {tags: await plane.run(session_id, tags=list(tags)) for tags in sessions}
    lists = Lists(plane)
    for made, call in ((sessions, lists.sessions), (executions, lists.executions)):
        for wanted in ("", "a", "b", "ab", "ba", "c", "abc", "d", "ad", "A"):
            page = await call(tags=list(wanted))
            matching = [one.metadata.id for tags, one in made.items() if set(wanted) <= set(tags)]
            assert (ids(page), page.total_pages) == (matching[::-1], 1 if matching else 0)


async def test_an_empty_tag_is_a_tag(plane: Plane) -> None:
    await plane.session(tags=["a"])
    made = await plane.session(tags=["", "a"])
    assert ids(await Lists(plane).sessions(tags=[""])) == [made.metadata.id]


async def test_a_changed_tag_is_found_and_the_old_one_is_not(plane: Plane) -> None:
    session = await plane.session(tags=["old", "kept"])
    session.metadata.tags = ["new", "kept"]
    await plane.sessions.update(session)
    lists = Lists(plane)
    found = {tag: ids(await lists.sessions(tags=[tag])) for tag in ("old", "new", "kept")}
    assert found == {"old": [], "new": [session.metadata.id], "kept": [session.metadata.id]}


async def test_phase_filters_and_follows_the_status(plane: Plane) -> None:
    made = [await plane.execution(tags=["x"]) for _ in range(3)]
    pending, completed, _ = (one.metadata.id for one in made)
    await plane.report(completed, phase=COMPLETED)
    lists = Lists(plane)
    assert ids(await lists.executions(phase=COMPLETED)) == [completed]
    assert ids(await lists.executions(phase=PENDING, tags=["x"], page_size=5))[1:] == [pending]
    assert ids(await lists.executions(phase=CANCELLED)) == []
    assert ids(await lists.executions(phase=ExecutionPhase(99))) == []
    assert len(ids(await lists.executions())) == 3


async def test_what_names_nothing_gives_an_empty_list(plane: Plane) -> None:
    await plane.execution()
    for unknown in (f"ses-{samples.NOBODY}", f"agt-{samples.NOBODY}", "banana"):
        lists = Lists(plane, unknown, unknown)
        for call in (lists.executions_by_session, lists.sessions_by_agent):
            page = await call()
            assert (ids(page), page.next_page_token, page.total_pages) == ([], "", 0)
        assert (await lists.instances_by_agent()).total_count == 0


async def test_an_id_that_is_not_given_is_refused(plane: Plane) -> None:
    lists = Lists(plane)
    await invalid(lists.executions_by_session(), "session_id")
    await invalid(lists.sessions_by_agent(page_size=-1), "agent_id", "page_size")
    await invalid(lists.instances_by_agent(PageInfo(num=-1, size=-1)), "agent_id", "page_info.num", "page_info.size")


async def test_sessions_by_agent_are_those_of_all_its_instances_or_of_one(plane: Plane) -> None:
    agent, other = await plane.agent(), await plane.agent()
    second = (await plane.instances.create(samples.agent_instance(agent.metadata.id))).metadata.id
    first = agent.status.default_instance_id
    made = [(await plane.sessions.create(samples.session(instance))).metadata.id for instance in (first, second, first)]
    elsewhere = (await plane.session(other)).metadata.id
    found = {
        name: ids(await Lists(plane, agent_id=id_).sessions_by_agent())
        for name, id_ in {"agent": agent.metadata.id, "first": first, "second": second, "o": other.metadata.id}.items()
    }
    assert found == {"agent": made[::-1], "first": made[::-2], "second": [made[1]], "o": [elsewhere]}


async def test_an_instance_that_is_made_or_gone_later_counts_when_the_list_is_read(plane: Plane) -> None:
    """The join is made at read: nothing is copied into the session."""
    agent = await plane.agent()
    lists = Lists(plane, agent_id=agent.metadata.id)
    session = await plane.session(agent)
    await plane.instances.delete(agent.status.default_instance_id)
    assert ids(await lists.sessions_by_agent()) == []
    again = samples.agent_instance(agent.metadata.id, id=agent.status.default_instance_id)
    await plane.instances.create(again)
    assert ids(await lists.sessions_by_agent()) == [session.metadata.id]


async def test_a_page_stays_under_three_mebibytes(plane: Plane) -> None:
    session_id = (await plane.session()).metadata.id
    made: list[str] = []
    for size in (1 << 20, 1 << 20, 1 << 20, (3 << 20) - 200, 100):
        execution = samples.agent_execution(session_id)
        put("spec.message", "x" * size)(execution)
        made.append((await plane.executions.create(execution)).metadata.id)
    lists, seen, token = Lists(plane, session_id), list[list[str]](), ""
    while not seen or token:
        page = await lists.executions_by_session(page_token=token)
        seen.append(ids(page))
        token = page.next_page_token
    assert seen == [[made[4]], [made[3]], [made[2], made[1]], [made[0]]]


async def test_lists_are_the_same_over_the_wire(channel: Any) -> None:
    tag = samples.unique("tag")
    sessions, executions = Resources(SESSION, channel), Resources(AGENT_EXECUTION, channel)
    made = [await sessions.created(tags=[tag]) for _ in range(3)]
    first = await sessions.queries.list(ListSessionsRequest(page_size=2, tags=[tag]))
    rest = await sessions.queries.list(ListSessionsRequest(page_size=2, tags=[tag], page_token=first.next_page_token))
    assert [*first.entries, *rest.entries] == made[::-1]
    assert (first.total_pages, rest.next_page_token) == (2, "")
    ran = [await executions.created(tags=[tag]) for _ in range(2)]
    page = await executions.queries.list(ListAgentExecutionsRequest(tags=[tag], phase=PENDING))
    assert page.entries == ran[::-1]
