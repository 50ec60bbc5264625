"""Keys are rotated while calls read and write; an interrupted rotation goes on; a key in use is not thrown away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from audited import events
from sealed_rows import keys_in_use, read, sealing_keys, staged, write

from stigmer.errors import FailedPrecondition, NotFound
from stigmer.pipeline import key_rotation, rewrapping
from stigmer.pipeline.audit.keys import AuditKeys
from stigmer.pipeline.key_rotation import KeyRotation
from stigmer.pipeline.rewrapping import Rewrapped
from stigmer.secrets.audit import Event, Op
from stigmer.secrets.keyring import Keyring, KeyState
from stigmer.store.changes import Changes
from stigmer.store.errors import ConflictError
from stigmer.store.memory import MemoryStore
from stigmer.store.rows import SEALED
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from stigmer.pipeline.sealing_keys import SealingKeys

BY = Event(Op.KEY_ADD, "ada", request_id="req-1")


@pytest.fixture(params=["memory", "sqlite"])
async def sealing(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[SealingKeys]:
    async with MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "data") as store:
        opened = sealing_keys(store, Keyring(tmp_path / "keyring.json"))
        await opened.open()
        yield opened


@pytest.fixture
def rotation(sealing: SealingKeys, monkeypatch: pytest.MonkeyPatch) -> KeyRotation:
    monkeypatch.setattr(rewrapping, "PIECE", 4)
    monkeypatch.setattr(key_rotation, "READERS_S", 0.01)
    return KeyRotation(sealing)


async def written(sealing: SealingKeys, count: int, prefix: str = "ctx") -> list[str]:
    ids = [f"{prefix}-{number:02}" for number in range(count)]
    for id_ in ids:
        await write(sealing, id_, id_.encode())
    return ids


async def activated(rotation: KeyRotation) -> str:
    """A new key, which is active now."""
    new = (await rotation.add(BY)).id
    await rotation.activate(new, BY)
    return new


async def rewrapped(rotation: KeyRotation) -> Rewrapped:
    """How far a rewrap has come at its end."""
    async for _last in rotation.rewrap(BY):
        pass
    return _last


async def test_a_rotation_brings_all_secrets_under_the_new_key(sealing: SealingKeys, rotation: KeyRotation) -> None:
    old, ids = sealing.keys.active, await written(sealing, 10)
    new = await activated(rotation)
    assert [(key.id, key.state, key.resources) for key in (await rotation.keys()).keys] == [
        (old, KeyState.ENABLED, 10),
        (new, KeyState.ACTIVE, 0),
    ]
    assert await rewrapped(rotation) == Rewrapped(10, 10, 0)
    await rotation.retire(old, BY)
    assert [(key.id, key.state, key.resources) for key in (await rotation.keys()).keys] == [
        (old, KeyState.RETIRED, 0),
        (new, KeyState.ACTIVE, 10),
    ]
    assert [await read(sealing, id_) for id_ in ids] == [id_.encode() for id_ in ids]
    assert await keys_in_use(sealing.store) == {new}


async def test_a_key_that_is_in_use_is_not_retired(sealing: SealingKeys, rotation: KeyRotation) -> None:
    old, (id_, *_) = sealing.keys.active, await written(sealing, 6)
    await activated(rotation)
    with pytest.raises(FailedPrecondition, match=f"key {old}: the secrets of 6 resources are under it: rewrap them"):
        await rotation.retire(old, BY)
    assert await read(sealing, id_) == id_.encode()


async def test_neither_the_active_key_nor_an_unknown_one_is_retired(
    sealing: SealingKeys, rotation: KeyRotation
) -> None:
    with pytest.raises(FailedPrecondition, match="it is active: activate another one first"):
        await rotation.retire(sealing.keys.active, BY)
    with pytest.raises(NotFound):
        await rotation.retire("key-unknown", BY)
    with pytest.raises(NotFound):
        await rotation.activate("key-unknown", BY)


async def test_a_retired_key_stays_so(sealing: SealingKeys, rotation: KeyRotation) -> None:
    old = sealing.keys.active
    await activated(rotation)
    await rotation.retire(old, BY)
    await rotation.retire(old, BY)
    with pytest.raises(FailedPrecondition, match="it is retired: add another one"):
        await rotation.activate(old, BY)


async def test_a_rewrap_that_is_cut_off_goes_on_where_it_was(
    sealing: SealingKeys, rotation: KeyRotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await written(sealing, 10)
    await activated(rotation)
    commit, commits = sealing.store.commit, 0

    async def cut_off(changes: Changes, *, dry_run: bool = False) -> object:
        nonlocal commits
        commits += 1
        if commits == 4:  # after the audit's record, the note that the key is in use, and one piece
            raise asyncio.CancelledError
        return await commit(changes, dry_run=dry_run)

    with monkeypatch.context() as patch, suppress(asyncio.CancelledError):
        patch.setattr(sealing.store, "commit", cut_off)
        await rewrapped(rotation)
    assert len(await keys_in_use(sealing.store)) == 2
    assert [await read(sealing, id_) for id_ in ids] == [id_.encode() for id_ in ids]
    assert await rewrapped(rotation) == Rewrapped(6, 6, 0)
    assert await rewrapped(rotation) == Rewrapped(0, 0, 0)


async def test_a_value_that_is_written_in_the_middle_of_a_rewrap_is_not_lost(
    sealing: SealingKeys, rotation: KeyRotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(sealing, 3)
    old_way = await staged(sealing, "late", b"late")
    await activated(rotation)
    commit = sealing.store.commit
    meanwhile = [old_way.commit, lambda: commit(Changes(records={(SEALED, "ExecutionContext/ctx-01"): None}))]

    async def with_others(changes: Changes, *, dry_run: bool = False) -> object:
        if meanwhile:
            monkeypatch.setattr(sealing.store, "commit", commit)
            await meanwhile.pop()()
            monkeypatch.setattr(sealing.store, "commit", with_others)
        return await commit(changes, dry_run=dry_run)

    monkeypatch.setattr(sealing.store, "commit", with_others)
    await rewrapped(rotation)
    assert await read(sealing, "late") == b"late"
    assert await sealing.store.record(SEALED, "ExecutionContext/ctx-01") is None, "what is deleted stays so"
    assert await keys_in_use(sealing.store) == {sealing.keys.active}


async def test_nothing_is_committed_under_a_key_once_it_is_retired(sealing: SealingKeys, rotation: KeyRotation) -> None:
    await written(sealing, 1)
    late = await staged(sealing, "late", b"late")
    old = sealing.keys.active
    await activated(rotation)
    await rewrapped(rotation)
    await rotation.retire(old, BY)
    with pytest.raises(ConflictError):
        await late.commit()
    await write(sealing, "late", b"late")
    assert await read(sealing, "late") == b"late"


async def test_a_read_that_holds_a_record_from_before_the_rewrap_still_opens_it(
    sealing: SealingKeys, rotation: KeyRotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(sealing, 1)
    old, row = sealing.keys.active, await sealing.store.get("ExecutionContext", "ctx-00")
    held = await sealing.store.record(SEALED, "ExecutionContext/ctx-00")
    assert row is not None
    assert held is not None
    monkeypatch.setattr(key_rotation, "READERS_S", 3600)
    await activated(rotation)
    await rewrapped(rotation)
    retiring = asyncio.create_task(rotation.retire(old, BY))
    await asyncio.sleep(0)
    assert await sealing.sealer.open(sealing.binding(row), held.value)
    retiring.cancel()
    with suppress(asyncio.CancelledError):
        await retiring
    assert [key.state for key in (await rotation.keys()).keys] == [KeyState.ENABLED, KeyState.ACTIVE]


async def test_a_damaged_record_is_counted_and_keeps_its_key_in_use(
    sealing: SealingKeys, rotation: KeyRotation
) -> None:
    old = sealing.keys.active
    await written(sealing, 3)
    record = await sealing.store.record(SEALED, "ExecutionContext/ctx-01")
    assert record is not None
    flipped = record.value[:-1] + bytes([record.value[-1] ^ 1])
    await sealing.store.commit(Changes(records={(SEALED, record.key): flipped}))
    await activated(rotation)
    assert await rewrapped(rotation) == Rewrapped(2, 3, 1)
    with pytest.raises(FailedPrecondition, match="the secrets of 1 resources are under it"):
        await rotation.retire(old, BY)


async def test_three_rotations_while_calls_read_and_write(sealing: SealingKeys, rotation: KeyRotation) -> None:
    ids = await written(sealing, 12)
    rotated = asyncio.Event()
    reads = 0

    async def reading() -> None:
        nonlocal reads
        while not rotated.is_set():
            for id_ in ids:
                assert await read(sealing, id_) == id_.encode()
                reads += 1
                await asyncio.sleep(0)

    async def writing() -> None:
        number = 0
        while not rotated.is_set():
            number += 1
            with suppress(ConflictError):  # a pipeline runs again then
                await write(sealing, f"new-{number}", b"new")
            await asyncio.sleep(0)

    async def rotating() -> None:
        for _ in range(3):
            old = sealing.keys.active
            await activated(rotation)
            while (await rewrapped(rotation)).done:
                pass
            with suppress(FailedPrecondition):  # a call that had begun before has committed since
                await rotation.retire(old, BY)
        rotated.set()

    async with asyncio.TaskGroup() as group:
        for work in (reading(), writing(), rotating()):
            group.create_task(work)
    await rewrapped(rotation)
    assert reads
    assert await keys_in_use(sealing.store) == {sealing.keys.active}


async def test_what_is_done_to_keys_is_in_the_audit_with_who_did_it(
    sealing: SealingKeys, rotation: KeyRotation
) -> None:
    old = sealing.keys.active
    new = await activated(rotation)
    await rewrapped(rotation)
    await rotation.retire(old, BY)
    told = await events(sealing.store)
    assert [(event.op, event.id) for event in told] == [
        (Op.KEY_ADD, new),
        (Op.KEY_ACTIVATE, new),
        (Op.KEY_REWRAP, new),
        (Op.KEY_RETIRE, old),
    ]
    assert {(event.actor, event.request_id, event.code) for event in told} == {("ada", "req-1", "OK")}


async def test_a_key_that_cannot_be_changed_in_its_file_is_told_of_as_well(
    sealing: SealingKeys, rotation: KeyRotation, tmp_path: Path
) -> None:
    new = (await rotation.add(BY)).id
    (tmp_path / "keyring.json").chmod(0o644)
    with pytest.raises(FailedPrecondition):
        await rotation.activate(new, BY)
    assert [(event.op, event.actor, event.code) for event in await events(sealing.store)][1:] == [
        (Op.KEY_ACTIVATE, "ada", "OK"),
        (Op.KEY_ACTIVATE, "ada", "FAILED_PRECONDITION"),
    ]


async def test_the_audit_s_own_keys_are_rewrapped_as_secrets_are(sealing: SealingKeys, rotation: KeyRotation) -> None:
    keys, old = AuditKeys(sealing), sealing.keys.active
    before = await keys.get()
    await activated(rotation)
    with pytest.raises(FailedPrecondition, match="the secrets of 1 resources are under it"):
        await rotation.retire(old, BY)
    assert await rewrapped(rotation) == Rewrapped(1, 1, 0)
    await rotation.retire(old, BY)
    after = await AuditKeys(sealing).get()
    assert (after.hashing, after.signer.key) == (before.hashing, before.signer.key)
