"""When rows that expire were used last: kept beside them, in order, part of the same commits, gone with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from store_rows import bare, cascading, changed, child, created, creating, discarding, removing, row, together, updating

from stigmer.store.changes import Changes
from stigmer.store.errors import ConflictError
from stigmer.store.rows import Use
from stigmer.store.transaction import Transaction

if TYPE_CHECKING:
    from store_rows import Opener

    from stigmer.store.contract import Store


def using(**used_ms: int) -> Changes:
    return Changes(uses={("Thing", id_): at_ms for id_, at_ms in used_ms.items()})


def still_unused(id_: str, since_ms: int) -> Changes:
    return Changes(unused={("Thing", id_): since_ms})


async def unused(store: Store, since_ms: int = 1000, after: Use | None = None, limit: int = 100) -> list[str]:
    return [f"{one.id}@{one.used_ms}" for one in await store.unused(since_ms, after, limit)]


async def test_what_was_not_used_after_a_time_is_found_the_longest_unused_first(store: Store) -> None:
    stored = await created(store, *(row(id_) for id_ in "abcd"))
    await store.commit(using(a=30, b=10, c=20))
    assert await unused(store) == ["b@10", "c@20", "a@30"]
    assert await unused(store, 20) == ["b@10", "c@20"]
    assert await unused(store, 9) == []
    (first,) = await store.unused(1000, limit=1)
    assert first == Use(10, stored[1].sequence, "Thing", "b")


async def test_all_are_found_some_at_a_time_those_of_one_moment_too(store: Store) -> None:
    await created(store, *(row(f"r{number}") for number in range(7)))
    await store.commit(using(**{f"r{number}": 5 for number in range(7)}))
    found: list[str] = []
    last: Use | None = None
    while piece := await store.unused(5, last, 2):
        assert len(piece) <= 2
        found += [one.id for one in piece]
        last = piece[-1]
    assert found == [f"r{number}" for number in range(7)]


async def test_a_use_is_no_change_of_the_row(store: Store) -> None:
    (before,) = await created(store, row("a"))
    assert await store.commit(using(a=10)) == []
    assert bare(await store.get("Thing", "a")) == bare(before)
    await store.commit(together(updating(changed(before, b"second")), using(a=20)))
    assert await unused(store) == ["a@20"]


async def test_an_earlier_time_changes_nothing_and_nor_does_a_row_that_is_not_there(store: Store) -> None:
    await created(store, row("a"))
    await store.commit(using(a=20))
    await store.commit(using(a=10, gone=10))
    assert await unused(store) == ["a@20"]


async def test_a_row_is_noted_in_the_commit_that_makes_it(store: Store) -> None:
    await store.commit(together(creating(row("a"), row("b")), using(a=1)))
    assert await unused(store) == ["a@1"]
    with pytest.raises(ConflictError):
        await store.commit(together(creating(row("c"), row("a")), using(c=1, a=2, b=2)))
    assert await unused(store) == ["a@1"]


async def test_what_goes_takes_its_note_along_however_it_goes(store: Store) -> None:
    one, two = await created(store, row("removed"), row("discarded"))
    await created(store, child("c1", "parent"), child("c2", "parent"), child("kept", "other"))
    children = Changes(uses={("Child", id_): 3 for id_ in ("c1", "c2", "kept")})
    await store.commit(together(using(removed=1, discarded=2), children))
    await store.commit(together(removing(one), discarding("Thing", two.id), cascading("parent")))
    assert await unused(store) == ["kept@3"]
    await created(store, row("removed"))
    assert await unused(store) == ["kept@3"]


async def test_a_commit_that_requires_a_row_unused_conflicts_with_a_later_use(store: Store) -> None:
    (stored,) = await created(store, row("a"))
    await store.commit(using(a=10))
    await store.commit(still_unused("a", 10))
    await store.commit(still_unused("gone", 10))
    with pytest.raises(ConflictError) as caught:
        await store.commit(together(removing(stored), still_unused("a", 9), using(a=99)))
    assert caught.value.key == ("Thing", "a")
    assert await unused(store) == ["a@10"]
    await store.commit(together(removing(stored), still_unused("a", 10)))
    assert await store.get("Thing", "a") is None


async def test_of_a_use_and_a_removal_of_what_is_unused_that_race_one_is_first(store: Store) -> None:
    for number in range(20):
        (stored,) = await created(store, row("a"))
        await store.commit(using(a=10))
        removal = store.commit(together(removing(stored), still_unused("a", 10)))
        race = (store.commit(using(a=20)), removal) if number % 2 else (removal, store.commit(using(a=20)))
        lost = [one for one in await asyncio.gather(*race, return_exceptions=True) if isinstance(one, Exception)]
        assert all(isinstance(one, ConflictError) for one in lost)
        assert await unused(store) == (["a@20"] if lost else [])
        await store.commit(discarding("Thing", "a"))


async def test_a_transaction_stages_uses_and_takes_those_of_what_joins_it(store: Store) -> None:
    await created(store, *(row(id_) for id_ in "abc"))
    outer = Transaction(store)
    outer.use("Thing", "a", 1)
    joined, dropped = Transaction(store, outer), Transaction(store, outer)
    joined.use("Thing", "b", 2)
    joined.require_unused("Thing", "c", 5)
    dropped.use("Thing", "c", 9)
    dropped.clear()
    assert joined.merge()
    assert await unused(store) == []
    await outer.commit()
    assert await unused(store) == ["a@1", "b@2"]
    late = Transaction(store)
    late.require_unused("Thing", "b", 1)
    with pytest.raises(ConflictError):
        await late.commit()


async def test_a_trial_notes_nothing(store: Store) -> None:
    await created(store, row("a"))
    await store.commit(using(a=1), dry_run=True)
    assert await unused(store) == []


async def test_uses_are_there_when_it_is_opened_again(opener: Opener) -> None:
    async with opener() as store:
        await created(store, row("a"), row("b"))
        await store.commit(using(b=1, a=2))
    async with opener() as store:
        assert await unused(store) == ["b@1", "a@2"]
