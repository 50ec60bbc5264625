"""AgentExecution: one run of an agent within a session, from PENDING to its end."""

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecution,
    AgentExecutionId,
    AgentExecutionList,
    AgentExecutionUpdateStatusInput,
    ListAgentExecutionsBySessionRequest,
    ListAgentExecutionsRequest,
)
from stigmer.handlers import standard
from stigmer.handlers.base import Handler
from stigmer.pipeline.kind import Ending, Kind, Reference
from stigmer.pipeline.made_contexts import MADE_CONTEXTS, RUNTIME_ENV_KEYS
from stigmer.pipeline.pipeline import Steps
from stigmer.steps.build_new_state import BuildNewState
from stigmer.steps.build_new_state_with_status import TERMINAL, BuildNewStateWithStatus
from stigmer.steps.create_default_instance import CreateDefaultInstanceIfNeeded
from stigmer.steps.create_execution_context import CreateExecutionContext
from stigmer.steps.create_session_if_needed import CreateSessionIfNeeded
from stigmer.steps.delete_execution_contexts import DeleteExecutionContexts
from stigmer.steps.list_filters import Is
from stigmer.steps.list_resources import List
from stigmer.steps.load_existing import LoadExisting
from stigmer.steps.load_target import LoadTarget
from stigmer.steps.persist import Persist
from stigmer.steps.resolve_slug import ResolveSlug
from stigmer.steps.set_initial_phase import SetInitialPhase
from stigmer.steps.stream_updates import StreamUpdates
from stigmer.steps.validate_proto import ValidateProto
from stigmer.steps.validate_session_or_agent import ValidateSessionOrAgent
from stigmer.store.changes import Dependent

HANDLER = Handler(
    kind=Kind(
        AgentExecution,
        reached_by=("spec.session_id", "status.phase"),
        fixed=("spec.session_id", "spec.agent_id"),
        slug_unique=False,
        belongs_to=Reference("Session", "spec.session_id"),
        refers_to=(Reference("Agent", "spec.agent_id"), Reference("Session", "spec.session_id")),
        dependents=(Dependent("ExecutionContext", "spec.execution_id", records=(MADE_CONTEXTS,)),),
        not_kept=("spec.runtime_env",),
        records=(RUNTIME_ENV_KEYS,),
        ending=Ending("status.phase", {phase: phase.name for phase in TERMINAL}),
    ),
    rpcs={
        "create": Steps(
            AgentExecution,
            ValidateProto(),
            ResolveSlug(),
            ValidateSessionOrAgent(),
            BuildNewState(),
            CreateDefaultInstanceIfNeeded(),
            CreateSessionIfNeeded(),
            CreateExecutionContext(),
            SetInitialPhase(),
            Persist(),
        ),
        "update": standard.UPDATE,
        "updateStatus": Steps(
            AgentExecutionUpdateStatusInput,
            ValidateProto(reports_on="execution_id"),
            LoadExisting(id_field="execution_id"),
            BuildNewStateWithStatus(),
            Persist(reports=True),
            DeleteExecutionContexts(),
        ),
        "delete": standard.DELETE,
        "get": standard.GET,
        "list": standard.lists(ListAgentExecutionsRequest, AgentExecutionList, Is("phase", "status.phase")),
        "listBySession": Steps(
            ListAgentExecutionsBySessionRequest,
            ValidateProto(),
            List(AgentExecutionList, Is("session_id", "spec.session_id")),
        ),
        "subscribe": Steps(AgentExecutionId, ValidateProto(), LoadTarget(), last=StreamUpdates()),
    },
)
