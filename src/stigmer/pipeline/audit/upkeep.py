"""What is done with the audit beside calls: each minute it is counted out and signed, and what is too old is cut off.

A plane does both as jobs, and signs once more when it ends.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from contextlib import suppress
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from stigmer.access.threads import on_thread
from stigmer.errors import StartupError
from stigmer.pipeline.audit.reading import pages
from stigmer.secrets.audit import LOG, Event, Op
from stigmer.secrets.checkpoints import Checkpoint
from stigmer.store.changes import Append, Changes, Trim
from stigmer.store.errors import ConflictError, DamagedError
from stigmer.store.rows import ABSENT
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.pipeline.audit.trail import Trail
    from stigmer.store.rows import Key, LogEntry

SIGN_S = 60.0
"""How often what happened since is signed."""
CUT_S = 6 * 3600.0
"""How often it is looked for what is too old."""
PIECE = 500
"""So many entries are cut off in one transaction."""
TAIL_BYTES = 8192
"""How much of the end of the file is looked at for the last checkpoint."""
DAY_MS = 24 * 3600 * 1000

HEAD: Key = ("audit", "checkpoint")
"""The record of the last checkpoint; each follows the one before, whichever replica signs it."""

log = get_logger("stigmer.pipeline.audit")


class Upkeep:
    """Signs and cuts the audit of one plane.

    Args:
        trail: has the keys and the counts, and the store.
        file: where checkpoints are exported to; None for nowhere.
        days: how long entries are kept.
    """

    def __init__(self, trail: Trail, file: Path | None, days: int) -> None:
        self._store, self._trail, self._file, self._days = trail.store, trail, file, days
        self._alone = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Upkeep of {self._trail!r}, {self._days} days>"

    async def open(self) -> None:
        """See that checkpoints can be exported, and tell of a log that lacks the last one. Raises StartupError."""
        if self._file is None:
            return
        await on_thread(partial(_append, self._file, b""))
        last = await on_thread(partial(_last_exported, self._file))
        if last is not None and not await self._has(last):
            log.error(
                "The audit is not the one that was exported: was a backup restored? Run `stigmer audit verify`",
                file=str(self._file),
                entry=last.number,
            )

    async def sign(self) -> None:
        """Write what was counted, and a checkpoint of what has come since the last one, if anything has."""
        async with self._alone:
            await self._trail.counts.write()
            await self._sign_last()

    async def cut(self) -> None:
        """Cut off the entries that are older than `days`, in small transactions, once a signed cut says so."""
        async with self._alone:
            before_ms = time.time_ns() // 1_000_000 - self._days * DAY_MS
            last = await self._last_before(before_ms)
            if last is not None:
                await self._sign_last()
                await self._sign(Op.CUT, last)
                await self._trim(last.number)
                log.info("Old entries of the audit are cut off", through=last.number, days=self._days)

    async def _has(self, one: Checkpoint) -> bool:
        try:
            found = await self._store.log(LOG, one.number - 1, 1)
        except DamagedError:
            return False
        return any((entry.number, entry.link) == (one.number, one.link) for entry in found)

    async def _sign_last(self) -> None:
        last = await self._store.last_entry(LOG)
        if last is not None and not _is_checkpoint(last):
            await self._sign(Op.CHECKPOINT, last)

    async def _sign(self, op: Op, entry: LogEntry) -> None:
        signer = (await self._trail.keys.get()).signer
        one = signer.sign(op, entry.number, entry.link)
        head = await self._store.record(*HEAD)
        expects = {HEAD: head.revision if head is not None else ABSENT}
        try:
            appends = [Append(LOG, one.encoded())]
            await self._store.commit(Changes(expects, records={HEAD: one.encoded()}, appends=appends))
        except ConflictError:  # another replica has signed just now
            return
        await self._export(one)

    async def _export(self, one: Checkpoint) -> None:
        if self._file is None:
            return
        try:
            await on_thread(partial(_append, self._file, one.encoded() + b"\n"))
        except StartupError as error:  # the log has it; the next one covers all that it does
            log.error("A checkpoint of the audit could not be exported", error=str(error), entry=one.number)  # noqa: TRY400 - it says it all

    async def _last_before(self, before_ms: int) -> LogEntry | None:
        """The last of the first entries that are all older; one at least stays."""
        found: LogEntry | None = None
        newest = await self._store.last_entry(LOG)
        async for page in pages(self._store):
            old = [*takewhile(lambda entry: _at_ms(entry) < before_ms and entry != newest, page)]
            found = old[-1] if old else found
            if len(old) < len(page):
                break
        return found

    async def _trim(self, through: int) -> None:
        (first, *_) = await self._store.log(LOG, limit=1)
        for number in range(first.number + PIECE - 1, through + PIECE, PIECE):
            await self._store.commit(Changes(trims=[Trim(LOG, min(number, through))]))


def _append(path: Path, data: bytes) -> None:
    """Add to a file that only its user can read, and have it on the disk. Raises StartupError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StartupError(
            f"{path}: checkpoints of the audit cannot be written there ({error.strerror}); make its directory, or see"
            " that the server's user may write to it"
        ) from None


def _last_exported(path: Path) -> Checkpoint | None:
    """The last checkpoint in the file that is no cut, as far as its end shows; None where it may not be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        with suppress(ValueError):
            if (one := Checkpoint.of(line)).op is Op.CHECKPOINT:
                return one
    return None


def _at_ms(entry: LogEntry) -> int:
    """When an entry was written; one that is no record counts as new, so that nobody cuts it off unseen."""
    try:
        return Event.of(entry.value).at_ms
    except ValueError:
        return time.time_ns() // 1_000_000


def _is_checkpoint(entry: LogEntry) -> bool:
    try:
        return Event.of(entry.value).op is Op.CHECKPOINT
    except ValueError:
        return False
