"""Subscribers that do not read for a while: what they get when they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_sockets import dial
from h2.events import DataReceived
from h2.settings import SettingCodes
from served_process import served
from server_wire import connect, message

from stigmer._gen.ai.stigmer.agentic.agent.v1 import AgentCommandControllerStub
from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecution,
    AgentExecutionCommandControllerStub,
    AgentExecutionId,
    AgentExecutionStatus,
    AgentExecutionUpdateStatusInput,
    AgentMessage,
    ExecutionPhase,
)
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.wire import codec

if TYPE_CHECKING:
    from pathlib import Path

    from server_wire import Wire

SUBSCRIBE = "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/subscribe"
WINDOW_BYTES = 10
"""Of a stream: no state fits into it."""


class Executions:
    """What a runner and a user do."""

    def __init__(self, channel: Any) -> None:
        self.commands: Any = AgentExecutionCommandControllerStub(channel)
        self.agents: Any = AgentCommandControllerStub(channel)

    async def create(self, **metadata: Any) -> Any:
        agent = await self.agents.create(samples.agent())
        return await self.commands.create(samples.agent_execution(agent_id=agent.metadata.id, **metadata))

    async def report(self, id_: str, text: str, phase: ExecutionPhase = ExecutionPhase.EXECUTION_IN_PROGRESS) -> None:
        status = AgentExecutionStatus(phase=phase, messages=[AgentMessage(content=text)])
        await self.commands.update_status(AgentExecutionUpdateStatusInput(execution_id=id_, status=status))


def states(wire: Wire, stream_id: int) -> list[Any]:
    """The states that a stream has given."""
    received = (event for event in wire.events if isinstance(event, DataReceived) and event.stream_id == stream_id)
    data = b"".join(bytes(event.data) for event in received)
    found: list[Any] = []
    while data:
        size = int.from_bytes(data[1:5], "big")
        found.append(codec.decode(AgentExecution, data[5 : 5 + size]))
        data = data[5 + size :]
    return found


@pytest.mark.parametrize("ended", [True, False])
async def test_a_stuck_reader_never_gets_the_states_of_a_later_execution_with_the_same_id(
    tmp_path: Path, ended: bool
) -> None:
    """Attack: it was deleted, made again and reported on 20 times while the reader's window was shut."""
    async with served(tmp_path) as server, connect(server, hello=False) as wire:
        channel = dial(server)
        run = Executions(channel)
        made = await run.create()
        id_ = made.metadata.id
        wire.h2.initiate_connection()
        wire.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES})
        stream_id = wire.request(message(codec.encode(AgentExecutionId(value=id_))), path=SUBSCRIBE)
        while not any(isinstance(event, DataReceived) for event in wire.events):
            assert await wire.read()
        await run.report(id_, "of the first")
        if ended:
            await run.report(id_, "the end of the first", ExecutionPhase.EXECUTION_COMPLETED)
        await run.commands.delete(ApiResourceId(value=id_))
        await run.create(id=id_)
        for number in range(20):
            await run.report(id_, f"of the second, {number}")
        wire.h2.increment_flow_control_window(2**24, stream_id)
        wire.flush()
        status = await wire.status(stream_id)
        channel.close()
        said = [one.content for state in states(wire, stream_id) for one in state.status.messages]
        assert status.startswith("0" if ended else "5 ")
        assert said[-1] == ("the end of the first" if ended else "of the first")
        assert not [text for text in said if "second" in text]
