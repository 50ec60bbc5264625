"""The audit is signed while there is activity, and cut off when it is old; checkpoints are exported to a file."""

from __future__ import annotations

import asyncio
import stat
import time
from typing import TYPE_CHECKING

import pytest
from audited import count, events
from sealed_rows import sealing_keys

from stigmer.errors import StartupError
from stigmer.pipeline.audit import counts, upkeep
from stigmer.pipeline.audit.keys import AuditKeys
from stigmer.pipeline.audit.trail import Trail
from stigmer.pipeline.audit.upkeep import Upkeep
from stigmer.pipeline.audit.verifying import Broken, verify
from stigmer.secrets.audit import LOG, Event, Op
from stigmer.secrets.checkpoints import Checkpoint
from stigmer.store.changes import Append, Changes
from stigmer.store.errors import StoreUnavailableError
from stigmer.store.memory import MemoryStore
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from stigmer.store.contract import Store

DAY_MS = 24 * 3600 * 1000
DAYS = 100


@pytest.fixture(params=["sqlite", "memory"])
async def trail(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Trail]:
    async with MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "data") as store:
        sealing = sealing_keys(store)
        await sealing.open()
        yield Trail(sealing)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def of(*ages_days: float) -> list[Event]:
    now = time.time_ns() // 1_000_000
    return [Event(Op.READ, "ada", id=f"{age}", at_ms=round(now - age * DAY_MS)) for age in ages_days]


def exported(file: Path) -> list[Checkpoint]:
    return [Checkpoint.of(line) for line in file.read_bytes().splitlines()]


def mode_of(file: Path) -> int | None:
    return stat.S_IMODE(file.stat().st_mode) if file.exists() else None


async def numbers(store: Store) -> list[int]:
    return [entry.number for entry in await store.log(LOG)]


async def test_what_happened_since_the_last_checkpoint_is_signed_once(trail: Trail, file: Path) -> None:
    kept = Upkeep(trail, file, DAYS)
    await kept.sign()
    assert await count(trail.store) == 0
    assert mode_of(file) is None
    await trail.append(*of(0, 0))
    for _ in range(3):
        await kept.sign()
    await trail.append(*of(0))
    await asyncio.gather(kept.sign(), kept.sign())
    assert [event.op for event in await events(trail.store)] == [
        Op.READ,
        Op.READ,
        Op.CHECKPOINT,
        Op.READ,
        Op.CHECKPOINT,
    ]
    key = (await trail.keys.get()).signer.key
    found = await verify(trail.store, exported=exported(file), key=key)
    assert (found.checkpoints, found.exported, found.signed, found.last) == (2, 2, 4, 5)
    assert mode_of(file) == 0o600


async def test_the_keys_are_the_same_after_a_restart(trail: Trail) -> None:
    before = await trail.keys.get()
    made = await asyncio.gather(*(AuditKeys(trail.keys._sealing).get() for _ in range(5)))
    assert {(one.hashing, one.signer.key) for one in made} == {(before.hashing, before.signer.key)}


async def test_keys_that_several_ask_for_at_once_are_made_once(trail: Trail) -> None:
    made = await asyncio.gather(*(AuditKeys(trail.keys._sealing).get() for _ in range(5)))
    assert len({one.hashing for one in made}) == 1


async def test_what_is_too_old_is_cut_off_behind_a_signed_cut(
    trail: Trail, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PIECE", 3)
    kept = Upkeep(trail, file, DAYS)
    await trail.append(*of(*(200 - n for n in range(7)), 99, 98))
    await kept.cut()
    assert await numbers(trail.store) == [8, 9, 10, 11]
    assert [event.op for event in await events(trail.store)] == [Op.READ, Op.READ, Op.CHECKPOINT, Op.CUT]
    await kept.sign()
    key = (await trail.keys.get()).signer.key
    found = await verify(trail.store, exported=exported(file), key=key)
    assert (found.first, found.last, found.signed) == (8, 12, 11)
    await kept.cut()
    assert await count(trail.store) == 12


async def test_a_cut_that_is_interrupted_leaves_what_verifies_and_is_gone_on_with(
    trail: Trail, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PIECE", 3)
    await trail.append(*of(*(200 - n for n in range(9)), 1))
    commit, trims = trail.store.commit, 0

    async def cut_off(changes: Changes, *, dry_run: bool = False) -> object:
        nonlocal trims
        trims += bool(changes.trims)
        if trims == 2:
            raise StoreUnavailableError("the disk is full")
        return await commit(changes, dry_run=dry_run)

    kept = Upkeep(trail, file, DAYS)
    with monkeypatch.context() as patch:
        patch.setattr(trail.store, "commit", cut_off)
        with pytest.raises(StoreUnavailableError):
            await kept.cut()
    assert (await numbers(trail.store))[0] == 4
    key = (await trail.keys.get()).signer.key
    assert (await verify(trail.store, exported=exported(file), key=key)).first == 4
    await kept.cut()
    assert (await numbers(trail.store))[0] == 10
    assert (await verify(trail.store, exported=exported(file), key=key)).first == 10


async def test_a_log_of_old_entries_alone_keeps_its_last_one(trail: Trail) -> None:
    await trail.append(*of(300, 299, 298))
    await Upkeep(trail, None, DAYS).cut()
    assert (await numbers(trail.store))[0] == 3
    await trail.append(*of(0))
    await Upkeep(trail, None, DAYS).sign()
    await verify(trail.store, key=(await trail.keys.get()).signer.key)


async def test_what_is_no_record_is_not_cut_off(trail: Trail) -> None:
    await trail.store.commit(Changes(appends=[Append(LOG, b"?")]))
    await trail.append(*of(300, 1))
    await Upkeep(trail, None, DAYS).cut()
    assert (await numbers(trail.store))[0] == 1
    with pytest.raises(Broken, match="audit entry 1: it is no record"):
        await verify(trail.store)


async def test_a_file_that_cannot_be_written_fails_the_start_and_later_no_checkpoint(
    trail: Trail, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = tmp_path / "missing" / "checkpoints"
    kept = Upkeep(trail, nowhere, DAYS)
    with pytest.raises(StartupError, match="checkpoints of the audit cannot be written there"):
        await kept.open()
    await trail.append(*of(0))
    await kept.sign()
    assert [event.op for event in await events(trail.store)] == [Op.READ, Op.CHECKPOINT]
    assert "could not be exported" in caplog.text
    nowhere.parent.mkdir()
    await kept.open()
    await trail.append(*of(0))
    await kept.sign()
    assert [one.number for one in exported(nowhere)] == [3]


async def test_a_start_on_a_log_that_lacks_what_was_exported_says_so(
    trail: Trail, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Upkeep(trail, file, DAYS)
    await trail.append(*of(200, 0))
    await kept.sign()
    await kept.cut()
    await kept.open()
    assert "not the one that was exported" not in caplog.text
    async with MemoryStore() as restored:
        other = Trail(sealing_keys(restored))
        await other.append(*of(200))
        await Upkeep(other, file, DAYS).open()
    assert "not the one that was exported" in caplog.text


async def test_counts_take_a_bounded_number_of_callers_and_are_written_in_pieces(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "MOST", 10)
    monkeypatch.setattr(counts, "PIECE", 4)
    monkeypatch.setattr("stigmer.pipeline.audit.counts.time.time_ns", lambda: 90 * 1_000_000_000)
    for number in range(40):
        trail.unauthenticated(
            "/ai.stigmer.agentic.environment.v1.EnvironmentQueryController/get", f"10.0.0.{number % 20}"
        )
    trail.unauthenticated("/ai.stigmer.agentic.session.v1.SessionQueryController/get", "10.0.0.1")
    trail.unauthenticated("/grpc.health.v1.Health/Check", "10.0.0.1")
    await trail.counts.write()
    told = await events(trail.store)
    assert len(told) == 11
    assert sum(event.count for event in told) == 40
    assert {(event.op, event.kind, event.code, event.at_ms) for event in told} == {
        (Op.UNAUTHENTICATED, "Environment", "UNAUTHENTICATED", 60_000)
    }
    assert [event.count for event in told if not event.peer] == [20]
    await trail.counts.write()
    assert await count(trail.store) == 11


async def test_counts_that_cannot_be_written_are_kept(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(_changes: Changes, *, dry_run: bool = False) -> object:
        raise StoreUnavailableError(f"the disk is full{dry_run}")

    trail.unauthenticated("/ai.stigmer.agentic.environment.v1.EnvironmentQueryController/get", "::1")
    kept = Upkeep(trail, None, DAYS)
    with monkeypatch.context() as patch:
        patch.setattr(trail.store, "commit", failing)
        with pytest.raises(StoreUnavailableError):
            await kept.sign()
    await Upkeep(trail, None, DAYS).sign()
    assert [(event.op, event.count) for event in await events(trail.store)] == [
        (Op.UNAUTHENTICATED, 1),
        (Op.CHECKPOINT, 0),
    ]
