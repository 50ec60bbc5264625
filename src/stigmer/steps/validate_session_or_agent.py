"""ValidateSessionOrAgent: what an execution runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import InvalidArgument, NotFound, Violation
from stigmer.pipeline.kind import required
from stigmer.steps import other_kinds
from stigmer.steps.validate_proto import refuse
from stigmer.wire.lazy import shallow_copy

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecution, AgentExecutionSpec
    from stigmer.pipeline.context import AnyContext, Context


@dataclass(frozen=True, slots=True)
class ValidateSessionOrAgent:
    """Require a session or an agent; of a session, fill in its agent.

    Reads and writes the request's spec. Refuses neither, what names nothing, and another agent than the session's.
    """

    def violations(self, ctx: Context[AgentExecution, AgentExecution]) -> list[Violation]:
        """Neither of the two."""
        spec = ctx.request.spec
        if spec is None or spec.session_id or spec.agent_id:
            return []
        return [Violation("spec.session_id", "is required where spec.agent_id is empty")]

    async def __call__(self, ctx: Context[AgentExecution, AgentExecution]) -> None:
        refuse(self.violations(ctx))
        ctx.request.spec = spec = shallow_copy(required(ctx.request.spec))
        if spec.session_id:
            await _of_session(ctx, spec)
        elif await other_kinds.find(ctx, "Agent", spec.agent_id) is None:
            raise NotFound("Agent", spec.agent_id)


async def _of_session(ctx: AnyContext, spec: AgentExecutionSpec) -> None:
    session = await other_kinds.find(ctx, "Session", spec.session_id)
    if session is None:
        raise NotFound("Session", spec.session_id)
    agent_id = await _agent_of(ctx, session.spec.agent_instance_id)
    if spec.agent_id and agent_id and spec.agent_id != agent_id:
        raise InvalidArgument.of(
            "spec.agent_id", f"is {spec.agent_id}, but session {spec.session_id} is of {agent_id}: leave it out"
        )
    spec.agent_id = agent_id or spec.agent_id


async def _agent_of(ctx: AnyContext, instance_id: str) -> str:
    """The agent of a session's instance; empty where the instance is gone: references are not checked on write."""
    instance = await other_kinds.find(ctx, "AgentInstance", instance_id)
    return instance.spec.agent_id if instance is not None else ""
