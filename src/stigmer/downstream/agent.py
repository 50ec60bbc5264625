"""The Agent downstream client: what executions run."""

from stigmer._gen.ai.stigmer.agentic.agent.v1 import (
    Agent,
    AgentCommandControllerStub,
    AgentId,
    AgentQueryControllerStub,
)
from stigmer.downstream.client import ResourceClient


class AgentClient(ResourceClient[Agent]):
    """Agents, over a channel that generated stubs accept."""

    commands, queries, id_message = AgentCommandControllerStub, AgentQueryControllerStub, AgentId
