"""The Agent downstream client: what executions run."""

from __future__ import annotations

from typing import Any

from stigmer._gen.ai.stigmer.agentic.agent.v1 import (
    Agent,
    AgentCommandControllerStub,
    AgentId,
    AgentQueryControllerStub,
)
from stigmer.downstream import calling


class AgentClient:
    """Agents, over a channel that generated stubs accept."""

    def __init__(self, channel: Any) -> None:  # noqa: ANN401 - grpclib's Channel, or the loopback's
        self._commands = AgentCommandControllerStub(channel)
        self._queries = AgentQueryControllerStub(channel)
        self.in_process = calling.is_in_process(channel)

    async def get(self, id_: str) -> Agent | None:
        """The agent, or None where the id names nothing; raises a StigmerError as the call fails."""
        agent: Agent | None = await calling.found(self._queries.get, AgentId(value=id_))
        return agent

    async def create(self, agent: Agent) -> Agent:
        """Make an agent, its default instance too; raises a StigmerError as the call fails."""
        with calling.relaying():
            return await self._commands.create(agent, **calling.inherited())

    async def delete(self, id_: str) -> None:
        """Delete an agent; it may be gone already."""
        await calling.found(self._commands.delete, AgentId(value=id_))
