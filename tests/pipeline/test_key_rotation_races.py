"""Rotations that meet each other, calls that seal, and faults: of the keyring's file, and of what is stored."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from sealed_rows import keys_in_use, read, sealing_keys, staged, write

from stigmer.errors import FailedPrecondition, StartupError
from stigmer.pipeline import key_rotation, rewrapping
from stigmer.pipeline.key_rotation import KeyRotation
from stigmer.pipeline.rewrapping import Rewrapped
from stigmer.secrets.audit import Event, Op
from stigmer.secrets.keyring import Keyring, KeyState
from stigmer.store.errors import ConflictError, StoreUnavailableError
from stigmer.store.memory import MemoryStore
from stigmer.store.rows import SEALED
from stigmer.store.sqlite import SqliteStore
from stigmer.store.sqlite.files import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from stigmer.pipeline.sealing_keys import SealingKeys

BY = Event(Op.KEY_ADD, "ada")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    return tmp_path / "keys" / "keyring.json"


@pytest.fixture
async def sealing(file: Path) -> AsyncGenerator[SealingKeys]:
    async with MemoryStore() as store:
        opened = sealing_keys(store, Keyring(file))
        await opened.open()
        yield opened


@pytest.fixture
def rotation(sealing: SealingKeys, monkeypatch: pytest.MonkeyPatch) -> KeyRotation:
    monkeypatch.setattr(rewrapping, "PIECE", 4)
    monkeypatch.setattr(key_rotation, "READERS_S", 0.01)
    return KeyRotation(sealing)


async def rewrapped(rotation: KeyRotation) -> Rewrapped:
    async for _last in rotation.rewrap(BY):
        pass
    return _last


async def activated(rotation: KeyRotation) -> str:
    return (await rotation.activate((await rotation.add(BY)).id, BY)).id


def in_file(file: Path) -> list[tuple[str, KeyState]]:
    keyring = Keyring(file)
    keyring.open(make=False)
    return [(key.id, key.state) for key in keyring.keys]


async def test_two_rewraps_at_once_share_the_work(sealing: SealingKeys, rotation: KeyRotation) -> None:
    for number in range(11):
        await write(sealing, f"ctx-{number:02}", b"%d" % number)
    new = await activated(rotation)
    first, second = await asyncio.gather(rewrapped(rotation), rewrapped(rotation))
    assert first.done + second.done == 11
    assert await keys_in_use(sealing.store) == {new}
    assert [await read(sealing, f"ctx-{number:02}") for number in range(11)] == [b"%d" % one for one in range(11)]


async def test_changes_of_the_keys_at_once_leave_the_file_and_the_memory_alike(
    sealing: SealingKeys, rotation: KeyRotation, file: Path
) -> None:
    known = [sealing.keys.active, *[(await rotation.add(BY)).id for _ in range(3)]]
    changes: list[Any] = [*(rotation.activate(key_id, BY) for key_id in known), *(rotation.add(BY) for _ in range(4))]
    await asyncio.gather(*changes)
    told = [(key.id, key.state) for key in (await rotation.keys()).keys]
    assert len(told) == 8
    assert await asyncio.to_thread(in_file, file) == told


async def test_a_key_that_is_activated_again_while_it_is_retired_stays(
    sealing: SealingKeys, rotation: KeyRotation
) -> None:
    old = sealing.keys.active
    await activated(rotation)
    retiring, activating = (
        asyncio.create_task(rotation.retire(old, BY)),
        asyncio.create_task(rotation.activate(old, BY)),
    )
    await asyncio.wait((retiring, activating))
    assert isinstance(activating.exception(), FailedPrecondition), "it came second"
    assert retiring.exception() is None
    await write(sealing, "ctx")
    assert await read(sealing, "ctx") == b"canary"


async def test_the_first_to_seal_under_a_key_does_not_bring_it_back_once_it_is_retired(
    sealing: SealingKeys, rotation: KeyRotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next start would want a key that is gone."""
    old, reached, go_on = sealing.keys.active, asyncio.Event(), asyncio.Event()
    proof = sealing.keys.proof

    async def held(key_id: str) -> bytes:
        reached.set()
        await go_on.wait()
        return await proof(key_id)

    monkeypatch.setattr(sealing.keys, "proof", held)
    sealed = asyncio.create_task(staged(sealing, "late", b"late"))
    await reached.wait()
    await activated(rotation)
    retiring = asyncio.create_task(rotation.retire(old, BY))
    go_on.set()
    await retiring
    with pytest.raises(ConflictError):
        await (await sealed).commit()
    await write(sealing, "late", b"late")
    assert sealing.admitted == {sealing.keys.active}
    await sealing_keys(sealing.store, sealing.keys).open()


async def test_a_keyring_that_is_lost_after_a_rotation_is_not_made_again(
    sealing: SealingKeys, rotation: KeyRotation, file: Path
) -> None:
    """Nothing is sealed under the new key but what was rewrapped."""
    await write(sealing, "ctx")
    old, new = sealing.keys.active, await activated(rotation)
    await rewrapped(rotation)
    await rotation.retire(old, BY)
    await asyncio.to_thread(file.unlink)
    with pytest.raises(StartupError, match="no such file; restore it"):
        await sealing_keys(sealing.store, Keyring(file)).open()
    assert await keys_in_use(sealing.store) == {new}


async def test_a_keyring_that_cannot_be_written_is_left_as_it_was(
    sealing: SealingKeys, rotation: KeyRotation, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await asyncio.to_thread(in_file, file)
    opened = os.open

    def read_only(path: Any, flags: int, *more: Any, **given: Any) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(file.parent)):
            raise OSError(30, "Read-only file system", str(path))
        return opened(path, flags, *more, **given)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        with pytest.raises(FailedPrecondition) as refused:
            await rotation.add(BY)
    assert refused.value.type == "KEYRING"
    assert "cannot be changed (Read-only file system)" in refused.value.message
    assert [(key.id, key.state) for key in (await rotation.keys()).keys] == before
    await write(sealing, "ctx")


@pytest.mark.parametrize("fault", ["gone", "another's", "open to others"])
async def test_a_keyring_that_was_taken_meanwhile_is_not_changed(
    sealing: SealingKeys, rotation: KeyRotation, file: Path, fault: str
) -> None:
    def take() -> None:
        if fault == "gone":
            file.rename(file.with_name("elsewhere"))
        elif fault == "another's":
            file.unlink()
            Keyring(file).open(make=True)
        else:
            file.chmod(0o644)

    active = sealing.keys.active
    await asyncio.to_thread(take)
    says = {"gone": "no such file", "another's": f"lacks the key {active}", "open to others": "chmod 600"}[fault]
    for change in (rotation.add(BY), rotation.activate(active, BY)):
        with pytest.raises(FailedPrecondition, match=says):
            await change
    assert sealing.keys.active == active
    await write(sealing, "ctx")


async def test_a_retirement_whose_keyring_cannot_be_changed_leaves_the_key_as_it_was(
    sealing: SealingKeys, rotation: KeyRotation, file: Path
) -> None:
    await write(sealing, "ctx")
    old = sealing.keys.active
    await activated(rotation)
    await rewrapped(rotation)
    await asyncio.to_thread(file.rename, file.with_name("elsewhere"))
    with pytest.raises(FailedPrecondition, match="no such file"):
        await rotation.retire(old, BY)
    await asyncio.to_thread(file.with_name("elsewhere").rename, file)
    await rotation.activate(old, BY)
    await write(sealing, "again")
    assert await read(sealing, "again") == b"canary"


def damaged(database: Path, text: bytes) -> None:
    """Change every copy of a text in the file, so that checksums do not fit."""
    data = database.read_bytes()
    assert text in data
    database.write_bytes(data.replace(text, bytes([text[0] ^ 1]) + text[1:]))


@pytest.mark.parametrize("what", ["record", "row"])
async def test_what_is_damaged_in_the_file_holds_up_no_other(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_rotation, "READERS_S", 0.01)
    keys = Keyring(None)
    async with SqliteStore(tmp_path / "data") as store:
        sealing = sealing_keys(store, keys)
        for number in range(7):
            await write(sealing, f"ctx-{number}", b"canary")
        record = await store.record(SEALED, "ExecutionContext/ctx-3")
        row = await store.get("ExecutionContext", "ctx-3")
    assert record is not None
    assert row is not None
    text = record.value if what == "record" else row.data
    await asyncio.to_thread(damaged, tmp_path / "data" / FILE_NAME, text)
    async with SqliteStore(tmp_path / "data") as store:
        sealing = sealing_keys(store, keys)
        await sealing.open()
        rotation, old = KeyRotation(sealing), keys.active
        new = await activated(rotation)
        assert await rewrapped(rotation) == Rewrapped(6, 6 if what == "record" else 7, 1)
        counted, unreadable = await rotation.keys()
        assert {key.id: key.resources for key in counted} == {old: 0 if what == "record" else 1, new: 6}
        assert unreadable == (1 if what == "record" else 0)


async def test_nothing_is_done_to_the_keys_that_the_audit_cannot_tell_of(
    sealing: SealingKeys, rotation: KeyRotation, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_given: object, **_named: object) -> None:
        raise StoreUnavailableError("disk full")

    await write(sealing, "ctx")
    new = (await rotation.add(BY)).id
    before = await asyncio.to_thread(in_file, file)
    with monkeypatch.context() as patch:
        patch.setattr(sealing.store, "commit", full)
        for change in (rotation.add(BY), rotation.activate(new, BY), rewrapped(rotation), rotation.retire(new, BY)):
            with pytest.raises(StoreUnavailableError):
                await change
    assert await asyncio.to_thread(in_file, file) == before
    assert [(key.id, key.state) for key in (await rotation.keys()).keys] == before
