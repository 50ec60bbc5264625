"""Agent: a reusable definition of who does the work."""

from stigmer._gen.ai.stigmer.agentic.agent.v1 import Agent, AgentId, AgentList, ListAgentsRequest
from stigmer.handlers import standard
from stigmer.handlers.base import Handler
from stigmer.pipeline.kind import Kind
from stigmer.pipeline.pipeline import Steps
from stigmer.steps.build_new_state import BuildNewState
from stigmer.steps.check_duplicate import CheckDuplicate
from stigmer.steps.create_default_instance import CreateDefaultInstance
from stigmer.steps.delete import DeleteResource, ExtractResourceId, LoadExistingForDelete
from stigmer.steps.persist import Persist
from stigmer.steps.resolve_slug import ResolveSlug
from stigmer.steps.validate_proto import ValidateProto

HANDLER = Handler(
    kind=Kind(Agent),
    rpcs={
        "create": Steps(
            Agent,
            ValidateProto(),
            ResolveSlug(),
            CheckDuplicate(),
            BuildNewState(),
            CreateDefaultInstance(),
            Persist(),
        ),
        "update": standard.UPDATE,
        "apply": standard.APPLY,
        "delete": Steps(
            AgentId,
            ValidateProto(),
            ExtractResourceId(),
            LoadExistingForDelete(),
            DeleteResource(also_kind="AgentInstance", also_status_id="default_instance_id"),
        ),
        "get": standard.GET,
        "getByReference": standard.GET_BY_REFERENCE,
        "list": standard.lists(ListAgentsRequest, AgentList),
    },
)
