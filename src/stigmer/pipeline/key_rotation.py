"""Rotation of the keys that secrets are sealed under: listed, added, activated, rewrapped, retired.

`stigmer keys` does it on a database that no server has open, the admin service in a running one. Rotation is: add a
key, activate it, rewrap, retire the old one. Each step may be interrupted at any point and done again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from stigmer.access.principal import SYSTEM
from stigmer.access.threads import on_thread
from stigmer.errors import DataLoss, FailedPrecondition, NotFound, StartupError
from stigmer.pipeline.audit import keys as audit
from stigmer.secrets.audit import LOG, Event, Op
from stigmer.secrets.keyring import Keyring, KeyState
from stigmer.secrets.sealing import key_id_of
from stigmer.store.changes import Append, Changes
from stigmer.store.errors import ConflictError
from stigmer.store.rows import SEALED
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncGenerator, Callable

    from stigmer.pipeline.sealing_keys import SealingKeys
    from stigmer.secrets.keyring import Key
    from stigmer.store.rows import Record

T = TypeVar("T")

PIECE = 50
"""So many records are read at once, and rewrapped in one transaction."""
READERS_S = 1.0
"""A read opens a record some milliseconds after it has read it."""
UNREADABLE = "(unreadable)"
"""In place of the key of a record that is damaged."""

log = get_logger("stigmer.pipeline.key_rotation")


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key and what is sealed under it.

    Attributes:
        id: of the key.
        created: when it was made; None where a key service has it.
        state: what it is good for.
        resources: how many resources have their secrets under it.
    """

    id: str
    created: dt.datetime | None
    state: KeyState
    resources: int


class Rewrapped(NamedTuple):
    """What a rewrap has done: resources under the active key now, and those that are damaged and stay."""

    done: int
    damaged: int


class KeyRotation:
    """What can be done to the keys of one database.

    Args:
        sealing: its keys, open.
        by: who asks for it, for the audit; the server itself where nobody is named.
        readers_s: seconds that reads which hold a record from before a rewrap have to open it, until its key is gone.
    """

    def __init__(self, sealing: SealingKeys, by: Event | None = None, *, readers_s: float = READERS_S) -> None:
        self._sealing, self._store, self._readers_s = sealing, sealing.store, readers_s
        self._by = by or Event(Op.KEY_REWRAP, SYSTEM)

    def __repr__(self) -> str:
        return f"<KeyRotation of {self._sealing!r}>"

    async def keys(self) -> list[KeyUse]:
        """The keys, the oldest first, with how many resources are under each; this reads all records of secrets.

        The audit's own keys count as a resource.
        """
        used, keys = await self._used(), self._sealing.keys
        if isinstance(keys, Keyring):
            found = [KeyUse(key.id, key.created, key.state, used.pop(key.id, 0)) for key in keys.keys]
        else:
            found = [KeyUse(keys.active, None, KeyState.ACTIVE, used.pop(keys.active, 0))]
        return [*found, *(KeyUse(key_id, None, KeyState.ENABLED, count) for key_id, count in sorted(used.items()))]

    async def add(self) -> Key:
        """A new key, which wraps nothing before it is activated. Raises FailedPrecondition."""
        keyring = self._keyring()
        made = await _changed(keyring.add)
        await self._tell(Op.KEY_ADD, made.id)
        return made

    async def activate(self, key_id: str) -> None:
        """Have what is sealed from now on be sealed under that key.

        Raises:
            NotFound: there is no such key.
            FailedPrecondition: it is retired.
        """
        keyring = self._keyring()
        if self._key(keyring, key_id).state is KeyState.RETIRED:
            raise _refused(key_id, "it is retired: add another one")
        await self._tell(Op.KEY_ACTIVATE, key_id)
        await self._done(Op.KEY_ACTIVATE, key_id, lambda: keyring.activate(key_id))

    async def rewrap(self) -> Rewrapped:
        """Bring all secrets under the active key, in small transactions; what was done stays done if it is interrupted.

        It goes over the records until none is left under another key, so that calls that began before the key was
        activated are covered as well.
        """
        await self._tell(Op.KEY_REWRAP, self._sealing.keys.active)
        done = 0
        while True:
            one_pass = Rewrapped(0, 0)
            async for piece in self._pieces():
                rewrapped = await self._rewrap(piece)
                one_pass = Rewrapped(one_pass.done + rewrapped.done, one_pass.damaged + rewrapped.damaged)
            done += one_pass.done
            if not one_pass.done:
                return Rewrapped(done, one_pass.damaged)

    async def retire(self, key_id: str) -> None:
        """Throw a key away, for good.

        Raises:
            NotFound: there is no such key.
            FailedPrecondition: it is active, or so many resources are still under it.
        """
        keyring = self._keyring()
        state = self._key(keyring, key_id).state
        if state is KeyState.RETIRED:
            return
        if state is KeyState.ACTIVE:
            raise _refused(key_id, "it is active: activate another one first")
        await self._check_unused(key_id)
        told = self._told(Op.KEY_RETIRE, key_id)
        await self._sealing.dismiss(key_id, told)  # what is sealed under it, and not committed yet, is sealed again
        try:
            await self._check_unused(key_id)
            await asyncio.sleep(self._readers_s)
            await self._done(Op.KEY_RETIRE, key_id, lambda: keyring.retire(key_id))
        except BaseException:
            await self._sealing.admit(key_id)
            raise

    def _told(self, op: Op, key_id: str, code: str = "OK") -> Append:
        """The audit's record of what is done to a key."""
        told = Event(op, self._by.actor, self._by.on_behalf_of, self._by.request_id, self._by.peer, self._by.method)
        return Append(LOG, replace(told, id=key_id, code=code).encoded())

    async def _tell(self, op: Op, key_id: str, code: str = "OK") -> None:
        await self._store.commit(Changes(appends=[self._told(op, key_id, code)]))

    async def _done(self, op: Op, key_id: str, change: Callable[[], None]) -> None:
        """Change the keyring, of which the audit tells already; where that fails it has one more record."""
        try:
            await _changed(change)
        except FailedPrecondition as error:
            await self._tell(op, key_id, error.code.name)
            raise

    async def _check_unused(self, key_id: str) -> None:
        if count := (await self._used())[key_id]:
            raise _refused(key_id, f"the secrets of {count} resources are under it: rewrap them first")

    async def _used(self) -> Counter[str]:
        """How many records are under each key."""
        used: Counter[str] = Counter()
        async for piece in self._pieces():
            used.update(map(_key_id_of, piece))
        return used

    async def _pieces(self) -> AsyncGenerator[list[Record]]:
        """All records of secrets, some at a time."""
        after = ""
        while piece := list(await self._store.records(SEALED, after=after, limit=PIECE)):
            yield piece
            after = piece[-1].key

    async def _rewrap(self, piece: list[Record]) -> Rewrapped:
        """Rewrap the records that are under another key; those that others write meanwhile are read again."""
        changes, damaged = Changes(expects={}, records={}), 0
        active = self._sealing.keys.active
        for record in piece:
            if _key_id_of(record) != active:
                try:
                    changed = await self._rewrapped(record)
                except DataLoss as error:
                    damaged += 1
                    log.error("Secrets are damaged and stay under their key", kind=error.kind, id=error.name)  # noqa: TRY400 - it says it all
                    continue
                if changed is not None:
                    key = record.table, record.key
                    changes = Changes(
                        {**changes.expects, key: record.revision}, records={**changes.records, key: changed}
                    )
        if changes.records:
            try:
                await self._store.commit(changes)
            except ConflictError:
                return await self._rewrap(await self._again(piece))
        return Rewrapped(len(changes.records), damaged)

    async def _again(self, piece: list[Record]) -> list[Record]:
        found = [await self._store.record(record.table, record.key) for record in piece]
        return [record for record in found if record is not None]

    async def _rewrapped(self, record: Record) -> bytes | None:
        """None where nothing is to be done, or the resource is gone."""
        kind, _, id_ = record.key.partition("/")
        if (record.table, record.key) == audit.RECORD:
            return await self._sealing.sealer.rewrap(audit.binding(self._store), record.value)
        row = await self._store.get(kind, id_)
        return None if row is None else await self._sealing.sealer.rewrap(self._sealing.binding(row), record.value)

    def _keyring(self) -> Keyring:
        keys = self._sealing.keys
        if not isinstance(keys, Keyring):
            raise _refused(keys.active, "a key service has it: add, activate and retire keys there, then rewrap")
        return keys

    def _key(self, keyring: Keyring, key_id: str) -> Key:
        for key in keyring.keys:
            if key.id == key_id:
                return key
        raise NotFound("key", key_id)


async def _changed(change: Callable[[], T]) -> T:
    """Change the keyring on a thread."""
    try:
        return await on_thread(change)
    except StartupError as error:
        raise FailedPrecondition(str(error), type_="KEYRING", subject="keyring") from None


def _key_id_of(record: Record) -> str:
    try:
        return key_id_of(record.value)
    except ValueError:
        return UNREADABLE


def _refused(key_id: str, why: str) -> FailedPrecondition:
    return FailedPrecondition(f"key {key_id}: {why}", type_="KEY", subject=key_id)
