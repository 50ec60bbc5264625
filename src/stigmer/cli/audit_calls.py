"""The audit of a running server, by calls: its entries as `pipeline.audit` reads and verifies them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpclib.exceptions import GRPCError

from stigmer.errors import DataLoss
from stigmer.pipeline.audit.verifying import Broken, Verified, verify
from stigmer.rpc import AdminControllerStub, error_of
from stigmer.secrets.audit import LOG
from stigmer.store.rows import LogEntry
from stigmer.types import ExportAuditRequest, TailAuditRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from grpclib.client import Channel

    from stigmer.secrets.checkpoints import Checkpoint
    from stigmer.types import AuditPage


class Exported:
    """What a server exports, a page after another, with the methods of `reading.Entries`.

    Args:
        channel: to the server.

    Attributes:
        key: the public key of the checkpoints, as far as it was told.
    """

    def __init__(self, channel: Channel) -> None:
        self._admin = AdminControllerStub(channel)
        self._pages: AsyncIterator[AuditPage] | None = None
        self.key = b""

    async def begin(self, after: int) -> None:
        """Have the server begin behind that entry, and tell its key."""
        self._pages = self._admin.export_audit(ExportAuditRequest(after=after))
        self.key = (await anext(self._pages)).signing_key

    async def log(self, name: str, after: int = 0, limit: int = 0) -> Sequence[LogEntry]:  # noqa: ARG002 - as the server sends them
        """The next entries; none at the end."""
        if self._pages is None:
            await self.begin(after)
        found = await anext(self._pages, None) if self._pages is not None else None
        return _entries(found) if found is not None else []

    async def last_entry(self, name: str) -> LogEntry | None:  # noqa: ARG002 - there is but one log
        """The newest entry."""
        found = [one async for page in self._admin.tail_audit(TailAuditRequest(entries=1)) for one in _entries(page)]
        return found[-1] if found else None


async def tail_of(channel: Channel, count: int) -> list[LogEntry]:
    """The last entries, the oldest first."""
    pages = AdminControllerStub(channel).tail_audit(TailAuditRequest(entries=count))
    return [one async for page in pages for one in _entries(page)]


async def verified(channel: Channel, exported: Iterable[Checkpoint], since: Checkpoint | None) -> Verified:
    """See whether what the server gives is whole. Raises Broken."""
    source = Exported(channel)
    try:
        await source.begin(since.number - 1 if since is not None else 0)
        return await verify(source, exported=exported, since=since, key=source.key)
    except GRPCError as error:
        failure = error_of(error)
        if isinstance(failure, DataLoss) and failure.name.isdigit():
            raise Broken(int(failure.name), "the server finds it damaged in its database") from None
        raise


def _entries(page: AuditPage) -> list[LogEntry]:
    return [LogEntry(LOG, one.number, one.record, one.link) for one in page.entries]
