"""A program of somebody who has the package and its documentation: it uses all that is public, and no more.

`make check` has both type checkers read it, as strictly as they can; test_stranger.py runs it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.exceptions import GRPCError
from grpclib.server import Server

import stigmer
from stigmer.types import (
    Agent,
    AgentExecution,
    AgentExecutionId,
    AgentExecutionSpec,
    AgentExecutionStatus,
    AgentExecutionUpdateStatusInput,
    AgentId,
    AgentSpec,
    ApiResourceMetadata,
    ApiResourceOwnerScope,
    ExecutionPhase,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from grpclib.client import Channel

API = "agentic.stigmer.ai/v1"


class Counting(stigmer.Interceptor):
    """Counts what passes it, and refuses what it is told to."""

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.seen: list[str] = []

    async def unary(self, call: stigmer.Call, request: Any, proceed: stigmer.UnaryNext) -> Any:
        """Around a call with one reply."""
        self.seen.append(f"{call.principal.name} {call.method.name}")
        if call.method.name == self.refused:
            raise stigmer.FailedPrecondition("not today", type_="DAY", subject=call.method.name)
        return await proceed(call, request)

    async def stream(
        self,
        call: stigmer.Call,
        request: Any,
        proceed: stigmer.StreamNext,
    ) -> AsyncGenerator[Any, None]:
        """Around a call with a stream of replies."""
        self.seen.append(call.method.name)
        async for reply in proceed(call, request):
            yield reply


async def an_agent(channel: Channel, name: str) -> Agent:
    """Make an agent, or update it."""
    return await stigmer.rpc.AgentCommandControllerStub(channel).apply(
        Agent(
            api_version=API,
            kind="Agent",
            metadata=ApiResourceMetadata(name=name, org="acme", owner_scope=ApiResourceOwnerScope.organization),
            spec=AgentSpec(instructions="Answer in one sentence."),
        ),
        timeout=10,
    )


async def phases(channel: Channel, agent_id: str) -> list[str]:
    """Make an execution and follow it to its end, which it is given at once."""
    commands = stigmer.rpc.AgentExecutionCommandControllerStub(channel, metadata={"x-request-id": "from-a-stranger"})
    execution = await commands.create(
        AgentExecution(
            api_version=API,
            kind="AgentExecution",
            metadata=ApiResourceMetadata(name="A run"),
            spec=AgentExecutionSpec(agent_id=agent_id, message="Go on."),
        )
    )
    assert execution.metadata
    id_ = AgentExecutionId(execution.metadata.id)
    seen: list[str] = []
    async for state in stigmer.rpc.AgentExecutionQueryControllerStub(channel).subscribe(id_):
        assert state.status
        seen.append(state.status.phase.name or "")
        if state.status.phase is ExecutionPhase.EXECUTION_PENDING:
            ended = AgentExecutionStatus(phase=ExecutionPhase.EXECUTION_COMPLETED)
            await commands.update_status(AgentExecutionUpdateStatusInput(execution_id=id_.value, status=ended))
    return seen


async def failure(channel: Channel, id_: str) -> stigmer.StigmerError:
    """Why there is no agent of that id."""
    try:
        await stigmer.rpc.AgentQueryControllerStub(channel).get(AgentId(id_))
    except GRPCError as status:
        return stigmer.rpc.error_of(status)
    raise AssertionError(id_)


async def main(directory: Path) -> list[object]:
    """Use a plane in every way there is; what came of it."""
    settings = await asyncio.to_thread(stigmer.Settings, data_dir=directory, listen=("127.0.0.1:0",), grace_s=5)
    counting = Counting(refused="delete")
    came: list[object] = [stigmer.__version__.count(".")]
    async with stigmer.embedded(settings, [counting]) as plane, plane.listen() as server:
        agent = await an_agent(plane.channel_as(stigmer.Principal("ann", "editor", frozenset({"acme"}))), "By channel")
        assert agent.metadata
        async with stigmer.rpc.channel(server.listens_on) as channel:
            came += [await phases(channel, agent.metadata.id), type(await failure(channel, "agt-none")).__name__]
        hosted = Server(plane.services(), codec=stigmer.rpc.Codec(), status_details_codec=ProtoStatusDetailsCodec())
        await hosted.start("127.0.0.1", 0)
        hosted.close()
        await hosted.wait_closed()
        try:
            await stigmer.rpc.AgentCommandControllerStub(plane.channel).delete(AgentId(agent.metadata.id))
        except GRPCError as status:
            match stigmer.rpc.error_of(status):
                case stigmer.FailedPrecondition() as error:
                    came.append((error.type, error.subject, error.message))
                case other:
                    raise other from status
        await plane.close(grace_s=5)
    came += [counting.seen[0], server.address[1] > 0]
    return came
