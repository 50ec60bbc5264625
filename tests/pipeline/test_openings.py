"""What was opened is held as ciphertext and key, never as a value: for one record alone, bounded, gone with its row."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sealed_rows import KINDS, context_row, sealing_keys, write

from stigmer.errors import DataLoss
from stigmer.pipeline import openings
from stigmer.pipeline.audit.trail import Trail
from stigmer.pipeline.openings import Openings
from stigmer.secrets import template
from stigmer.store.changes import Changes, Put, Remove
from stigmer.store.memory import MemoryStore
from stigmer.store.rows import sealed_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from stigmer.pipeline.sealing_keys import SealingKeys
    from stigmer.store.rows import Row


@pytest.fixture
async def sealing() -> AsyncGenerator[SealingKeys]:
    async with MemoryStore() as store:
        keys = sealing_keys(store)
        await keys.open()
        yield keys


@pytest.fixture
def opened(sealing: SealingKeys) -> Openings:
    return Openings(sealing, Trail(sealing))


async def sealed(sealing: SealingKeys, id_: str, value: bytes = b"canary") -> tuple[Row, bytes]:
    await write(sealing, id_, value)
    row = await sealing.store.get("ExecutionContext", id_)
    record = await sealing.store.record(*sealed_key("ExecutionContext", id_))
    assert row is not None
    assert record is not None
    return row, record.value


async def value_in(opened: Openings, row: Row, record: bytes) -> str:
    data, hashes = await opened.whole(row, record)
    assert list(hashes) == ['spec.data["TOKEN"]']
    found: str = KINDS[row.kind].wire_of(replace(row, data=data)).spec.data["TOKEN"].value
    return found


def held(opened: Openings) -> int:
    return len(opened._held)


@pytest.mark.parametrize("most", [template.MOST_VALUES, 0])
async def test_a_second_opening_and_all_later_ones_give_the_same_and_ask_no_key(
    sealing: SealingKeys, opened: Openings, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(template, "MOST_VALUES", most)
    record = await sealed(sealing, "ctx-1")
    first = await opened.whole(*record)
    assert await value_in(opened, *record) == "canary"
    monkeypatch.setattr(sealing.sealer, "opening", None)
    for _ in range(3):
        assert await opened.whole(*record) == first


async def test_no_value_is_held(sealing: SealingKeys, opened: Openings) -> None:
    record = await sealed(sealing, "ctx-1", b"canary-of-openings")
    for _ in range(3):
        assert await value_in(opened, *record) == "canary-of-openings"
    reached = set[int]()
    waiting: list[object] = [*opened._held.values()]
    while waiting:
        one = waiting.pop()
        if id(one) not in reached:
            reached.add(id(one))
            assert "canary-of-openings" not in repr(one)
            waiting += gc.get_referents(one)
    assert len(reached) > 20


async def test_what_is_held_opens_in_no_other_row(sealing: SealingKeys, opened: Openings) -> None:
    row, record = await sealed(sealing, "ctx-1")
    await opened.whole(row, record)
    others = (context_row("ctx-1", "aex-2"), replace(row, owner="other"), context_row("ctx-2"))
    for other in others:
        with pytest.raises(DataLoss):
            await opened.whole(other, record)


async def test_a_record_that_was_changed_does_not_open_whatever_is_held(sealing: SealingKeys, opened: Openings) -> None:
    row, record = await sealed(sealing, "ctx-1")
    await opened.whole(row, record)
    with pytest.raises(DataLoss):
        await opened.whole(row, record[:-1] + bytes([record[-1] ^ 1]))
    assert await value_in(opened, row, record) == "canary"


async def test_a_row_that_holds_a_secret_value_is_not_shown(sealing: SealingKeys, opened: Openings) -> None:
    row, record = await sealed(sealing, "ctx-1")
    await opened.whole(row, record)
    wire = KINDS[row.kind].wire_of(row)
    wire.spec.data["TOKEN"].value = "planted"
    with pytest.raises(DataLoss):
        await opened.whole(replace(row, data=wire.SerializeToString()), record)


async def test_what_belongs_to_a_row_goes_when_the_row_changes_or_goes(sealing: SealingKeys, opened: Openings) -> None:
    store = sealing.store
    for id_ in ("ctx-1", "ctx-2"):
        await opened.whole(*await sealed(sealing, id_))
    changed = await store.get("ExecutionContext", "ctx-1")
    assert changed is not None
    await store.commit(Changes(puts=[Put(changed, changed.revision)]))
    assert held(opened) == 1
    await store.commit(Changes(removes=[Remove("ExecutionContext", "ctx-2", None)]))
    assert repr(opened) == "<Openings of 0 resources, 0 bytes>"


async def test_no_more_is_held_than_may_be(
    sealing: SealingKeys, opened: Openings, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [await sealed(sealing, f"ctx-{number}") for number in range(3)]
    sizes = [len(row.data) + len(record) + openings.OVERHEAD_BYTES for row, record in records]
    monkeypatch.setattr(openings, "HELD_BYTES", 2 * sizes[0])
    for record in records:
        await opened.whole(*record)
    assert [id_ for _, id_ in opened._held] == ["ctx-1", "ctx-2"]
    assert await value_in(opened, *records[0]) == "canary"
