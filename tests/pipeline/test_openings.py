"""What was opened is held as ciphertext and key, never as a value: for one record alone, bounded, gone with its row."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from sealed_rows import TOKEN, context_row, sealing_keys, write

from stigmer.errors import DataLoss
from stigmer.pipeline import openings
from stigmer.pipeline.audit.trail import Trail
from stigmer.pipeline.openings import Openings
from stigmer.store.changes import Changes, Put, Remove
from stigmer.store.memory import MemoryStore
from stigmer.store.rows import sealed_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from stigmer.pipeline.sealing_keys import SealingKeys
    from stigmer.secrets.sealing import Binding


@pytest.fixture
async def sealing() -> AsyncGenerator[SealingKeys]:
    async with MemoryStore() as store:
        keys = sealing_keys(store)
        await keys.open()
        yield keys


@pytest.fixture
def opened(sealing: SealingKeys) -> Openings:
    return Openings(sealing.sealer, Trail(sealing), sealing.store.feed)


async def sealed(sealing: SealingKeys, id_: str, value: bytes = b"canary") -> tuple[Binding, bytes]:
    await write(sealing, id_, value)
    record = await sealing.store.record(*sealed_key("ExecutionContext", id_))
    assert record is not None
    return sealing.binding(context_row(id_)), record.value


def held(opened: Openings) -> int:
    return len(opened._held)


async def test_a_second_opening_gives_the_same_and_asks_no_key(
    sealing: SealingKeys, opened: Openings, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await sealed(sealing, "ctx-1")
    first = await opened.values(*record)
    assert first[0] == {TOKEN: b"canary"}
    monkeypatch.setattr(sealing.sealer, "opening", None)
    assert await opened.values(*record) == first


async def test_no_value_is_held(sealing: SealingKeys, opened: Openings) -> None:
    await opened.values(*await sealed(sealing, "ctx-1", b"canary-of-openings"))
    reached = set[int]()
    waiting: list[object] = [*opened._held.values()]
    while waiting:
        one = waiting.pop()
        if id(one) not in reached:
            reached.add(id(one))
            assert "canary-of-openings" not in repr(one)
            waiting += [] if isinstance(one, type) else gc.get_referents(one)


async def test_what_is_held_opens_under_no_other_binding(sealing: SealingKeys, opened: Openings) -> None:
    binding, record = await sealed(sealing, "ctx-1")
    await opened.values(binding, record)
    for other in (
        binding._replace(execution_id="aex-2"),
        binding._replace(owner="other"),
        binding._replace(id="ctx-2"),
    ):
        with pytest.raises(DataLoss):
            await opened.values(other, record)


async def test_a_record_that_was_changed_does_not_open_whatever_is_held(sealing: SealingKeys, opened: Openings) -> None:
    binding, record = await sealed(sealing, "ctx-1")
    await opened.values(binding, record)
    with pytest.raises(DataLoss):
        await opened.values(binding, record[:-1] + bytes([record[-1] ^ 1]))
    assert (await opened.values(binding, record))[0] == {TOKEN: b"canary"}


async def test_what_belongs_to_a_row_goes_when_the_row_changes_or_goes(sealing: SealingKeys, opened: Openings) -> None:
    store = sealing.store
    for id_ in ("ctx-1", "ctx-2"):
        await opened.values(*await sealed(sealing, id_))
    changed = await store.get("ExecutionContext", "ctx-1")
    assert changed is not None
    await store.commit(Changes(puts=[Put(changed, changed.revision)]))
    assert held(opened) == 1
    await store.commit(Changes(removes=[Remove("ExecutionContext", "ctx-2", None)]))
    assert repr(opened) == "<Openings of 0 records, 0 bytes>"


async def test_no_more_is_held_than_may_be(
    sealing: SealingKeys, opened: Openings, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [await sealed(sealing, f"ctx-{number}") for number in range(3)]
    monkeypatch.setattr(openings, "HELD_BYTES", 2 * (len(records[0][1]) + openings.OVERHEAD_BYTES))
    for record in records:
        await opened.values(*record)
    assert [id_ for _, id_ in opened._held] == ["ctx-1", "ctx-2"]
    assert (await opened.values(*records[0]))[0] == {TOKEN: b"canary"}
