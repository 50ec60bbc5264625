"""Planes that know callers by badges and listen, on their own server or on grpclib's."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import samples
from badges import HEADER
from edge_rig import Stubs, executions, id_of
from google.rpc import error_details_pb2
from grpclib.client import Channel
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from stigmer.app import embedded
from stigmer.rpc import Codec
from stigmer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from badges import Badges

    from stigmer.app import Plane

ANN, BOB = {HEADER: "ann"}, {HEADER: "bob"}


class Opened(Protocol):
    """Opens a plane; interceptors are the host's, keywords go to its settings."""

    def __call__(self, *interceptors: Any, **settings: Any) -> AbstractAsyncContextManager[Open]: ...


class Open:
    """A plane that listens, on its own server or on grpclib's."""

    def __init__(self, plane: Plane, address: tuple[str, int], channel: Channel) -> None:
        self.plane, self.address, self.channel = plane, address, channel
        self.stubs, self.local = Stubs(channel), Stubs(plane.channel)

    async def execution(self, org: str = "acme") -> str:
        """The id of an execution that goes on."""
        agent = await self.local.agents.create(samples.agent(org=org))
        return id_of(await self.local.executions.create(samples.agent_execution(agent_id=id_of(agent))))

    @asynccontextmanager
    async def following(self, id_: str, name: str = "ann") -> AsyncGenerator[Any]:
        """A subscription that has given the first state."""
        states = self.stubs.find_executions.subscribe(executions.AgentExecutionId(value=id_), metadata={HEADER: name})
        await anext(states)
        try:
            yield states
        finally:
            await states.aclose()


@asynccontextmanager
async def own(plane: Plane) -> AsyncGenerator[tuple[str, int]]:
    async with plane.listen("127.0.0.1:0") as server:
        yield server.address


@asynccontextmanager
async def stock(plane: Plane) -> AsyncGenerator[tuple[str, int]]:
    server: Any = Server(plane.services(), codec=Codec(), status_details_codec=ProtoStatusDetailsCodec())
    await server.start("127.0.0.1", 0)
    try:
        yield server._server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        await server.wait_closed()


def opener(listen: Callable[[Plane], Any], badges: Badges) -> Opened:
    @asynccontextmanager
    async def opened(*interceptors: Any, **settings: Any) -> AsyncGenerator[Open]:
        loaded = Settings(data_dir=Path(":memory:"), **settings)
        async with AsyncExitStack() as stack:
            plane = await stack.enter_async_context(embedded(loaded, interceptors, authenticators=[badges]))
            address = await stack.enter_async_context(listen(plane))
            channel = Channel(*address, codec=Codec(), status_details_codec=ProtoStatusDetailsCodec())
            stack.callback(channel.close)
            yield Open(plane, address, channel)

    return opened


async def failure(what: Any) -> GRPCError:
    with pytest.raises(GRPCError) as caught:
        await what
    return caught.value


def info(error: GRPCError) -> dict[str, str]:
    (detail,) = error.details or (None,)
    assert isinstance(detail, error_details_pb2.ErrorInfo)
    return dict(detail.metadata)


async def finish(opened: Open, id_: str) -> None:
    status = executions.AgentExecutionStatus(phase=executions.ExecutionPhase.EXECUTION_COMPLETED)
    await opened.local.executions.update_status(
        executions.AgentExecutionUpdateStatusInput(execution_id=id_, status=status)
    )
