"""What the audit hashes values and signs checkpoints with: two random keys, sealed as secrets of resources are.

Whoever has the database alone can neither sign, nor try out which value a hash is of. The record stands beside those of
resources, so that rotation brings it under another key-encryption key as well.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from stigmer.errors import DataLoss
from stigmer.secrets.checkpoints import Signer
from stigmer.secrets.cipher import KEY_BYTES
from stigmer.secrets.fields import Place
from stigmer.secrets.sealing import Binding, key_id_of
from stigmer.store.errors import ConflictError
from stigmer.store.rows import ABSENT, sealed_key
from stigmer.store.transaction import Transaction

if TYPE_CHECKING:
    from stigmer.pipeline.sealing_keys import SealingKeys
    from stigmer.secrets.sealing import Sealer
    from stigmer.store.rows import Record

KIND, ID = "Audit", "keys"
"""In place of kind and id of a resource."""
RECORD = sealed_key(KIND, ID)

_HASHING, _SIGNING = Place("hashing", ""), Place("signing", "")


class Keys(NamedTuple):
    """The keys, opened.

    Attributes:
        hashing: what values are hashed with, of 32 bytes.
        signer: signs checkpoints.
    """

    hashing: bytes
    signer: Signer


class Sealed(Protocol):
    """Where the record of the keys is read: a store, or a database's file."""

    def secret(self, name: str) -> bytes:
        """As of `Store`."""
        ...

    async def record(self, table: str, key: str) -> Record | None:
        """As of `Store`."""
        ...


def binding(source: Sealed) -> Binding:
    """What the keys are bound to."""
    return Binding(source.secret("deployment").hex(), KIND, "", ID, "")


async def opened(source: Sealed, sealer: Sealer) -> Keys | None:
    """The keys that a database has; None where nothing was audited yet.

    Raises:
        DataLoss: they do not open.
        Unavailable: the key service does not answer.
    """
    record = await source.record(*RECORD)
    if record is None:
        return None
    values = await sealer.open(binding(source), record.value)
    try:
        return Keys(values[_HASHING], Signer(values[_SIGNING]))
    except (KeyError, ValueError):
        raise DataLoss(KIND, ID) from None


class AuditKeys:
    """The keys of one database, made when they are first asked for.

    Args:
        sealing: what they are sealed under.
    """

    def __init__(self, sealing: SealingKeys) -> None:
        self._sealing = sealing
        self._opened: Keys | None = None

    def __repr__(self) -> str:
        return f"<AuditKeys of {self._sealing!r}>"

    async def get(self) -> Keys:
        """The keys; raises as `opened`."""
        while self._opened is None:
            self._opened = await opened(self._sealing.store, self._sealing.sealer)
            if self._opened is None:
                with suppress(ConflictError):  # another call was first, or the key-encryption key is retired
                    await self._make()
        return self._opened

    async def _make(self) -> None:
        store, values = self._sealing.store, {place: os.urandom(KEY_BYTES) for place in (_HASHING, _SIGNING)}
        record = await self._sealing.sealer.seal(binding(store), values)
        tx = Transaction(store)
        tx.put_record(*RECORD, record, ABSENT)
        await self._sealing.require(tx, key_id_of(record))
        await tx.commit()
