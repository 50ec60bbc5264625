"""CreateSessionIfNeeded: an execution without a session gets one of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stigmer._gen.ai.stigmer.agentic.session.v1 import Session, SessionSpec
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadata, ApiResourceOwnerScope
from stigmer.errors import NotFound
from stigmer.pipeline.kind import required
from stigmer.steps import other_kinds
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.agentic.agent.v1 import Agent
    from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecution
    from stigmer.pipeline.context import AnyContext, Context

SUBJECT = "Auto-created session"
IN_PROCESS, NETWORK, DIRECT = "via in-process gRPC", "via gRPC", "(direct store access)"

log = get_logger("stigmer.steps.create_session_if_needed")


@dataclass(slots=True)
class Milliseconds:
    """Unix milliseconds, each reading greater than the one before: names made of them do not collide."""

    last: int = 0

    def __call__(self) -> int:
        """The next reading; ahead of the clock by as many as were asked for within one millisecond."""
        self.last = max(self.last + 1, time.time_ns() // 1_000_000)
        return self.last


@dataclass(frozen=True, slots=True)
class CreateSessionIfNeeded:
    """Make a session on the agent's default instance, through the Session downstream client where there is one.

    Reads and writes `new_state`, an execution; does nothing where it names a session. Refuses one that the caller may
    not make.
    """

    clock: Milliseconds = field(default_factory=Milliseconds, compare=False)

    async def __call__(self, ctx: Context[object, AgentExecution]) -> None:
        spec = required(required(ctx.new_state).spec)
        if spec.session_id:
            return
        agent: Agent | None = await other_kinds.find(ctx, "Agent", spec.agent_id)
        if agent is None:
            raise NotFound("Agent", spec.agent_id)
        session = _session(ctx, agent, f"session-{self.clock()}")
        await ctx.refuse_foreign(session)
        way = _way(ctx)
        _announce(way)
        made = await other_kinds.create(ctx, "Session", session)
        spec.session_id = made.metadata.id
        if way != NETWORK:
            ctx.tx.require("Session", spec.session_id)
        ctx.tx.after_commit(
            lambda: log.info(f"Successfully auto-created session {way}", session_id=made.metadata.id)  # noqa: G004 - of three
        )


def _session(ctx: Context[object, AgentExecution], agent: Agent, name: str) -> Session:
    """The session to make: scope and org are the agent's.

    A platform agent's session cannot be platform-scoped: it is of the org that the execution names, of the caller's
    only one, or else the caller's own.
    """
    owner, execution = required(agent.metadata), required(required(ctx.new_state).metadata)
    org, scope = owner.org, owner.owner_scope
    if scope == ApiResourceOwnerScope.platform:
        org = execution.org or ctx.call.principal.only_organization
        scope = ApiResourceOwnerScope.organization if org else ApiResourceOwnerScope.identity_account
    return Session(
        api_version=agent.api_version,
        kind="Session",
        metadata=ApiResourceMetadata(name=name, slug=name, org=org, owner_scope=scope),
        spec=SessionSpec(agent_instance_id=required(agent.status).default_instance_id, subject=SUBJECT),
    )


def _way(ctx: AnyContext) -> str:
    """How the session is made, in the words of the log."""
    client = ctx.runtime.downstream.get("Session")
    if client is None:
        return DIRECT
    return IN_PROCESS if client.in_process else NETWORK


def _announce(way: str) -> None:
    if way == DIRECT:
        log.warning("Session client not available, using direct store access (bypasses interceptors)")
    elif way == IN_PROCESS:
        log.debug("Using in-process gRPC client for session creation")
    else:
        log.debug("Using gRPC client for session creation")
