"""What the conformance suite knows of each kind: written out, not read from src."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import conformance_broken as ways
import samples
from conformance_broken import Broken, put

from stigmer._gen.ai.stigmer.agentic.agent import v1 as agents
from stigmer._gen.ai.stigmer.agentic.agentexecution import v1 as executions
from stigmer._gen.ai.stigmer.agentic.agentinstance import v1 as instances
from stigmer._gen.ai.stigmer.agentic.environment import v1 as environments
from stigmer._gen.ai.stigmer.agentic.executioncontext import v1 as contexts
from stigmer._gen.ai.stigmer.agentic.session import v1 as sessions
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceDeleteInput, ApiResourceId
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceOwnerScope as Scope
from stigmer._gen.ai.stigmer.commons.apiresource.apiresourcekind import ApiResourceKind

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_SCOPE = (Scope.api_resource_owner_scope_unspecified, Scope.platform, Scope.organization, Scope.identity_account)
_CRUD = frozenset({"create", "update", "apply", "delete", "get", "get_by_reference", "list"})


@dataclass(frozen=True)
class KindFacts:
    """What the tests know of a kind.

    Attributes:
        commands, queries: the generated stubs of the two services.
        id_request: the request of get; `delete_request` of delete.
        make: a valid resource with a name of its own; keywords go to its metadata.
        scopes: the owner scopes that may be set.
        rpcs: all of them, as the generated stubs name them.
        change: makes another valid spec of a valid resource.
        fixed: the spec fields that keep their value after create.
        own_broken: ways to break it, beside those that all kinds share.
    """

    name: str
    number: ApiResourceKind
    prefix: str
    commands: type[Any]
    queries: type[Any]
    id_request: type[Any]
    delete_request: type[Any]
    make: Callable[..., Any]
    scopes: tuple[Scope, ...]
    rpcs: frozenset[str]
    change: Callable[[Any], None]
    fixed: tuple[str, ...] = ()
    slug_unique: bool = True
    namespaced: bool = True
    own_broken: tuple[Broken, ...] = ()

    def __repr__(self) -> str:
        return self.name

    @property
    def broken(self) -> tuple[Broken, ...]:
        forbidden = [ways.forbidden(scope) for scope in EVERY_SCOPE if scope not in self.scopes]
        return (*ways.SHARED, *forbidden, *self.own_broken)

    @property
    def other_scope(self) -> Scope:
        """A scope that a sample does not have, where there is another one."""
        return next((scope for scope in self.scopes if scope not in (0, Scope.organization)), self.scopes[0])


AGENT = KindFacts(
    name="Agent",
    number=ApiResourceKind.agent,
    prefix="agt",
    commands=agents.AgentCommandControllerStub,
    queries=agents.AgentQueryControllerStub,
    id_request=agents.AgentId,
    delete_request=agents.AgentId,
    make=samples.agent,
    scopes=(Scope.platform, Scope.organization),
    rpcs=_CRUD,
    change=put("spec.instructions", "Answer in two sentences."),
    own_broken=ways.OF_AGENT,
)
AGENT_INSTANCE = KindFacts(
    name="AgentInstance",
    number=ApiResourceKind.agent_instance,
    prefix="ain",
    commands=instances.AgentInstanceCommandControllerStub,
    queries=instances.AgentInstanceQueryControllerStub,
    id_request=instances.AgentInstanceId,
    delete_request=instances.AgentInstanceId,
    make=samples.agent_instance,
    scopes=EVERY_SCOPE,
    rpcs=_CRUD | {"get_by_agent"},
    change=put("spec.description", "For tests"),
    fixed=("agent_id",),
    own_broken=ways.OF_AGENT_INSTANCE,
)
SESSION = KindFacts(
    name="Session",
    number=ApiResourceKind.session,
    prefix="ses",
    commands=sessions.SessionCommandControllerStub,
    queries=sessions.SessionQueryControllerStub,
    id_request=sessions.SessionId,
    delete_request=sessions.SessionId,
    make=samples.session,
    scopes=(Scope.organization, Scope.identity_account),
    rpcs=_CRUD | {"list_by_agent"},
    change=put("spec.subject", "The sea"),
    fixed=("agent_instance_id",),
)
AGENT_EXECUTION = KindFacts(
    name="AgentExecution",
    number=ApiResourceKind.agent_execution,
    prefix="aex",
    commands=executions.AgentExecutionCommandControllerStub,
    queries=executions.AgentExecutionQueryControllerStub,
    id_request=executions.AgentExecutionId,
    delete_request=ApiResourceId,
    make=samples.agent_execution,
    scopes=(Scope.api_resource_owner_scope_unspecified,),
    rpcs=frozenset({"create", "update", "update_status", "delete", "get", "list", "list_by_session", "subscribe"}),
    change=put("spec.message", "Will it snow?"),
    fixed=("session_id", "agent_id"),
    slug_unique=False,
    own_broken=ways.OF_AGENT_EXECUTION,
)
ENVIRONMENT = KindFacts(
    name="Environment",
    number=ApiResourceKind.environment,
    prefix="env",
    commands=environments.EnvironmentCommandControllerStub,
    queries=environments.EnvironmentQueryControllerStub,
    id_request=ApiResourceId,
    delete_request=ApiResourceDeleteInput,
    make=samples.environment,
    scopes=(Scope.organization, Scope.identity_account),
    rpcs=_CRUD,
    change=put("spec.description", "Staging"),
)
EXECUTION_CONTEXT = KindFacts(
    name="ExecutionContext",
    number=ApiResourceKind.execution_context,
    prefix="exec",
    commands=contexts.ExecutionContextCommandControllerStub,
    queries=contexts.ExecutionContextQueryControllerStub,
    id_request=contexts.ExecutionContextId,
    delete_request=ApiResourceDeleteInput,
    make=samples.execution_context,
    scopes=(Scope.api_resource_owner_scope_unspecified,),
    rpcs=_CRUD - {"update"} | {"get_by_execution_id", "rotate"},
    change=put("spec.data", {"TZ": contexts.ExecutionValue(value="Asia/Kolkata")}),
    namespaced=False,
    own_broken=ways.OF_EXECUTION_CONTEXT,
)
KINDS = (AGENT, AGENT_INSTANCE, SESSION, AGENT_EXECUTION, ENVIRONMENT, EXECUTION_CONTEXT)
