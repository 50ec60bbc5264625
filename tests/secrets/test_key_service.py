"""A key service wraps data keys: asked once for each, within a time limit, and never in place of the right answer."""

from __future__ import annotations

import asyncio
import os

import pytest

from stigmer.errors import DataLoss, Unavailable
from stigmer.secrets.cipher import Cipher, NotOpened
from stigmer.secrets.fields import Place
from stigmer.secrets.key_service import ServiceKeys
from stigmer.secrets.sealing import Binding, Sealer, key_id_of

HERE = Binding("deployment", "Environment", "acme", "env-1", "")
VALUES = {Place("spec.data", "TOKEN"): b"canary"}


class Vault:
    """A service with versioned keys, which counts what it is asked."""

    def __init__(self) -> None:
        self.keys = [Cipher(os.urandom(32))]
        self.asked = 0
        self.down: Exception | None = None
        self.hangs = False

    @property
    def key_id(self) -> str:
        return f"vault/v{len(self.keys)}"

    async def wrap(self, data_key: bytes, context: bytes) -> bytes:
        await self._reached()
        return bytes([len(self.keys)]) + self.keys[-1].encrypt(data_key, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes | None:
        await self._reached()
        try:
            return self.keys[wrapped[0] - 1].decrypt(wrapped[1:], context)
        except (NotOpened, IndexError):
            return None

    async def _reached(self) -> None:
        self.asked += 1
        if self.down is not None:
            raise self.down
        if self.hangs:
            await asyncio.Event().wait()


@pytest.fixture
def vault() -> Vault:
    return Vault()


async def test_values_are_sealed_and_opened_with_one_request_a_data_key(vault: Vault) -> None:
    sealer = Sealer(ServiceKeys(vault))
    record = await sealer.seal(HERE, VALUES)
    assert [await sealer.open(HERE, record) for _ in range(3)] == [VALUES] * 3
    assert vault.asked == 1
    assert await Sealer(ServiceKeys(vault)).open(HERE, record) == VALUES
    assert vault.asked == 2


async def test_no_more_data_keys_are_remembered_than_may_be(vault: Vault) -> None:
    sealer = Sealer(ServiceKeys(vault, most_keys=2))
    records = [await sealer.seal(HERE, VALUES) for _ in range(3)]
    vault.asked = 0
    for record in (records[1], records[2]):
        await sealer.open(HERE, record)
    assert vault.asked == 0
    await sealer.open(HERE, records[0])
    await sealer.open(HERE, records[2])
    assert vault.asked == 1
    await sealer.open(HERE, records[1])
    assert vault.asked == 2


@pytest.mark.parametrize("failure", [OSError("canary"), RuntimeError("canary"), TimeoutError(), ValueError("canary")])
async def test_a_service_that_fails_makes_the_call_unavailable(vault: Vault, failure: Exception) -> None:
    record = await Sealer(ServiceKeys(vault)).seal(HERE, VALUES)
    vault.down = failure
    sealer = Sealer(ServiceKeys(vault))
    for attempt in (sealer.seal(HERE, VALUES), sealer.open(HERE, record)):
        with pytest.raises(Unavailable, match="the key service does not answer") as failed:
            await attempt
        assert "canary" not in str(failed.value)


async def test_a_service_that_hangs_is_given_up(vault: Vault) -> None:
    vault.hangs = True
    with pytest.raises(Unavailable):
        await Sealer(ServiceKeys(vault, limit_s=0.01)).seal(HERE, VALUES)


async def test_what_the_service_refuses_is_damaged(vault: Vault) -> None:
    record = await Sealer(ServiceKeys(vault)).seal(HERE, VALUES)
    vault.keys = [Cipher(os.urandom(32))]
    with pytest.raises(DataLoss):
        await Sealer(ServiceKeys(vault)).open(HERE, record)


async def test_a_remembered_key_opens_nothing_of_another_place(vault: Vault) -> None:
    sealer = Sealer(ServiceKeys(vault))
    record = await sealer.seal(HERE, VALUES)
    with pytest.raises(DataLoss):
        await sealer.open(HERE._replace(id="env-2"), record)


async def test_a_service_that_rotates_its_key_is_followed(vault: Vault) -> None:
    sealer = Sealer(ServiceKeys(vault))
    old = await sealer.seal(HERE, VALUES)
    vault.keys.append(Cipher(os.urandom(32)))
    new = await sealer.rewrap(HERE, old)
    assert new is not None
    assert [key_id_of(record) for record in (old, new)] == ["vault/v1", "vault/v2"]
    assert await sealer.open(HERE, old) == await sealer.open(HERE, new) == VALUES
    assert await sealer.rewrap(HERE, new) is None


async def test_a_data_key_of_another_length_is_not_taken(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    record = await Sealer(ServiceKeys(vault)).seal(HERE, VALUES)

    async def short(*_: object) -> bytes:
        return b"short"

    monkeypatch.setattr(vault, "unwrap", short)
    with pytest.raises(DataLoss):
        await Sealer(ServiceKeys(vault)).open(HERE, record)
