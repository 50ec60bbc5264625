"""What an older database holds in the clear is sealed at the first start of a version that seals, before it serves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stigmer.errors import StartupError
from stigmer.secrets import fields
from stigmer.secrets.sealing import key_id_of
from stigmer.store.changes import Changes
from stigmer.store.errors import StoreUnavailableError
from stigmer.store.rows import sealed_key
from stigmer.store.transaction import Transaction
from stigmer.telemetry.logs import get_logger
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from google.protobuf.message import Message

    from stigmer.pipeline.kind import Kind
    from stigmer.pipeline.older_executions import OlderExecutions
    from stigmer.pipeline.sealing_keys import SealingKeys
    from stigmer.store.contract import Store
    from stigmer.store.rows import Row

TABLE, KEY = "upgrades", "sealed"
"""The record that says how far it is."""
BEGUN, DONE = b"begun", b"done"
PIECE = 32
"""How many rows are read at once, and sealed in one transaction."""

log = get_logger("stigmer.pipeline.first_sealing")


async def seal_stored(sealing: SealingKeys, older: OlderExecutions) -> None:
    """Seal every secret value that stands in a row, in small transactions, then have the store leave no trace of them.

    What older executions have in `runtime_env` goes into contexts. Interrupted at any point, the next start goes on.
    Rows that are damaged stay as they are: nobody is shown them.

    Raises:
        StartupError: the store cannot write, such as for want of room.
    """
    store = sealing.store
    mark = await store.record(TABLE, KEY)
    if mark is not None and mark.value == DONE:
        return
    kinds = [kind for kind in sealing.kinds.values() if kind.may_hold_secrets]
    try:
        count = sum([await _seal_kind(sealing, older, kind) for kind in kinds])
        if count or mark is not None:
            await store.compact()
            log.info("Secrets that the database held in the clear are sealed", resources=count)
        await store.commit(Changes(records={(TABLE, KEY): DONE}))
    except StoreUnavailableError as error:
        raise StartupError(
            f"the secrets in the database could not be sealed ({error}): make room, start again"
        ) from None


async def _seal_kind(sealing: SealingKeys, older: OlderExecutions, kind: Kind[Any]) -> int:
    """Seal the rows of a kind; how many it were."""
    count = 0
    async for rows in _pieces(sealing.store, kind.name):
        tx, before = Transaction(sealing.store), count
        for row in rows:
            wire = kind.wire_of(row)
            if await older.strip(tx, row, wire) or not fields.is_bare(wire):
                await _seal(sealing, tx, kind.row_of_wire(wire, b"", row.owner, based_on=row), wire)
                count += 1
        if count > before:
            tx.put_record(TABLE, KEY, BEGUN)
            await tx.commit()
    return count


async def _seal(sealing: SealingKeys, tx: Transaction, row: Row, wire: Message) -> None:
    """Stage a row whose resource is `wire`, without the secret values, and their record where there are some."""
    values, _ = fields.take(wire)
    bare = replace(row, data=codec.serialized(wire), sealed=bool(values))
    tx.update(bare)
    if values:
        record = await sealing.sealer.seal(sealing.binding(bare, wire), values)
        tx.put_record(*sealed_key(row.kind, row.id), record)
        await sealing.require(tx, key_id_of(record))


async def _pieces(store: Store, kind: str) -> AsyncGenerator[list[Row]]:
    """All rows of a kind that are not sealed, some at a time; damaged ones are left out."""
    before: int | None = None
    while True:
        rows, before = await store.intact(kind, before, PIECE)
        yield [row for row in rows if not row.sealed]
        if before is None:
            return
