"""AgentInstance: an agent with the environments that it runs in."""

from stigmer._gen.ai.stigmer.agentic.agentinstance.v1 import (
    AgentInstance,
    AgentInstanceList,
    GetAgentInstancesByAgentRequest,
    ListAgentInstancesRequest,
)
from stigmer.handlers import standard
from stigmer.handlers.base import Handler
from stigmer.pipeline.kind import Kind, Reference
from stigmer.pipeline.pipeline import Steps
from stigmer.steps.list_filters import Is
from stigmer.steps.list_resources import List
from stigmer.steps.validate_proto import ValidateProto

HANDLER = Handler(
    kind=Kind(
        AgentInstance,
        reached_by=("spec.agent_id",),
        fixed=("spec.agent_id",),
        refers_to=(Reference("Agent", "spec.agent_id"), Reference("Environment", "spec.environment_refs")),
    ),
    rpcs={
        "create": standard.CREATE,
        "update": standard.UPDATE,
        "apply": standard.APPLY,
        "delete": standard.DELETE,
        "get": standard.GET,
        "getByReference": standard.GET_BY_REFERENCE,
        "list": standard.lists(ListAgentInstancesRequest, AgentInstanceList),
        "getByAgent": Steps(
            GetAgentInstancesByAgentRequest, ValidateProto(), List(AgentInstanceList, Is("agent_id", "spec.agent_id"))
        ),
    },
)
