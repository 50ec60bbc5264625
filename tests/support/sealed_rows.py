"""Resources with secrets, written as a pipeline writes them: row and record in one transaction, its key required."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stigmer.handlers import HANDLERS
from stigmer.pipeline.sealing_keys import SealingKeys
from stigmer.secrets.fields import Place
from stigmer.secrets.sealing import key_id_of
from stigmer.store.rows import SEALED, Row, sealed_key
from stigmer.store.transaction import Transaction
from stigmer.wire.descriptors import message_class

if TYPE_CHECKING:
    from stigmer.secrets.sealing import KeyWrapper
    from stigmer.store.contract import Store

KINDS = {handler.kind.name: handler.kind for handler in HANDLERS}
TOKEN = Place("spec.data", "TOKEN")


def sealing_keys(store: Store, keys: KeyWrapper | None = None) -> SealingKeys:
    return SealingKeys(store, KINDS, keys)


def context_row(id_: str, execution_id: str = "aex-1") -> Row:
    wire: Any = message_class("ai.stigmer.agentic.executioncontext.v1.ExecutionContext")()
    wire.metadata.id, wire.spec.execution_id = id_, execution_id
    wire.spec.data["TOKEN"].is_secret = True
    return Row("ExecutionContext", id_, "", None, wire.SerializeToString(), (), "tester", "acme", sealed=True)


async def staged(sealing: SealingKeys, id_: str, value: bytes) -> Transaction:
    """A transaction that has sealed, and is not committed."""
    row = context_row(id_)
    tx = Transaction(sealing.store)
    record = await sealing.sealer.seal(sealing.binding(row), {TOKEN: value})
    tx.create(row)
    tx.put_record(*sealed_key(row.kind, id_), record)
    await sealing.require(tx, key_id_of(record))
    return tx


async def write(sealing: SealingKeys, id_: str, value: bytes = b"canary") -> None:
    await (await staged(sealing, id_, value)).commit()


async def read(sealing: SealingKeys, id_: str) -> bytes:
    row = await sealing.store.get("ExecutionContext", id_)
    record = await sealing.store.record(*sealed_key("ExecutionContext", id_))
    assert row is not None
    assert record is not None
    return (await sealing.sealer.open(sealing.binding(row), record.value))[TOKEN]


async def keys_in_use(store: Store) -> set[str]:
    return {key_id_of(record.value) for record in await store.records(SEALED)}
