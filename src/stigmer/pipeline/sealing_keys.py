"""The keys that the secrets of one database are sealed under: opened at its start, and required at each commit.

A record in the store for each key that has sealed something says so: a start without one of these keys fails. A
transaction that seals requires the record of its key, so that nothing can be committed under a key that is being
retired (`key_rotation`). The sealing itself is `secrets.sealing`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, cast

from stigmer.access.threads import on_thread
from stigmer.errors import StartupError, Unavailable
from stigmer.secrets.cipher import warm_up
from stigmer.secrets.keyring import Keyring
from stigmer.secrets.sealing import Binding, Sealer
from stigmer.store.changes import Changes
from stigmer.store.errors import ConflictError
from stigmer.store.rows import ABSENT
from stigmer.wire.descriptors import descriptor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stigmer.pipeline.kind import Kind
    from stigmer.secrets.sealing import KeyWrapper
    from stigmer.store.changes import Append
    from stigmer.store.contract import Store
    from stigmer.store.rows import Key, Row
    from stigmer.store.transaction import Transaction

TABLE = "sealing_keys"
"""The records of the keys, by their ids; the value is `KeyWrapper.proof`'s."""
_EXECUTION = "execution_id"


class SealingKeys:
    """The keys of one database. It has none until it is opened.

    Args:
        store: of the records.
        kinds: every kind by name.
        keys: what wraps data keys; in memory where nothing else is given.

    Attributes:
        sealer: seals and opens the values of its resources.
    """

    def __init__(self, store: Store, kinds: Mapping[str, Kind[Any]], keys: KeyWrapper | None = None) -> None:
        self.store, self.kinds = store, kinds
        self.keys = keys if keys is not None else Keyring(None)
        self.sealer = Sealer(self.keys)
        self._revisions: dict[str, int] = {}
        self._admitting = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<SealingKeys {self.keys!r}>"

    async def open(self) -> None:
        """Open the keyring, make it where nothing can be sealed yet, and see that no key is missing.

        Raises:
            StartupError: one clear line that names the key.
        """
        known = {record.key: record for record in await self.store.records(TABLE)}
        await on_thread(lambda: self._read(has_secrets=bool(known)))
        try:
            for key_id, record in known.items():
                if not await self.keys.proves(key_id, record.value):
                    raise StartupError(
                        f"the key {key_id} is missing, or another one has its id, and secrets are sealed under it:"
                        " restore the keyring from its backup"
                    )
                self._revisions[key_id] = record.revision
        except Unavailable as error:
            raise StartupError(error.message) from None

    def _read(self, *, has_secrets: bool) -> None:
        """What of an opening waits for the disk."""
        if isinstance(self.keys, Keyring):
            self.keys.open(make=not has_secrets)
        if has_secrets:
            warm_up()

    @property
    def admitted(self) -> frozenset[str]:
        """The keys that there are records of."""
        return frozenset(self._revisions)

    async def dismiss(self, key_id: str, told: Append) -> None:
        """Remove the record of a key that is not active: from here on no commit of what is sealed under it succeeds.

        Args:
            key_id: of the key.
            told: the audit's record of it.
        """
        async with self._admitting:
            await self.store.commit(Changes(records={(TABLE, key_id): None}, appends=[told]))
            self._revisions.pop(key_id, None)

    async def readmit(self, key_id: str) -> None:
        """Put the record of a key back that was dismissed, and stays after all. Raises Unavailable."""
        async with self._admitting:
            await self._admit(key_id)

    async def require(self, tx: Transaction, key_id: str) -> None:
        """Have a transaction that seals something under the key fail where the key is retired before its commit.

        Raises:
            ConflictError: the key is not active any more; the transaction is to run again, and to seal under that one.
            Unavailable: the key service does not answer.
        """
        for (table, key), revision in (await self.requirement(key_id)).items():
            tx.require_record(table, key, revision)

    async def requirement(self, key_id: str) -> Mapping[Key, int]:
        """The record that must be there at the commit of what is sealed under the key; raises as `require` does.

        The first to seal something under a key makes it, so that no start goes without that key.
        """
        if key_id == self.keys.active and key_id not in self._revisions:
            async with self._admitting:
                if key_id == self.keys.active:  # else it may be dismissed already, and is not to come back
                    await self._admit(key_id)
        if key_id != self.keys.active:
            raise ConflictError((TABLE, key_id))
        return {(TABLE, key_id): self._revisions[key_id]}

    async def _admit(self, key_id: str) -> None:
        """See that there is a record of the key."""
        if key_id in self._revisions:
            return
        proof = await self.keys.proof(key_id)
        with suppress(ConflictError):  # another process was first
            await self.store.commit(Changes(expects={(TABLE, key_id): ABSENT}, records={(TABLE, key_id): proof}))
        found = await self.store.record(TABLE, key_id)
        if found is None:
            raise ConflictError((TABLE, key_id))
        self._revisions[key_id] = found.revision

    def binding(self, row: Row, wire: Any = None) -> Binding:  # noqa: ANN401 - each kind has a message of its own
        """What the values of a row are bound to; its data need not be stored yet, its owner has to be known.

        Args:
            row: of the resource.
            wire: the resource as the C runtime has it, where it is at hand.
        """
        wire = wire if wire is not None else self.kinds[row.kind].wire_of(row)
        execution_id = cast("str", wire.spec.execution_id) if _serves_execution(wire.DESCRIPTOR.full_name) else ""
        return Binding(self._deployment, row.kind, row.owner, row.id, execution_id)

    @cached_property
    def _deployment(self) -> str:
        return self.store.secret("deployment").hex()


@cache
def _serves_execution(full_name: str) -> bool:
    """Whether resources of that type say in their spec which execution they serve."""
    spec = descriptor(full_name).fields_by_name["spec"].message_type
    return spec is not None and _EXECUTION in spec.fields_by_name
