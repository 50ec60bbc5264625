"""Transactions that join one another: merging, dropping, sealing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store_rows import CHILDREN, changed, child, created, ids, row, updating

from stigmer.store.errors import ConflictError
from stigmer.store.transaction import Transaction

if TYPE_CHECKING:
    from stigmer.store.contract import Store
    from stigmer.store.rows import Row


async def read(tx: Transaction, id_: str) -> Row:
    found = await tx.get("Thing", id_)
    assert found is not None
    return found


async def test_a_merged_transaction_commits_with_its_parent(store: Store) -> None:
    outer = Transaction(store)
    nested = Transaction(store, outer)
    nested.create(row("a"))
    nested.merge()
    assert nested.ended
    assert (await read(outer, "a")).id == "a"
    assert await ids(store) == []
    await outer.commit()
    assert await ids(store) == ["a"]


async def test_a_transaction_that_is_not_merged_leaves_nothing(store: Store) -> None:
    outer = Transaction(store)
    outer.create(row("a"))
    nested = Transaction(store, outer)
    nested.update(changed(await read(nested, "a"), b"dropped"))
    nested.create(row("b"))
    nested.end()
    assert (await read(outer, "a")).data == b"first"
    assert await outer.get("Thing", "b") is None
    await outer.commit()
    assert await ids(store) == ["a"]


async def test_the_outermost_transaction_has_nobody_to_merge_with(store: Store) -> None:
    assert not Transaction(store).merge()


async def test_nothing_is_merged_into_a_transaction_that_has_ended(store: Store) -> None:
    outer = Transaction(store)
    nested = Transaction(store, outer)
    nested.create(row("a"))
    await outer.commit()
    assert not nested.merge()
    assert await ids(store) == []


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("updated", [(), (0,), (1,), (2,), (0, 1), (0, 1, 2), (1, 2)])
async def test_a_staged_creation_is_deleted_at_any_depth_whoever_updated_it(
    store: Store, depth: int, updated: tuple[int, ...]
) -> None:
    outer = Transaction(store)
    outer.create(row("a"))
    chain = [outer]
    for level in range(depth + 1):
        if level:
            chain.append(Transaction(store, chain[-1]))
        if level in updated:
            chain[level].update(changed(await read(chain[level], "a"), b"updated"))
    chain[depth].delete(await read(chain[depth], "a"))
    assert await chain[depth].get("Thing", "a") is None
    for tx in reversed(chain[1:]):
        tx.merge()
    assert await outer.get("Thing", "a") is None
    assert list(await outer.commit()) == []


async def test_a_deletion_is_kept_when_the_row_is_made_and_deleted_above_it(store: Store) -> None:
    outer = Transaction(store)
    await created(store, row("a"))
    outer.delete(await read(outer, "a"))
    nested = Transaction(store, outer)
    nested.create(row("a"))
    nested.delete(await read(nested, "a"))
    nested.merge()
    await outer.commit()
    assert await ids(store) == []


async def test_a_row_is_deleted_below_and_made_again_above(store: Store) -> None:
    outer = Transaction(store)
    await created(store, row("a"))
    outer.delete(await read(outer, "a"))
    nested = Transaction(store, outer)
    assert await nested.by_slug("Thing", "a", "") is None
    nested.create(row("a", data=b"again"))
    nested.merge()
    assert (await read(outer, "a")).data == b"again"
    await outer.commit()
    assert (await read(Transaction(store), "a")).data == b"again"


async def test_a_deletion_above_takes_an_update_below_and_its_revision_counts(store: Store) -> None:
    outer = Transaction(store)
    (one,) = await created(store, row("a"))
    outer.update(changed(await read(outer, "a"), b"second"))
    nested = Transaction(store, outer)
    nested.delete(await read(nested, "a"))
    nested.merge()
    await store.commit(updating(changed(one, b"by another")))
    with pytest.raises(ConflictError):
        await outer.commit()


async def test_dependents_deleted_above_are_gone_below(store: Store) -> None:
    outer = Transaction(store)
    await created(store, child("c1", "p"))
    outer.create(child("c2", "p"))
    nested = Transaction(store, outer)
    await nested.delete_dependents((CHILDREN,), "p")
    nested.merge()
    assert await outer.get("Child", "c1") is await outer.get("Child", "c2") is None
    outer.create(child("c2", "q"))
    await outer.commit()
    assert await ids(store, kind="Child") == ["c2"]


async def test_writes_before_and_after_a_merge_are_in_order(store: Store) -> None:
    outer = Transaction(store)
    outer.create(row("a", data=b"1"))
    nested = Transaction(store, outer)
    nested.update(changed(await read(nested, "a"), b"2"))
    nested.merge()
    assert (await read(outer, "a")).data == b"2"
    outer.update(changed(await read(outer, "a"), b"3"))
    assert (await read(outer, "a")).data == b"3"
    (change,) = await outer.commit()
    assert change.row is not None
    assert change.row.data == b"3"


async def test_rows_staged_in_several_transactions_are_listed_in_the_order_of_their_staging(store: Store) -> None:
    outer = Transaction(store)
    outer.create(row("a"))
    nested = Transaction(store, outer)
    nested.create(row("b"))
    nested.merge()
    outer.create(row("c"))
    await outer.commit()
    assert await ids(store) == ["c", "b", "a"]


async def test_what_undoes_a_failed_run_is_kept_in_order(store: Store) -> None:
    outer = Transaction(store)
    undone: list[str] = []

    async def undo(name: str) -> None:
        undone.append(name)

    outer.on_failure(lambda: undo("first"))
    nested = Transaction(store, outer)
    nested.on_failure(lambda: undo("second"))
    nested.merge()
    for action in outer.take_undo():
        await action()
    assert not outer.take_undo()
    assert undone == ["first", "second"]
