"""All secrets of a database brought under the active key, some at a time; and under which keys they are.

`key_rotation` alone uses it. A record that is damaged holds up no other, and keeps its key.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from stigmer.errors import DataLoss
from stigmer.pipeline.audit import keys as audit
from stigmer.secrets.sealing import key_id_of
from stigmer.store.changes import Changes
from stigmer.store.errors import ConflictError, DamagedError
from stigmer.store.rows import SEALED, Key, Record
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from stigmer.pipeline.sealing_keys import SealingKeys
    from stigmer.store.contract import Store

PIECE = 50
"""So many records are read at once, and rewrapped in one transaction."""
UNREADABLE = ""
"""In place of the key of a record that is damaged."""

log = get_logger("stigmer.pipeline.rewrapping")


class Rewrapped(NamedTuple):
    """How far a rewrap has come.

    Attributes:
        done: resources that it has brought under the active key.
        total: so many there were to be brought under it when it began.
        damaged: of those looked at in this pass, so many are damaged, and stay under their key.
    """

    done: int
    total: int
    damaged: int


async def used(store: Store) -> Counter[str]:
    """How many records are under each key."""
    found: Counter[str] = Counter()
    async for piece in _pieces(store):
        found.update(map(_key_id_of, piece))
    return found


async def rewrap(sealing: SealingKeys) -> AsyncGenerator[Rewrapped]:
    """Bring all secrets under the active key, in small transactions, and tell after each how far it has come.

    It goes over the records until none is left under another key, so that calls that began before the key was activated
    are covered as well.
    """
    before = await used(sealing.store)
    total, done = before.total() - before[sealing.keys.active] - before[UNREADABLE], 0
    while True:
        done_before, damaged = done, 0
        async for piece in _pieces(sealing.store):
            changed, unchangeable = await _rewrap(sealing, piece)
            done, damaged = done + changed, damaged + unchangeable
            yield Rewrapped(done, total, damaged)
        if done == done_before:
            yield Rewrapped(done, total, damaged)  # also where there is no record at all
            return


async def _pieces(store: Store) -> AsyncGenerator[list[Record]]:
    """All records of secrets, some at a time; one that is damaged in the file comes alone, without its value."""
    after, limit = "", PIECE
    while True:
        try:
            piece = list(await store.records(SEALED, after=after, limit=limit))
        except DamagedError as error:
            if limit > 1:
                limit = 1  # one by one up to the damaged one
                continue
            if not error.id:
                raise
            piece, limit = [Record(SEALED, error.id, b"")], PIECE
        if not piece:
            return
        yield piece
        after = piece[-1].key


async def _rewrap(sealing: SealingKeys, piece: list[Record]) -> tuple[int, int]:
    """How many records were rewrapped, and how many are damaged.

    Those that others write meanwhile are read again: each has left its old key by that, so that this ends.
    """
    while True:
        try:
            changes, damaged = await _changes(sealing, piece)
            if changes.records:
                await sealing.store.commit(changes)
        except ConflictError:
            found = [await sealing.store.record(record.table, record.key) for record in piece]
            piece = [record for record in found if record is not None]
        else:
            return len(changes.records), damaged


async def _changes(sealing: SealingKeys, piece: list[Record]) -> tuple[Changes, int]:
    """What brings the records under the active key, and how many are damaged."""
    expects, records, damaged = dict[Key, int](), dict[Key, bytes | None](), 0
    for record in piece:
        if _key_id_of(record) == sealing.keys.active:
            continue
        try:
            changed = await _rewrapped(sealing, record)
        except (DataLoss, DamagedError):
            damaged += 1
            log.error("Secrets are damaged and stay under their key", resource=record.key)  # noqa: TRY400 - it says it all
            continue
        if changed is not None:
            key = record.table, record.key
            expects[key], records[key] = record.revision, changed
            expects.update(await sealing.requirement(key_id_of(changed)))
        await asyncio.sleep(0)  # nothing else here need wait
    return Changes(expects, records=records), damaged


async def _rewrapped(sealing: SealingKeys, record: Record) -> bytes | None:
    """None where nothing is to be done, or the resource is gone."""
    if (record.table, record.key) == audit.RECORD:
        return await sealing.sealer.rewrap(audit.binding(sealing.store), record.value)
    kind, _, id_ = record.key.partition("/")
    row = await sealing.store.get(kind, id_)
    return None if row is None else await sealing.sealer.rewrap(sealing.binding(row), record.value)


def _key_id_of(record: Record) -> str:
    try:
        return key_id_of(record.value)
    except ValueError:
        return UNREADABLE
