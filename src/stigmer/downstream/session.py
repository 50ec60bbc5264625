"""What the Session client adds to those of other kinds: its log lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stigmer.downstream.client import ResourceClient
from stigmer.pipeline.call import CURRENT
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from grpclib.client import Channel

    from stigmer.types import Session

log = get_logger("stigmer.downstream.session")


class SessionClient(ResourceClient["Session"]):
    """How executions get their sessions, with every interceptor run."""

    def __init__(self, channel: Channel) -> None:
        super().__init__("Session", channel)

    async def create(self, resource: Session, /) -> Session:
        """Make a session; raises a StigmerError as the call fails.

        Its success is logged when it is one: in process, once the caller's transaction is committed.
        """
        log.debug("Creating session via in-process gRPC" if self.in_process else "Creating session via gRPC")
        created = await super().create(resource)
        id_, call = created.metadata.id if created.metadata is not None else "", CURRENT.get()

        def report() -> None:
            log.info("Successfully created session", session_id=id_)

        if call is not None and call.transaction is not None and not call.ended:
            call.transaction.after_commit(report)
        else:
            report()
        return created
