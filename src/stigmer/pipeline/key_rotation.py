"""Rotation of the keys that secrets are sealed under: listed, added, activated, rewrapped, retired.

`AdminController` does it, in a running server or on a database that no server has open. Rotation is: add a key,
activate it, rewrap, retire the old one. Each step may be interrupted at any point and done again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from stigmer.access.threads import on_thread
from stigmer.errors import FailedPrecondition, NotFound, StartupError
from stigmer.pipeline import rewrapping
from stigmer.secrets.audit import LOG, Event, Op
from stigmer.secrets.keyring import Key, Keyring, KeyState
from stigmer.store.changes import Append, Changes

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncGenerator, Callable

    from stigmer.pipeline.rewrapping import Rewrapped
    from stigmer.pipeline.sealing_keys import SealingKeys

READERS_S = 1.0
"""Reads that hold a record from before a rewrap have so long to open it, some milliseconds, until its key is gone."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key and what is sealed under it.

    Attributes:
        id: of the key.
        created: when it was made; None where a key service has it, or nobody.
        state: what it is good for; None where something is under it, and it is not here.
        resources: how many resources have their secrets under it.
    """

    id: str
    created: dt.datetime | None
    state: KeyState | None
    resources: int = 0


class Inventory(NamedTuple):
    """All keys, the oldest first, and how many records are so damaged that their key is not known."""

    keys: list[KeyUse]
    damaged: int


class KeyRotation:
    """What can be done to the keys of one database. The audit tells of each change, with who asked for it: `by`.

    Args:
        sealing: its keys, open.
    """

    def __init__(self, sealing: SealingKeys) -> None:
        self._sealing, self._store = sealing, sealing.store
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<KeyRotation of {self._sealing!r}>"

    async def keys(self) -> Inventory:
        """The keys, and how many resources are under each; this reads all records of secrets.

        The audit's own keys count as a resource.
        """
        used = await rewrapping.used(self._store)
        damaged = used.pop(rewrapping.UNREADABLE, 0)
        here = [replace(key, resources=used.pop(key.id, 0)) for key in self._keys().values()]
        return Inventory([*here, *(KeyUse(id_, None, None, count) for id_, count in sorted(used.items()))], damaged)

    async def add(self, by: Event) -> KeyUse:
        """A new key, which wraps nothing before it is activated. Raises FailedPrecondition."""
        keyring, made = self._keyring("add"), Key.new(KeyState.ENABLED)
        async with self._turn:
            told = _told(by, Op.KEY_ADD, made.id)
            await self._tell(told)
            await self._change(told, lambda: keyring.add(made))
        return KeyUse(made.id, made.created, made.state)

    async def activate(self, key_id: str, by: Event) -> KeyUse:
        """Have what is sealed from now on be sealed under that key.

        Raises:
            NotFound: there is no such key.
            FailedPrecondition: it is retired, or the keyring cannot be changed.
        """
        keyring = self._keyring("activate")
        async with self._turn:
            if self._key(key_id).state is KeyState.RETIRED:
                raise _refused(key_id, "it is retired: add another one")
            told = _told(by, Op.KEY_ACTIVATE, key_id)
            await self._tell(told)
            await self._change(told, lambda: keyring.activate(key_id))
            return self._key(key_id)

    async def rewrap(self, by: Event) -> AsyncGenerator[Rewrapped]:
        """Bring all secrets under the active key, and tell after each transaction how far it has come.

        What was done stays done if it is left. Several may run at once.
        """
        await self._tell(_told(by, Op.KEY_REWRAP, self._sealing.keys.active))
        async for progress in rewrapping.rewrap(self._sealing):
            yield progress

    async def retire(self, key_id: str, by: Event) -> KeyUse:
        """Throw a key away, for good; of one that a key service has, ask for it no more.

        Raises:
            NotFound: there is no such key.
            FailedPrecondition: it is active, so many resources are still under it, or the keyring cannot be changed.
        """
        async with self._turn:
            key = self._key(key_id)
            if key.state is KeyState.ACTIVE:
                raise _refused(key_id, "it is active: activate another one first")
            if key.state is not KeyState.RETIRED:
                await self._check_unused(key_id)
                await self._throw_away(key_id, _told(by, Op.KEY_RETIRE, key_id))
            return replace(key, state=KeyState.RETIRED)

    async def _throw_away(self, key_id: str, told: Event) -> None:
        """Let nothing more be committed under a key, then take it out of the keyring."""
        # what is sealed under it and not committed yet cannot be, and is sealed again under the active one
        await self._sealing.dismiss(key_id, _record(told))
        try:
            await self._check_unused(key_id)
            await asyncio.sleep(READERS_S)
            keys = self._sealing.keys
            if isinstance(keys, Keyring):
                await self._change(told, lambda: keys.retire(key_id))
        except BaseException:
            await self._sealing.readmit(key_id)
            raise

    async def _check_unused(self, key_id: str) -> None:
        if count := (await rewrapping.used(self._store))[key_id]:
            raise _refused(key_id, f"the secrets of {count} resources are under it: rewrap them first")

    async def _tell(self, told: Event) -> None:
        await self._store.commit(Changes(appends=[_record(told)]))

    async def _change(self, told: Event, change: Callable[[], object]) -> None:
        """Change the keyring, of which the audit tells already, on a thread; a failure is one more record.

        Raises:
            FailedPrecondition: it cannot be changed.
        """
        try:
            await on_thread(change)
        except StartupError as error:
            failure = FailedPrecondition(str(error), type_="KEYRING", subject="keyring")
            await self._tell(replace(told, code=failure.code.name))
            raise failure from None

    def _keyring(self, what: str) -> Keyring:
        keys = self._sealing.keys
        if not isinstance(keys, Keyring):
            raise _refused(keys.active, f"a key service has the keys: {what} it there, then rewrap, and retire the old")
        return keys

    def _keys(self) -> dict[str, KeyUse]:
        """The keys that are here, by their ids, the oldest first."""
        keys = self._sealing.keys
        if isinstance(keys, Keyring):
            return {key.id: KeyUse(key.id, key.created, key.state) for key in keys.keys}
        former = sorted(self._sealing.admitted - {keys.active})
        found = [*(KeyUse(id_, None, KeyState.ENABLED) for id_ in former), KeyUse(keys.active, None, KeyState.ACTIVE)]
        return {key.id: key for key in found}

    def _key(self, key_id: str) -> KeyUse:
        try:
            return self._keys()[key_id]
        except KeyError:
            raise NotFound("key", key_id) from None


def _told(by: Event, op: Op, key_id: str) -> Event:
    return replace(by, op=op, id=key_id)


def _record(told: Event) -> Append:
    return Append(LOG, told.encoded())


def _refused(key_id: str, why: str) -> FailedPrecondition:
    return FailedPrecondition(f"key {key_id}: {why}", type_="KEY", subject=key_id)
