"""The AgentInstance downstream client: how agents get their default instances."""

from __future__ import annotations

from typing import Any

from stigmer._gen.ai.stigmer.agentic.agentinstance.v1 import (
    AgentInstance,
    AgentInstanceCommandControllerStub,
    AgentInstanceId,
    AgentInstanceQueryControllerStub,
)
from stigmer.downstream import calling


class AgentInstanceClient:
    """Agent instances, over a channel that generated stubs accept."""

    def __init__(self, channel: Any) -> None:  # noqa: ANN401 - grpclib's Channel, or the loopback's
        self._commands = AgentInstanceCommandControllerStub(channel)
        self._queries = AgentInstanceQueryControllerStub(channel)
        self.in_process = calling.is_in_process(channel)

    async def get(self, id_: str) -> AgentInstance | None:
        """The instance, or None where the id names nothing; raises a StigmerError as the call fails."""
        instance: AgentInstance | None = await calling.found(self._queries.get, AgentInstanceId(value=id_))
        return instance

    async def create(self, instance: AgentInstance) -> AgentInstance:
        """Make an instance; raises a StigmerError as the call fails."""
        with calling.relaying():
            return await self._commands.create(instance, **calling.inherited())

    async def delete(self, id_: str) -> None:
        """Delete an instance; it may be gone already."""
        await calling.found(self._commands.delete, AgentInstanceId(value=id_))
