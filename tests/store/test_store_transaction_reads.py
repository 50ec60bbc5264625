"""A transaction reads its own staged writes first, then the last commit."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from store_rows import bare, changed, child, created, creating, row, updating

from stigmer.store.errors import ConflictError
from stigmer.store.merged import Merged
from stigmer.store.rows import Query, Through, Window
from stigmer.store.sqlite import SqliteStore
from stigmer.store.transaction import Transaction

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.store.contract import Store
    from stigmer.store.rows import Page, Row


async def ids(
    tx: Transaction, *keys: tuple[str, str], kind: str = "Thing", through: Through | None = None
) -> list[str]:
    return [one.id for one in (await tx.page(Query(kind, keys, through), Window(None))).rows]


async def test_with_nothing_staged_it_reads_the_last_commit(store: Store) -> None:
    tx = Transaction(store)
    (one,) = await created(store, row("a", ("tag", "x")))
    assert bare(await tx.get("Thing", "a")) == bare(one)
    assert bare(await tx.by_slug("Thing", "a", "")) == bare(one)
    assert [bare(each) for each in await tx.by_slug_anywhere("Thing", "a")] == [bare(one)]
    assert bare(await tx.newest("Thing", "tag", "x")) == bare(one)
    assert await tx.newest("Thing", "tag", "y") is None


async def test_a_staged_creation_is_found_by_every_way(store: Store) -> None:
    tx = Transaction(store)
    await created(store, row("old", ("tag", "x"), slug="s", namespace="n"))
    tx.create(row("new", ("tag", "x"), slug="s"))
    for found in (
        await tx.get("Thing", "new"),
        await tx.by_slug("Thing", "s", ""),
        (await tx.by_slug_anywhere("Thing", "s"))[0],
        await tx.newest("Thing", "tag", "x"),
    ):
        assert found is not None
        assert found.id == "new"
    assert await ids(tx) == ["new", "old"]
    assert await ids(tx, ("tag", "x")) == ["new", "old"]
    assert await store.get("Thing", "new") is None


async def test_a_staged_update_is_found_by_its_new_keys_alone(store: Store) -> None:
    tx = Transaction(store)
    await created(store, row("a", ("tag", "old")), row("b", ("tag", "old")))
    tx.update(changed(await tx.get("Thing", "a"), b"second", ("tag", "new")))
    found = await tx.by_slug("Thing", "a", "")
    assert found is not None
    assert found.data == b"second"
    assert await ids(tx, ("tag", "old")) == ["b"]
    assert await ids(tx, ("tag", "new")) == ["a"]
    assert await ids(tx) == ["b", "a"]


async def test_a_staged_deletion_is_found_by_no_way(store: Store) -> None:
    tx = Transaction(store)
    (one, *_) = await created(store, row("a", ("tag", "x"), slug="s"), row("b", slug="s", namespace="n"))
    tx.delete(one)
    assert await tx.get("Thing", "a") is None
    assert await tx.by_slug("Thing", "s", "") is None
    assert [each.id for each in await tx.by_slug_anywhere("Thing", "s")] == ["b"]
    assert await tx.newest("Thing", "tag", "x") is None
    assert await ids(tx) == ["b"]


async def test_a_slug_anywhere_looks_past_the_rows_that_are_staged_away(store: Store) -> None:
    tx = Transaction(store)
    rows = await created(store, *(row(f"r{n}", slug="s", namespace=f"n{n}") for n in range(5)))
    for one in rows[:3]:
        tx.delete(one)
    assert [one.id for one in await tx.by_slug_anywhere("Thing", "s")] == ["r3", "r4"]
    tx.create(row("new", slug="s"))
    assert [one.id for one in await tx.by_slug_anywhere("Thing", "s")] == ["new", "r3"]


async def test_a_slug_that_changed_hands_is_its_new_holders(store: Store) -> None:
    tx = Transaction(store)
    (one,) = await created(store, row("a", slug="s"))
    tx.delete(one)
    tx.create(row("b", slug="s"))
    found = await tx.by_slug("Thing", "s", "")
    assert found is not None
    assert found.id == "b"


async def test_a_page_lays_staged_rows_over_committed_ones(store: Store) -> None:
    tx = Transaction(store)
    rows = await created(store, *(row(f"r{n}", data=b"x" * 10) for n in range(4)))
    tx.delete(rows[1])
    tx.update(changed(rows[2], b"y" * 20))
    tx.create(row("s1", data=b"z" * 10))
    tx.create(row("s2", data=b"z" * 10))

    async def page(window: Window) -> tuple[list[str], bool, int]:
        cut: Page = await tx.page(Query("Thing"), window)
        return [one.id for one in cut.rows], cut.more, cut.total

    assert await page(Window(None)) == (["s2", "s1", "r3", "r2", "r0"], False, 5)
    assert await page(Window(2)) == (["s2", "s1"], True, 5)
    assert await page(Window(2, skip=3)) == (["r2", "r0"], False, 5)
    assert await page(Window(9, before=rows[3].sequence)) == (["r2", "r0"], False, 5)
    assert await page(Window(9, budget_bytes=30)) == (["s2", "s1", "r3"], True, 5)
    assert await page(Window(9, before=rows[3].sequence, budget_bytes=1)) == (["r2"], True, 5)


async def test_a_walk_goes_on_below_a_staged_row(store: Store) -> None:
    tx = Transaction(store)
    await created(store, row("r0"))
    tx.create(row("s1"))
    tx.create(row("s2"))
    seen: list[str] = []
    before = None
    for _ in range(3):
        page = await tx.page(Query("Thing"), Window(1, before=before))
        seen += [one.id for one in page.rows]
        before = page.rows[-1].sequence
    assert seen == ["s2", "s1", "r0"]
    assert not page.more


async def test_a_join_sees_staged_holders_and_staged_children(store: Store) -> None:
    tx = Transaction(store)
    owner = ("owner", "o")
    gone, _ = await created(store, row("p1", owner), row("p2", owner))
    await created(store, child("c1", "p1"), child("c2", "p2"), child("c3", "p3"), child("direct", "o"))
    through = Through("parent", "o", "Thing", owner)
    tx.create(row("p3", owner))
    assert await ids(tx, kind="Child", through=through) == ["direct", "c3", "c2", "c1"]
    tx.delete(gone)
    tx.create(child("c4", "p3"))
    assert await ids(tx, kind="Child", through=through) == ["c4", "direct", "c3", "c2"]


async def test_staged_rows_of_other_kinds_do_not_touch_a_page(store: Store) -> None:
    tx = Transaction(store)
    await created(store, row("a"))
    tx.create(child("c", "p"))
    assert await tx.page(Query("Thing"), Window(1)) == await store.page(Query("Thing"), Window(1))


async def test_a_nested_transaction_sees_its_parents_writes_and_the_parent_not_its(store: Store) -> None:
    await created(store, row("a", slug="s"))
    outer = Transaction(store)
    middle = Transaction(store, outer)
    inner = Transaction(store, middle)
    outer.delete(await outer.get("Thing", "a") or row(""))
    outer.create(row("b", ("tag", "x"), slug="s"))
    middle.update(changed(await middle.get("Thing", "b"), b"second", ("tag", "y")))
    inner.create(row("c", ("tag", "y")))
    assert await inner.get("Thing", "a") is None
    assert await ids(inner, ("tag", "y")) == ["c", "b"]
    assert await ids(middle) == await ids(middle, ("tag", "y")) == ["b"]
    assert await ids(outer, ("tag", "x")) == ["b"]
    held = [await each.by_slug("Thing", "s", "") for each in (inner, middle, outer)]
    assert [one and one.data for one in held] == [b"second", b"second", b"first"]


async def test_it_tells_its_state(store: Store) -> None:
    tx = Transaction(store)
    tx.create(row("a"))
    assert repr(tx) == "<Transaction open, 1 rows staged>"
    nested = Transaction(store, tx)
    nested.merge()
    assert repr(nested) == "<Transaction nested, ended, 0 rows staged>"


async def test_a_page_over_staged_rows_holds_no_more_data_than_its_window(tmp_path: Path) -> None:
    """Attack: a list inside a call that had staged one row read every row that there was at once."""
    size = 100_000
    async with SqliteStore(tmp_path, cache_bytes=0) as store:
        for start in range(0, 300, 50):
            await store.commit(creating(*(row(f"r{n}", data=bytes(size)) for n in range(start, start + 50))))
        tx = Transaction(store)
        tx.create(row("new"))
        tracemalloc.start()
        try:
            page = await tx.page(Query("Thing"), Window(3))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert ([one.id for one in page.rows], page.more, page.total) == (["new", "r299", "r298"], True, 301)
        assert len(page.rows[1].data) == size
        assert peak < 120 * size  # two pieces of 3 MiB at most, where all is 300


async def test_a_row_that_changes_while_a_page_is_laid_over_is_a_conflict(store: Store) -> None:
    tx = Transaction(store)
    (one,) = await created(store, row("a"))
    tx.create(row("new"))
    whole, other = Merged._whole, iter(["b"])

    async def overtaken(merged: Merged, match: Row) -> Row:
        for data in other:
            await store.commit(updating(changed(one, data.encode())))
        return await whole(merged, match)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Merged, "_whole", overtaken)
        with pytest.raises(ConflictError):
            await tx.page(Query("Thing"), Window(3))
