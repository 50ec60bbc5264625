"""Subscribers that do not read for a while: what they get when they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Stubs, id_of
from edge_sockets import dial
from h2.events import DataReceived
from h2.settings import SettingCodes
from served_process import served
from server_wire import connect, message

from stigmer.types import AgentExecution, AgentExecutionId, AgentMessage, ApiResourceId
from stigmer.types import ExecutionPhase as Phase
from stigmer.wire import codec

if TYPE_CHECKING:
    from pathlib import Path

    from server_wire import Wire

SUBSCRIBE = "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/subscribe"
WINDOW_BYTES = 10
"""Of a stream: no state fits into it."""


async def made(stubs: Stubs, **metadata: Any) -> Any:
    """A new execution of a new agent."""
    agent = await stubs.agents.create(samples.agent())
    return await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent), **metadata))


async def report(stubs: Stubs, id_: str, text: str, phase: Phase = Phase.EXECUTION_IN_PROGRESS) -> None:
    await stubs.report(id_, phase=phase, messages=[AgentMessage(content=text)])


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
        stubs = Stubs(channel)
        id_ = id_of(await made(stubs))
        wire.h2.initiate_connection()
        wire.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES})
        stream_id = wire.request(message(codec.encode(AgentExecutionId(value=id_))), path=SUBSCRIBE)
        while not any(isinstance(event, DataReceived) for event in wire.events):
            assert await wire.read()
        await report(stubs, id_, "of the first")
        if ended:
            await report(stubs, id_, "the end of the first", Phase.EXECUTION_COMPLETED)
        await stubs.executions.delete(ApiResourceId(value=id_))
        await made(stubs, id=id_)
        for number in range(20):
            await report(stubs, id_, f"of the second, {number}")
        wire.h2.increment_flow_control_window(2**24, stream_id)
        wire.flush()
        status = await wire.status(stream_id)
        channel.close()
        said = [one.content for state in states(wire, stream_id) for one in state.status.messages]
        assert status.startswith("0" if ended else "5 ")
        assert said[-1] == ("the end of the first" if ended else "of the first")
        assert not [text for text in said if "second" in text]
