"""CreateSessionIfNeeded: an execution without a session gets one of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stigmer._gen.ai.stigmer.agentic.session.v1 import Session, SessionSpec
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadata, ApiResourceOwnerScope
from stigmer.errors import NotFound
from stigmer.kinds import present
from stigmer.logs import get_logger
from stigmer.steps import neighbours

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.agentic.agent.v1 import Agent
    from stigmer.pipeline import Context

SUBJECT = "Auto-created session"

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

    Reads and writes `new_state`, an execution; does nothing where it names a session.
    """

    clock: Milliseconds = field(default_factory=Milliseconds, compare=False)

    async def __call__(self, ctx: Context) -> None:
        spec = present(ctx.new_state).spec
        if spec.session_id:
            return
        agent: Agent | None = await neighbours.find(ctx, "Agent", spec.agent_id)
        if agent is None:
            raise NotFound("Agent", spec.agent_id)
        session = _session(ctx, agent, f"session-{self.clock()}")
        in_process = ctx.runtime.downstream.of("Session") is not None
        _announce(in_process=in_process)
        made = await neighbours.create(ctx, "Session", session)
        spec.session_id = made.metadata.id
        if _is_local(ctx):
            ctx.tx.require("Session", spec.session_id)
        ctx.tx.after_commit(lambda: _report(made.metadata.id, in_process=in_process))


def _session(ctx: Context, agent: Agent, name: str) -> Session:
    """The session to make: scope and org are the agent's; a platform agent's session cannot be platform-scoped."""
    owner, execution = present(agent.metadata), present(present(ctx.new_state).metadata)
    org, scope = owner.org, owner.owner_scope
    if scope == ApiResourceOwnerScope.platform:
        org = execution.org
        scope = ApiResourceOwnerScope.organization if org else ApiResourceOwnerScope.identity_account
    return Session(
        api_version=agent.api_version,
        kind="Session",
        metadata=ApiResourceMetadata(name=name, slug=name, org=org, owner_scope=scope),
        spec=SessionSpec(agent_instance_id=present(agent.status).default_instance_id, subject=SUBJECT),
    )


def _is_local(ctx: Context) -> bool:
    client = ctx.runtime.downstream.of("Session")
    return client is None or client.in_process


def _announce(*, in_process: bool) -> None:
    if in_process:
        log.debug("Using in-process gRPC client for session creation")
    else:
        log.warning("Session client not available, using direct store access (bypasses interceptors)")


def _report(session_id: str, *, in_process: bool) -> None:
    if in_process:
        log.info("Successfully auto-created session via in-process gRPC", session_id=session_id)
    else:
        log.info("Successfully auto-created session (direct store access)", session_id=session_id)
