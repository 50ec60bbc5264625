"""Lists, counts and page walks of several callers on one plane, against a model that knows whose everything is."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import samples
from callers import AMY, ANN, BOTH, GIL, NONE, ROOT, Callers, of, outcome
from edge_rig import Rig, executions, id_of, instances, sessions
from effort import LONG, examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stigmer._gen.ai.stigmer.commons.rpc import PageInfo
from stigmer.access.principal import LOCAL
from stigmer.store.memory import MemoryStore
from stigmer.store.sqlite import SqliteStore
from stigmer.types import ApiResourceOwnerScope as Scope

if TYPE_CHECKING:
    from stigmer.access.principal import Principal

EVERYBODY = (ANN, AMY, BOTH, GIL, NONE, ROOT, LOCAL, of("reader", "acme"), of("reader", "*"), of("runner", "*"))
MAKERS = (ANN, AMY, GIL, LOCAL, of("editor", "*"))
TAGS = ("red", "blue")


@dataclass(frozen=True)
class Made:
    """A session that somebody made: in an organization, or their own."""

    maker: Principal
    org: str
    is_own: bool
    tags: tuple[str, ...]
    on_platform: bool

    def is_there_for(self, caller: Principal) -> bool:
        """As the issue says it, in other words than the code's."""
        everywhere = "*" in caller.organizations
        if self.is_own:
            return caller.name == self.maker.name or (everywhere and caller.role in ("admin", "runner"))
        return everywhere or self.org in caller.organizations


@st.composite
def made(draw: st.DrawFn) -> Made:
    maker = draw(st.sampled_from(MAKERS))
    orgs = ["", "acme", "globex"] if "*" in maker.organizations else sorted(maker.organizations)
    tags = tuple(sorted(draw(st.sets(st.sampled_from(TAGS)))))
    return Made(maker, draw(st.sampled_from(orgs)), draw(st.booleans()), tags, draw(st.booleans()))


@dataclass
class World:
    """What is on the plane: by the ids of sessions what they are, the newest last; their executions; the agents."""

    callers: Callers
    agents: dict[bool, Any] = field(default_factory=dict)
    sessions: dict[str, Made] = field(default_factory=dict)
    executions: dict[str, str] = field(default_factory=dict)

    async def fill(self, all_made: list[Made]) -> None:
        self.agents[True] = await self.callers(ROOT).create(samples.agent(owner_scope=Scope.platform))
        self.agents[False] = await self.callers(LOCAL).create(samples.agent())
        for one in all_made:
            scope = Scope.identity_account if one.is_own else Scope.organization
            instance = self.agents[True].status.default_instance_id
            session = samples.session(instance, org=one.org, owner_scope=scope, tags=list(one.tags))
            if not one.on_platform and "*" in one.maker.organizations:
                session.spec.agent_instance_id = self.agents[False].status.default_instance_id
            session = await self.callers(one.maker).create(session)
            self.sessions[id_of(session)] = one
            sent = samples.agent_execution(id_of(session), tags=list(one.tags))
            self.executions[id_of(await self.callers(one.maker).create(sent))] = id_of(session)

    async def drop(self, positions: set[int]) -> None:
        for id_ in [id_ for number, id_ in enumerate(self.sessions) if number in positions]:
            await self.callers(LOCAL).kind("Session").delete(id_)
            del self.sessions[id_]
            self.executions = {one: session for one, session in self.executions.items() if session != id_}

    def seen(self, caller: Principal, *tags: str) -> list[str]:
        """The sessions that are there for a caller, the newest first."""
        return [
            id_ for id_, one in reversed(self.sessions.items()) if one.is_there_for(caller) and {*tags} <= {*one.tags}
        ]


async def walk(list_: Any, request: Any, size: int) -> list[str]:
    """All pages; each but the last one is full, and each tells the same number of pages."""
    found: list[str] = []
    totals, sizes = set[int](), list[int]()
    request.page_size, request.page_token = size, ""
    while True:
        page = await list_(request)
        found += [id_of(one) for one in page.entries]
        sizes.append(len(page.entries))
        totals.add(page.total_pages)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert all(one == size for one in sizes[:-1])
    assert totals == {-(-len(found) // size)}
    return found


async def check(world: World, caller: Principal, size: int) -> None:
    """Every list there is, as one caller sees it."""
    stubs = world.callers(caller)
    for tags in ([], ["red"], ["red", "blue"]):
        wanted = world.seen(caller, *tags)
        assert await walk(stubs.find_sessions.list, sessions.ListSessionsRequest(tags=tags), size) == wanted
        ran = [next(one for one, session in world.executions.items() if session == id_) for id_ in wanted]
        asked = executions.ListAgentExecutionsRequest(tags=tags, phase=executions.ExecutionPhase.EXECUTION_PENDING)
        assert await walk(stubs.find_executions.list, asked, size) == ran
    for session in world.sessions:
        by_session = executions.ListAgentExecutionsBySessionRequest(session_id=session)
        theirs = [one for one, its in world.executions.items() if its == session]
        found = await walk(stubs.find_executions.list_by_session, by_session, size)
        assert found == (theirs if session in world.seen(caller) else [])
    for is_platform, agent in world.agents.items():
        await check_by_agent(world, caller, id_of(agent), is_platform=is_platform, size=size)


async def check_by_agent(world: World, caller: Principal, agent_id: str, *, is_platform: bool, size: int) -> None:
    """What goes through an agent's instances: those that are not there for the caller lead nowhere."""
    stubs = world.callers(caller)
    is_there = is_platform or "*" in caller.organizations
    of_agent = [
        id_
        for id_ in world.seen(caller)
        if is_there
        and is_platform == (world.sessions[id_].on_platform or "*" not in world.sessions[id_].maker.organizations)
    ]
    by_agent = sessions.ListSessionsByAgentRequest(agent_id=agent_id)
    assert await walk(stubs.find_sessions.list_by_agent, by_agent, size) == of_agent
    request = instances.GetAgentInstancesByAgentRequest(agent_id=agent_id, page_info=PageInfo(num=1, size=size))
    found = await stubs.find_instances.get_by_agent(request)
    assert (len(found.items), found.total_count) == ((1, 1) if is_there else (0, 0))


async def check_tokens(world: World) -> None:
    """A page token is good for whom it was given to."""
    tokens = {}
    for caller in EVERYBODY:
        page = await world.callers(caller).find_sessions.list(sessions.ListSessionsRequest(page_size=1))
        tokens[caller] = page.next_page_token
    for giver, token in tokens.items():
        for caller in EVERYBODY if token else ():
            request = sessions.ListSessionsRequest(page_size=1, page_token=token)
            found = await outcome(world.callers(caller).find_sessions.list(request))
            assert (found.code == "OK") == (caller.name == giver.name)
            assert caller.name == giver.name or found.message.startswith("page_token: ")


@pytest.mark.longer
@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_lists_are_what_a_model_says_for_each_caller(backend: str) -> None:
    tried = examples(8, 500) if backend == "memory" else examples(3, 100)

    @settings(max_examples=tried, deadline=None, derandomize=not LONG, suppress_health_check=list(HealthCheck))
    @given(st.lists(made(), max_size=9), st.sets(st.integers(0, 8), max_size=2), st.integers(1, 4))
    def lists(all_made: list[Made], dropped: set[int], size: int) -> None:
        asyncio.run(on_a_plane(all_made, dropped, size))

    async def on_a_plane(all_made: list[Made], dropped: set[int], size: int) -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with MemoryStore() if backend == "memory" else SqliteStore(Path(directory)) as store:
                world = World(Callers(Rig(store)))
                await world.fill(all_made)
                await world.drop(dropped)
                for caller in EVERYBODY:
                    await check(world, caller, size)
                await check_tokens(world)

    lists()
