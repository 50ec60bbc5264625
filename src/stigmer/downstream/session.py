"""The Session downstream client: how executions get their sessions, with every interceptor run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stigmer._gen.ai.stigmer.agentic.session.v1 import (
    Session,
    SessionCommandControllerStub,
    SessionId,
    SessionQueryControllerStub,
)
from stigmer.call import CURRENT
from stigmer.downstream import calling
from stigmer.logs import get_logger

if TYPE_CHECKING:
    from stigmer.call import Call

log = get_logger("stigmer.downstream.session")


class SessionClient:
    """Sessions, over a channel that generated stubs accept."""

    def __init__(self, channel: Any) -> None:  # noqa: ANN401 - grpclib's Channel, or the loopback's
        self._commands = SessionCommandControllerStub(channel)
        self._queries = SessionQueryControllerStub(channel)
        self.in_process = calling.is_in_process(channel)

    async def get(self, id_: str) -> Session | None:
        """The session, or None where the id names nothing; raises a StigmerError as the call fails."""
        session: Session | None = await calling.found(self._queries.get, SessionId(value=id_))
        return session

    async def create(self, session: Session) -> Session:
        """Make a session; raises a StigmerError as the call fails."""
        log.debug("Creating session via in-process gRPC" if self.in_process else "Creating session via gRPC")
        with calling.relaying():
            created = await self._commands.create(session, **calling.inherited())
        _once_it_stands(CURRENT.get(), created.metadata.id if created.metadata is not None else "")
        return created

    async def delete(self, id_: str) -> None:
        """Delete a session; it may be gone already."""
        await calling.found(self._commands.delete, SessionId(value=id_))


def _once_it_stands(call: Call | None, session_id: str) -> None:
    """Log the success when it is one: in process, once the caller's transaction is committed."""

    def report() -> None:
        log.info("Successfully created session", session_id=session_id)

    if call is not None and call.transaction is not None and not call.transaction.sealed:
        call.transaction.after_commit(report)
    else:
        report()
