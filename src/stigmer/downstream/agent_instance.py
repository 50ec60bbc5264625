"""The AgentInstance downstream client: how agents get their default instances."""

from stigmer._gen.ai.stigmer.agentic.agentinstance.v1 import (
    AgentInstance,
    AgentInstanceCommandControllerStub,
    AgentInstanceId,
    AgentInstanceQueryControllerStub,
)
from stigmer.downstream.client import ResourceClient


class AgentInstanceClient(ResourceClient[AgentInstance]):
    """Agent instances, over a channel that generated stubs accept."""

    commands, queries = AgentInstanceCommandControllerStub, AgentInstanceQueryControllerStub
    id_message = AgentInstanceId
