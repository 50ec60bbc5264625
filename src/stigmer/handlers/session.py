"""Session: a conversation with an instance of an agent; it holds the executions."""

from stigmer._gen.ai.stigmer.agentic.session.v1 import (
    ListSessionsByAgentRequest,
    ListSessionsRequest,
    Session,
    SessionList,
)
from stigmer.handlers import standard
from stigmer.handlers.base import Handler
from stigmer.pipeline.kind import Kind, Reference
from stigmer.pipeline.made_contexts import MADE_CONTEXTS, RUNTIME_ENV_KEYS
from stigmer.pipeline.pipeline import Steps
from stigmer.steps.list_filters import IsOrHasParent
from stigmer.steps.list_resources import List
from stigmer.steps.validate_proto import ValidateProto
from stigmer.store.changes import Dependent

CONTEXTS = Dependent("ExecutionContext", "spec.execution_id", records=(MADE_CONTEXTS,))
EXECUTIONS = Dependent("AgentExecution", "spec.session_id", (CONTEXTS,), (RUNTIME_ENV_KEYS,))

HANDLER = Handler(
    kind=Kind(
        Session,
        reached_by=("spec.agent_instance_id",),
        fixed=("spec.agent_instance_id",),
        refers_to=(Reference("AgentInstance", "spec.agent_instance_id"),),
        dependents=(EXECUTIONS,),
    ),
    rpcs={
        "create": standard.CREATE,
        "update": standard.UPDATE,
        "apply": standard.APPLY,
        "delete": standard.DELETE,
        "get": standard.GET,
        "getByReference": standard.GET_BY_REFERENCE,
        "list": standard.lists(ListSessionsRequest, SessionList),
        "listByAgent": Steps(
            ListSessionsByAgentRequest,
            ValidateProto(),
            List(SessionList, IsOrHasParent("agent_id", "spec.agent_instance_id", "AgentInstance", "spec.agent_id")),
        ),
    },
)
