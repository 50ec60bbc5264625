"""AgentExecution.create: what it runs on, and the session that it makes."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance import invalid, missing
from conformance_plane import PENDING, Plane

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceOwnerScope as Scope

if TYPE_CHECKING:
    from stigmer.app.assembly import App

UNKNOWN_AGENT, UNKNOWN_SESSION = f"agt-{samples.NOBODY}", f"ses-{samples.NOBODY}"


@pytest.fixture
def plane(app: App) -> Plane:
    return Plane(app)


async def test_neither_session_nor_agent_is_refused(plane: Plane) -> None:
    await invalid(plane.run(), "spec.session_id")


async def test_an_agent_alone_gets_a_session_of_its_own(plane: Plane) -> None:
    agent = await plane.agent(org="acme")
    before = time.time_ns() // 1_000_000
    made = await plane.run(agent_id=agent.metadata.id)
    session = await plane.sessions.get(made.spec.session_id)
    assert made.spec.agent_id == agent.metadata.id
    assert session.spec.agent_instance_id == agent.status.default_instance_id
    assert session.spec.subject == "Auto-created session"
    assert (session.metadata.org, session.metadata.owner_scope) == ("acme", Scope.organization)
    assert session.metadata.slug == session.metadata.name
    found = re.fullmatch(r"session-(\d+)", session.metadata.name)
    assert found is not None
    assert before <= int(found[1]) <= time.time_ns() // 1_000_000 + 1000


async def test_a_session_alone_tells_the_agent(plane: Plane) -> None:
    agent = await plane.agent()
    session = await plane.session(agent)
    made = await plane.run(session.metadata.id)
    assert (made.spec.session_id, made.spec.agent_id) == (session.metadata.id, agent.metadata.id)
    assert await plane.ids("Session") == {session.metadata.id}


async def test_a_session_and_its_own_agent_go_together(plane: Plane) -> None:
    agent = await plane.agent()
    session = await plane.session(agent)
    made = await plane.run(session.metadata.id, agent.metadata.id)
    assert (made.spec.session_id, made.spec.agent_id) == (session.metadata.id, agent.metadata.id)


async def test_a_session_and_another_agent_are_refused(plane: Plane) -> None:
    session, other = await plane.session(), await plane.agent()
    await invalid(plane.run(session.metadata.id, other.metadata.id), "spec.agent_id")
    await invalid(plane.run(session.metadata.id, UNKNOWN_AGENT), "spec.agent_id")
    assert await plane.ids("AgentExecution") == set()


async def test_what_names_nothing_is_not_found(plane: Plane) -> None:
    agent = await plane.agent()
    for unknown in (UNKNOWN_SESSION, "banana"):
        await missing(plane.run(unknown), "Session", unknown)
        await missing(plane.run(unknown, agent.metadata.id), "Session", unknown)
        await missing(plane.run(unknown, "another"), "Session", unknown)
    for unknown in (UNKNOWN_AGENT, "banana"):
        await missing(plane.run(agent_id=unknown), "Agent", unknown)
    assert await plane.ids("Session") == set()


@pytest.mark.parametrize("names_agent", [True, False])
async def test_a_session_whose_instance_is_gone_still_takes_executions(plane: Plane, names_agent: bool) -> None:
    agent = await plane.agent()
    session = await plane.session(agent)
    await plane.instances.delete(agent.status.default_instance_id)
    agent_id = agent.metadata.id if names_agent else ""
    made = await plane.run(session.metadata.id, agent_id)
    assert (made.spec.session_id, made.spec.agent_id) == (session.metadata.id, agent_id)


@pytest.mark.parametrize(
    ("agent_org", "execution_org", "scope", "org"),
    [
        ("", "", Scope.identity_account, ""),
        ("", "acme", Scope.organization, "acme"),
        ("maker", "", Scope.identity_account, ""),
        ("maker", "acme", Scope.organization, "acme"),
    ],
)
async def test_the_session_on_a_platform_agent_belongs_to_who_runs_it(
    plane: Plane, agent_org: str, execution_org: str, scope: Scope, org: str
) -> None:
    agent = await plane.agent(owner_scope=Scope.platform, org=agent_org)
    made = await plane.run(agent_id=agent.metadata.id, org=execution_org)
    metadata = (await plane.sessions.get(made.spec.session_id)).metadata
    assert (metadata.owner_scope, metadata.org) == (scope, org)


async def test_the_session_on_an_organizations_agent_is_the_organizations(plane: Plane) -> None:
    agent = await plane.agent(org="acme")
    made = await plane.run(agent_id=agent.metadata.id, org="globex")
    metadata = (await plane.sessions.get(made.spec.session_id)).metadata
    assert (metadata.owner_scope, metadata.org) == (Scope.organization, "acme")


async def test_an_execution_begins_pending_with_an_otherwise_empty_status(plane: Plane) -> None:
    status = (await plane.execution()).status
    assert status.phase == PENDING
    status.audit, status.phase = None, type(status.phase)(0)
    assert status == type(status)()


async def test_each_execution_without_a_session_gets_another(plane: Plane) -> None:
    agent = await plane.agent()
    made = [await plane.execution(agent) for _ in range(5)]
    assert len({one.spec.session_id for one in made}) == 5


async def test_a_session_name_that_is_taken_gets_the_next_free_slug(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stigmer.steps import create_session_if_needed

    monkeypatch.setattr(create_session_if_needed.Milliseconds, "__call__", lambda _self: 1700000000000)
    agent = await plane.agent()
    names: list[Any] = []
    for _ in range(3):
        made = await plane.execution(agent)
        names.append((await plane.sessions.get(made.spec.session_id)).metadata)
    assert [one.name for one in names] == ["session-1700000000000"] * 3
    assert [one.slug for one in names] == [f"session-1700000000000{end}" for end in ("", "-2", "-3")]


async def test_a_refused_execution_leaves_no_session_and_no_instance(plane: Plane) -> None:
    agent, holder = await plane.agent(), await plane.execution()
    await plane.strip_default_instance(agent)
    before = {kind: await plane.ids(kind) for kind in ("Session", "AgentInstance", "AgentExecution")}
    call = plane.run(agent_id=agent.metadata.id, id=holder.metadata.id)
    with pytest.raises(Exception, match="already exists"):
        await call
    assert {kind: await plane.ids(kind) for kind in before} == before
    assert (await plane.agents.get(agent.metadata.id)).status.default_instance_id == ""
