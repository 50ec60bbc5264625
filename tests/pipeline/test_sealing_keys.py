"""A database starts with the keys that its secrets are under, or not at all, and seals under no retired one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sealed_rows import context_row, keys_in_use, read, sealing_keys, staged, write

from stigmer.errors import DataLoss, StartupError
from stigmer.secrets.keyring import Keyring
from stigmer.store.changes import Append
from stigmer.store.errors import ConflictError
from stigmer.store.memory import MemoryStore
from stigmer.store.rows import SEALED
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from stigmer.pipeline.sealing_keys import SealingKeys
    from stigmer.store.contract import Store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    async with MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def gone(file: Path) -> None:
    file.unlink()


def there(file: Path) -> bool:
    return file.exists()


async def opened(store: Store, file: Path) -> SealingKeys:
    sealing = sealing_keys(store, Keyring(file))
    await sealing.open()
    return sealing


async def test_what_is_sealed_opens_after_the_next_start(store: Store, file: Path) -> None:
    await write(await opened(store, file), "ctx-1")
    assert await read(await opened(store, file), "ctx-1") == b"canary"


async def test_a_keyring_that_has_sealed_nothing_may_be_lost(store: Store, file: Path) -> None:
    await opened(store, file)
    gone(file)
    await write(await opened(store, file), "ctx-1")


async def test_a_keyring_that_is_gone_is_not_made_again_where_something_is_sealed(store: Store, file: Path) -> None:
    await write(await opened(store, file), "ctx-1")
    gone(file)
    with pytest.raises(StartupError, match=r"keyring.json: no such file; restore it from its backup"):
        await opened(store, file)
    assert not there(file)


async def test_another_keyring_is_refused_and_the_key_that_is_missing_named(store: Store, file: Path) -> None:
    sealing = await opened(store, file)
    await write(sealing, "ctx-1")
    missing = sealing.keys.active
    gone(file)
    other = Keyring(file.with_name("other.json"))
    async with MemoryStore() as elsewhere:
        await sealing_keys(elsewhere, other).open()
    with pytest.raises(StartupError) as refused:
        await opened(store, file.with_name("other.json"))
    assert str(refused.value).startswith(f"the key {missing} is missing")
    assert "\n" not in str(refused.value)


async def test_a_row_of_another_deployment_owner_or_execution_does_not_open(store: Store, file: Path) -> None:
    sealing = await opened(store, file)
    await write(sealing, "ctx-1")
    record = await store.record(SEALED, "ExecutionContext/ctx-1")
    assert record is not None
    async with MemoryStore() as elsewhere:
        there = sealing_keys(elsewhere, sealing.keys)
        with pytest.raises(DataLoss):
            await there.sealer.open(there.binding(context_row("ctx-1")), record.value)
    with pytest.raises(DataLoss):
        await sealing.sealer.open(sealing.binding(context_row("ctx-1", "aex-2")), record.value)
    assert sealing.binding(context_row("ctx-1")).execution_id == "aex-1"


async def test_a_transaction_does_not_commit_what_it_sealed_under_a_key_that_is_dismissed(
    store: Store, file: Path
) -> None:
    sealing = await opened(store, file)
    await write(sealing, "ctx-1")
    tx = await staged(sealing, "ctx-2", b"canary")
    await sealing.dismiss(sealing.keys.active, Append("audit", b""))
    with pytest.raises(ConflictError):
        await tx.commit()
    assert await store.get("ExecutionContext", "ctx-2") is None


async def test_a_key_that_is_not_active_seals_nothing(store: Store, file: Path) -> None:
    sealing = await opened(store, file)
    tx = await staged(sealing, "ctx-1", b"canary")
    with pytest.raises(ConflictError):
        await sealing.require(tx, "key-unknown")


async def test_calls_that_are_the_first_to_seal_at_the_same_time_all_do(store: Store) -> None:
    first = sealing_keys(store)
    second = sealing_keys(store, first.keys)
    async with asyncio.TaskGroup() as group:
        for number, sealing in enumerate((first, second, first, second)):
            group.create_task(write(sealing, f"ctx-{number}"))
    assert await keys_in_use(store) == {first.keys.active}
