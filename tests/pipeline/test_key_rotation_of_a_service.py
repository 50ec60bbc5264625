"""Where a key service has the keys: what is left to do here, and what is refused with a word on where to do it."""

from __future__ import annotations

import pytest
from sealed_rows import read, sealing_keys, write

from stigmer.errors import FailedPrecondition, NotFound, StartupError
from stigmer.pipeline import key_rotation
from stigmer.pipeline.key_rotation import KeyRotation, KeyUse
from stigmer.pipeline.rewrapping import Rewrapped
from stigmer.secrets.audit import Event, Op
from stigmer.secrets.cipher import Cipher, NotOpened
from stigmer.secrets.key_service import ServiceKeys
from stigmer.secrets.keyring import KeyState
from stigmer.store.memory import MemoryStore

BY = Event(Op.KEY_ADD, "ada")


class Service:
    """A key service in this process; versions that it has destroyed open nothing."""

    def __init__(self) -> None:
        self.keys = {"cloud/v1": Cipher(b"1" * 32), "cloud/v2": Cipher(b"2" * 32)}
        self.key_id = "cloud/v1"

    async def wrap(self, data_key: bytes, context: bytes) -> bytes:
        return self.keys[self.key_id].encrypt(data_key, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes | None:
        for key in self.keys.values():
            try:
                return key.decrypt(wrapped, context)
            except NotOpened:
                continue
        return None


async def rewrapped(rotation: KeyRotation) -> Rewrapped:
    async for _last in rotation.rewrap(BY):
        pass
    return _last


async def test_a_rotation_at_the_service_is_followed_by_rewrap_and_retire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_rotation, "READERS_S", 0)
    service = Service()
    async with MemoryStore() as store:
        sealing = sealing_keys(store, ServiceKeys(service))
        await sealing.open()
        rotation = KeyRotation(sealing)
        await write(sealing, "ctx-1")
        service.key_id = "cloud/v2"
        assert (await rotation.keys()).keys == [
            KeyUse("cloud/v1", None, KeyState.ENABLED, 1),
            KeyUse("cloud/v2", None, KeyState.ACTIVE, 0),
        ]
        with pytest.raises(FailedPrecondition, match="the secrets of 1 resources are under it: rewrap them first"):
            await rotation.retire("cloud/v1", BY)
        assert await rewrapped(rotation) == Rewrapped(1, 1, 0)
        with pytest.raises(FailedPrecondition, match="it is active"):
            await rotation.retire("cloud/v2", BY)
        assert await rotation.retire("cloud/v1", BY) == KeyUse("cloud/v1", None, KeyState.RETIRED, 0)
        del service.keys["cloud/v1"]
        after = sealing_keys(store, ServiceKeys(service))
        await after.open()
        assert await read(after, "ctx-1") == b"canary"
        with pytest.raises(NotFound):
            await rotation.retire("cloud/v1", BY)


async def test_a_version_that_is_destroyed_and_was_not_retired_here_fails_the_next_start() -> None:
    service = Service()
    async with MemoryStore() as store:
        await write(sealing_keys(store, ServiceKeys(service)), "ctx-1")
        del service.keys["cloud/v1"]
        with pytest.raises(StartupError, match="the key cloud/v1 is missing"):
            await sealing_keys(store, ServiceKeys(service)).open()


async def test_keys_are_added_and_activated_at_the_service() -> None:
    async with MemoryStore() as store:
        rotation = KeyRotation(sealing_keys(store, ServiceKeys(Service())))
        with pytest.raises(FailedPrecondition, match="a key service has the keys: add it there, then rewrap"):
            await rotation.add(BY)
        with pytest.raises(FailedPrecondition, match="a key service has the keys: activate it there, then rewrap"):
            await rotation.activate("cloud/v2", BY)
