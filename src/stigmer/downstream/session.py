"""The Session downstream client: how executions get their sessions, with every interceptor run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stigmer._gen.ai.stigmer.agentic.session.v1 import (
    Session,
    SessionCommandControllerStub,
    SessionId,
    SessionQueryControllerStub,
)
from stigmer.downstream.client import ResourceClient
from stigmer.pipeline.call import CURRENT
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from stigmer.pipeline.call import Call

log = get_logger("stigmer.downstream.session")


class SessionClient(ResourceClient[Session]):
    """Sessions, over a channel that generated stubs accept."""

    commands, queries, id_message = SessionCommandControllerStub, SessionQueryControllerStub, SessionId

    async def create(self, session: Session, /) -> Session:
        """Make a session; raises a StigmerError as the call fails."""
        log.debug("Creating session via in-process gRPC" if self.in_process else "Creating session via gRPC")
        created = await super().create(session)
        _once_it_stands(CURRENT.get(), created.metadata.id if created.metadata is not None else "")
        return created


def _once_it_stands(call: Call | None, session_id: str) -> None:
    """Log the success when it is one: in process, once the caller's transaction is committed."""

    def report() -> None:
        log.info("Successfully created session", session_id=session_id)

    if call is not None and call.transaction is not None and not call.transaction.sealed:
        call.transaction.after_commit(report)
    else:
        report()
