"""TailAudit and ExportAudit: the audit's entries as they stand in the log, in messages that every client takes."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer._gen.ai.stigmer.admin.v1 import AuditEntry, AuditPage
from stigmer.pipeline.audit import keys, reading

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator

    from stigmer._gen.ai.stigmer.admin.v1 import ExportAuditRequest, TailAuditRequest
    from stigmer.pipeline.context import AnyContext, Context, Reply
    from stigmer.pipeline.kind import Resource
    from stigmer.store.rows import LogEntry

MESSAGE_BYTES = 2**20
"""So much of entries is in one message, where one entry alone is not longer."""
TAIL = 20
"""So many are shown of the last ones, where nobody says how many."""


@dataclass(frozen=True, slots=True)
class TailAudit:
    """Show the last entries. Reads the request."""

    async def stream(self, ctx: Context[TailAuditRequest, Resource]) -> AsyncGenerator[Reply, None]:
        """The entries, some at a time."""
        key = await _signing_key(ctx)
        found = await reading.tail(ctx.runtime.store, ctx.request.entries or TAIL)
        for entries in _short(found):
            yield _page(entries, key)


@dataclass(frozen=True, slots=True)
class ExportAudit:
    """Give all entries after one, as fast as the caller reads them. Reads the request."""

    async def stream(self, ctx: Context[ExportAuditRequest, Resource]) -> AsyncGenerator[Reply, None]:
        """The entries, some at a time; without any, the signing key alone."""
        key = await _signing_key(ctx)
        yield _page((), key)
        async with aclosing(reading.pages(ctx.runtime.store, ctx.request.after)) as pages:
            async for page in pages:
                for entries in _short(page):
                    yield _page(entries, key)


async def _signing_key(ctx: AnyContext) -> bytes:
    """The public key of the checkpoints; empty where nothing was audited yet."""
    opened = await keys.opened(ctx.runtime.store, ctx.runtime.sealing.sealer)
    return opened.signer.key if opened is not None else b""


def _short(entries: Iterable[LogEntry]) -> Iterator[list[LogEntry]]:
    """The entries in parts of MESSAGE_BYTES."""
    part: list[LogEntry] = []
    size = 0
    for entry in entries:
        if part and size + len(entry.value) > MESSAGE_BYTES:
            yield part
            part, size = [], 0
        part.append(entry)
        size += len(entry.value)
    if part:
        yield part


def _page(entries: Iterable[LogEntry], key: bytes) -> AuditPage:
    told = [AuditEntry(number=one.number, record=one.value, link=one.link) for one in entries]
    return AuditPage(entries=told, signing_key=key)
