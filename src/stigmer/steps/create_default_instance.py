"""CreateDefaultInstance and CreateDefaultInstanceIfNeeded: every agent can run at once, with no configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer._gen.ai.stigmer.agentic.agentinstance.v1 import AgentInstance, AgentInstanceSpec
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadata
from stigmer.pipeline.kind import required
from stigmer.steps import other_kinds
from stigmer.telemetry.logs import get_logger
from stigmer.wire.lazy import shallow_copy

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.agentic.agent.v1 import Agent
    from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecution
    from stigmer.pipeline.context import AnyContext, Context

DESCRIPTION = "Default instance (auto-created, no custom configuration)"

log = get_logger("stigmer.steps.create_default_instance")


@dataclass(frozen=True, slots=True)
class CreateDefaultInstance:
    """Make the new agent's default instance downstream, and note its id in the agent's status.

    Reads and writes `new_state`.
    """

    async def __call__(self, ctx: Context[object, Agent]) -> None:
        agent = required(ctx.new_state)
        agent.status = shallow_copy(required(agent.status))
        agent.status.default_instance_id = await _create(ctx, agent)


@dataclass(frozen=True, slots=True)
class CreateDefaultInstanceIfNeeded:
    """Give the execution's agent a default instance where it has none, or its id names none of it any more.

    Reads `new_state`, an execution; stages the agent's status through the store. Does nothing where the execution names
    a session.
    """

    async def __call__(self, ctx: Context[object, AgentExecution]) -> None:
        spec = required(required(ctx.new_state).spec)
        if spec.session_id:
            return
        row = await ctx.find("Agent", spec.agent_id)
        if row is None:
            log.debug("The agent is kept elsewhere, with its default instance", agent_id=spec.agent_id)
            return
        agent: Agent = await ctx.load(row)
        status = required(agent.status)
        if await _is_default(ctx, status.default_instance_id, spec.agent_id):
            return
        agent.status = shallow_copy(status)
        agent.status.default_instance_id = await _create(ctx, agent)
        await ctx.save(agent, over=row, by_server=True)


async def _is_default(ctx: AnyContext, id_: str, agent_id: str) -> bool:
    """Whether the agent's default instance is there; somebody else may have taken its id for one of another agent."""
    instance: AgentInstance | None = await other_kinds.find(ctx, "AgentInstance", id_) if id_ else None
    return instance is not None and required(instance.spec).agent_id == agent_id


async def _create(ctx: AnyContext, agent: Agent) -> str:
    """Make the instance; gives its id."""
    owner = required(agent.metadata)
    metadata = ApiResourceMetadata(
        name=f"{owner.name}-default",
        slug=f"{owner.slug}-default",
        org=owner.org,
        owner_scope=owner.owner_scope,
    )
    instance = AgentInstance(
        api_version=agent.api_version,
        kind="AgentInstance",
        metadata=metadata,
        spec=AgentInstanceSpec(agent_id=owner.id, description=DESCRIPTION),
    )
    ctx.tx.require("Agent", owner.id)
    made = await other_kinds.create(ctx, "AgentInstance", instance)
    id_: str = made.metadata.id
    ctx.tx.after_commit(lambda: log.info("Successfully created default instance", agent_id=owner.id, instance_id=id_))
    return id_
