"""Control planes in one process know nothing of each other: a call inherits nothing from another plane's call."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Around, Seen, Stubs, executions, id_of, sessions
from edge_sockets import dial
from grpclib.server import Server

from stigmer.access.principal import LOCAL, Principal
from stigmer.app import Plane, embedded
from stigmer.edge.interceptors import Interceptor
from stigmer.rpc import Codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from stigmer.edge.interceptors import StreamNext, UnaryNext
    from stigmer.pipeline.call import Call

CREATE = "AgentCommandController/create"
SENT = {"x-request-id": "req-of-a"}
ANN = Principal("ann", "editor", frozenset({"*"}))


@asynccontextmanager
async def plane(directory: Path, *interceptors: Interceptor) -> AsyncGenerator[Plane]:
    async with embedded(directory, interceptors) as plane:
        yield plane


class Crossing(Interceptor):
    """Calls another plane inside each create of an agent, and inside each stream."""

    def __init__(self) -> None:
        self.others: list[Stubs] = []

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
        call.principal = ANN
        reply = await proceed(call, request)
        if call.method.path.endswith(CREATE):
            await self._cross()
        return reply

    async def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Any, None]:
        call.principal = ANN
        await self._cross()
        async for reply in proceed(call, request):
            yield reply

    async def _cross(self) -> None:
        for other in self.others:
            await other.sessions.create(samples.session())


def is_outermost(call: Call) -> bool:
    return (call.parent, call.deadline_s, call.principal) == (None, None, LOCAL) and call.request_id != "req-of-a"


async def test_a_call_made_inside_a_call_of_another_plane_is_an_outermost_one(tmp_path: Path) -> None:
    crossing, seen = Crossing(), Seen()
    async with plane(tmp_path / "a", crossing) as a, plane(tmp_path / "b", seen) as b:
        crossing.others.append(Stubs(b.channel))
        stubs = Stubs(a.channel)
        agent = await stubs.agents.create(samples.agent(), timeout=30, metadata=SENT)
        execution = await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent)))
        follow = stubs.find_executions.subscribe(
            executions.AgentExecutionId(value=id_of(execution)), timeout=30, metadata=SENT
        )
        await anext(follow)
        await follow.aclose()
        made = seen.of("SessionCommandController/create")
        assert [is_outermost(call) for call in made] == [True, True]
        listed = await Stubs(b.channel).find_sessions.list(sessions.ListSessionsRequest())
    assert [one.status.audit.spec_audit.created_by.id for one in listed.entries] == ["local"] * 2


async def test_what_another_plane_committed_stays_when_the_call_around_it_fails(tmp_path: Path) -> None:
    async def fail(call: Call, request: Any, proceed: UnaryNext) -> Any:
        await stubs_of_b.agents.create(samples.agent(name="kept"))
        raise RuntimeError

    seen = Seen()
    async with plane(tmp_path / "a", Around(CREATE, fail)) as a, plane(tmp_path / "b", seen) as b:
        stubs_of_b = Stubs(b.channel)
        with pytest.raises(Exception, match="internal error"):
            await Stubs(a.channel).agents.create(samples.agent(), timeout=30)
        (call,) = seen.of(CREATE)
        assert is_outermost(call)
        assert id_of(await stubs_of_b.agents.apply(samples.agent(name="kept"))).startswith("agt-")


async def test_the_way_back_is_a_call_of_its_own_too(tmp_path: Path) -> None:
    """A calls B, which calls A: as over a network."""

    async def into_b(call: Call, request: Any, proceed: UnaryNext) -> Any:
        if call.method.service.endswith("AgentCommandController"):
            await planes[1].environments.create(samples.environment())
        return await proceed(call, request)

    async def back_into_a(call: Call, request: Any, proceed: UnaryNext) -> Any:
        await planes[0].sessions.create(samples.session())
        return await proceed(call, request)

    seen = Seen()
    async with (
        plane(tmp_path / "a", Around(CREATE, into_b), seen) as a,
        plane(tmp_path / "b", Around("EnvironmentCommandController/create", back_into_a)) as b,
    ):
        planes = [Stubs(a.channel), Stubs(b.channel)]
        await planes[0].agents.create(samples.agent(), timeout=30, metadata=SENT)
        (call,) = seen.of("SessionCommandController/create")
    assert is_outermost(call)


async def test_the_same_behind_a_host_s_own_server(tmp_path: Path) -> None:
    crossing, seen = Crossing(), Seen()
    async with plane(tmp_path / "a", crossing) as a, plane(tmp_path / "b", seen) as b:
        crossing.others.append(Stubs(b.channel))
        server = Server(a.services(), codec=Codec())
        await server.start("127.0.0.1", 0)
        (socket,) = server._server.sockets  # type: ignore[union-attr]  # it has started
        channel = dial(Addressed(socket.getsockname()))
        try:
            await Stubs(channel).agents.create(samples.agent(), timeout=30, metadata=SENT)
        finally:
            channel.close()
            server.close()
            await server.wait_closed()
        (call,) = seen.of("SessionCommandController/create")
    assert is_outermost(call)


class Addressed:
    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
