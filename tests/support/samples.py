"""A valid resource of each kind, with a name of its own; keywords go to its metadata."""

from __future__ import annotations

from itertools import count
from typing import Any

from stigmer._gen.ai.stigmer.agentic.agent import v1 as agents
from stigmer._gen.ai.stigmer.agentic.agentexecution import v1 as executions
from stigmer._gen.ai.stigmer.agentic.agentinstance import v1 as instances
from stigmer._gen.ai.stigmer.agentic.environment import v1 as environments
from stigmer._gen.ai.stigmer.agentic.executioncontext import v1 as contexts
from stigmer._gen.ai.stigmer.agentic.session import v1 as sessions
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadata
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceOwnerScope as Scope

API_VERSION = "agentic.stigmer.ai/v1"
NOBODY = "01arz3ndektsv4rrffq69g5fav"
"""A ULID that no server gives: it is of 2016."""

_numbers = count(1)


def unique(stem: str) -> str:
    """A name that no other sample of this run has; it is its own slug."""
    return f"{stem}-{next(_numbers)}"


def _metadata(stem: str, scope: Scope, given: dict[str, Any]) -> ApiResourceMetadata:
    return ApiResourceMetadata(**{"name": unique(stem), "owner_scope": scope, **given})


def agent(instructions: str = "Answer in one sentence.", **metadata: Any) -> Any:
    return agents.Agent(
        api_version=API_VERSION,
        kind="Agent",
        metadata=_metadata("agent", Scope.organization, metadata),
        spec=agents.AgentSpec(description="Helps", instructions=instructions),
    )


def agent_instance(agent_id: str = f"agt-{NOBODY}", **metadata: Any) -> Any:
    return instances.AgentInstance(
        api_version=API_VERSION,
        kind="AgentInstance",
        metadata=_metadata("instance", Scope.organization, metadata),
        spec=instances.AgentInstanceSpec(agent_id=agent_id, description="For production"),
    )


def session(agent_instance_id: str = f"ain-{NOBODY}", **metadata: Any) -> Any:
    return sessions.Session(
        api_version=API_VERSION,
        kind="Session",
        metadata=_metadata("session", Scope.organization, metadata),
        spec=sessions.SessionSpec(agent_instance_id=agent_instance_id, subject="The weather"),
    )


def agent_execution(session_id: str = "", agent_id: str = "", **metadata: Any) -> Any:
    return executions.AgentExecution(
        api_version=API_VERSION,
        kind="AgentExecution",
        metadata=_metadata("execution", Scope.api_resource_owner_scope_unspecified, metadata),
        spec=executions.AgentExecutionSpec(session_id=session_id, agent_id=agent_id, message="Will it rain?"),
    )


def environment(**metadata: Any) -> Any:
    value = environments.EnvironmentValue(value="Europe/Berlin", description="Where")
    return environments.Environment(
        api_version=API_VERSION,
        kind="Environment",
        metadata=_metadata("environment", Scope.organization, metadata),
        spec=environments.EnvironmentSpec(description="Production", data={"TZ": value}),
    )


def execution_context(execution_id: str = f"aex-{NOBODY}", **metadata: Any) -> Any:
    return contexts.ExecutionContext(
        api_version=API_VERSION,
        kind="ExecutionContext",
        metadata=_metadata("context", Scope.api_resource_owner_scope_unspecified, metadata),
        spec=contexts.ExecutionContextSpec(
            execution_id=execution_id, data={"TZ": contexts.ExecutionValue(value="Europe/Berlin")}
        ),
    )
