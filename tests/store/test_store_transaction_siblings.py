"""Transactions that join the same one at the same time: what they hand over goes together, or the slower one loses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store_rows import CHILDREN, changed, child, created, ids, row

from stigmer.store.base import ConflictError
from stigmer.store.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stigmer.store.base import Change, Row, Store


async def commit(tx: Transaction) -> Sequence[Change]:
    layer, _ = tx.seal()
    return await tx.commit(layer)


async def read(tx: Transaction, id_: str) -> Row:
    found = await tx.get("Thing", id_)
    assert found is not None
    return found


async def pair(store: Store) -> tuple[Transaction, Transaction, Transaction]:
    """A transaction on a store with the row `a`, and two that join it at once."""
    await created(store, row("a"))
    outer = Transaction(store)
    return outer, Transaction(store, outer), Transaction(store, outer)


async def test_siblings_that_write_different_rows_both_hand_over(store: Store) -> None:
    outer, faster, slower = await pair(store)
    faster.update(changed(await read(faster, "a"), b"second"))
    slower.create(row("b"))
    slower.require("Thing", "a")
    faster.merge()
    slower.merge()
    await commit(outer)
    assert await ids(store) == ["b", "a"]
    assert (await read(Transaction(store), "a")).data == b"second"


WRITES: dict[str, Callable[[Transaction, Row], None]] = {
    "update": lambda tx, one: tx.update(changed(one, b"second")),
    "delete": lambda tx, one: tx.delete(one),
    "discard": lambda tx, one: tx.discard(one.kind, one.id),
}


@pytest.mark.parametrize("first", WRITES)
@pytest.mark.parametrize("second", WRITES)
async def test_of_two_siblings_that_write_one_row_the_slower_loses(store: Store, first: str, second: str) -> None:
    outer, faster, slower = await pair(store)
    WRITES[first](faster, await read(faster, "a"))
    WRITES[second](slower, await read(slower, "a"))
    faster.merge()
    with pytest.raises(ConflictError) as caught:
        slower.merge()
    assert caught.value.key == ("Thing", "a")
    slower.seal()
    await commit(outer)
    assert await ids(store) == (["a"] if first == "update" else [])


@pytest.mark.parametrize("same", ["id", "slug"])
async def test_of_two_siblings_that_create_one_row_the_slower_loses(store: Store, same: str) -> None:
    outer, faster, slower = await pair(store)
    faster.create(row("b", slug="s"))
    slower.create(row("b", slug="t") if same == "id" else row("c", slug="s"))
    faster.merge()
    with pytest.raises(ConflictError):
        slower.merge()
    again = Transaction(store, outer)
    assert await again.by_slug("Thing", "s", "") is not None
    again.create(row("c", slug="t"))
    again.merge()
    await commit(outer)
    assert await ids(store) == ["c", "b", "a"]


async def test_one_slug_in_two_namespaces_is_no_conflict_of_siblings(store: Store) -> None:
    outer, faster, slower = await pair(store)
    faster.create(row("b", slug="s", namespace="n"))
    slower.create(row("c", slug="s", namespace="m"))
    faster.create(row("d", slug=None))
    slower.create(row("e", slug=None))
    faster.merge()
    slower.merge()
    await commit(outer)
    assert len(await ids(store)) == 5


@pytest.mark.parametrize("first", ["relies", "deletes"])
async def test_a_sibling_does_not_delete_what_another_relies_on(store: Store, first: str) -> None:
    _, one, other = await pair(store)
    one.create(child("c", "a"))
    one.require("Thing", "a")
    other.delete(await read(other, "a"))
    await other.delete_dependents((CHILDREN,), "a")
    faster, slower = (one, other) if first == "relies" else (other, one)
    faster.merge()
    with pytest.raises(ConflictError) as caught:
        slower.merge()
    assert caught.value.key == ("Thing", "a")


async def test_a_row_that_is_made_again_may_be_relied_on(store: Store) -> None:
    outer, one, other = await pair(store)
    one.require("Thing", "a")
    other.delete(await read(other, "a"))
    other.create(row("a", data=b"again"))
    other.merge()
    one.merge()
    await commit(outer)
    assert (await read(Transaction(store), "a")).data == b"again"


async def test_what_the_outer_transaction_writes_meanwhile_counts_as_faster(store: Store) -> None:
    outer, nested, _ = await pair(store)
    nested.update(changed(await read(nested, "a"), b"second"))
    outer.update(changed(await read(outer, "a"), b"third"))
    with pytest.raises(ConflictError):
        nested.merge()
    await commit(outer)
    assert (await read(Transaction(store), "a")).data == b"third"


async def test_what_was_handed_over_before_it_began_is_no_race(store: Store) -> None:
    outer, first, _ = await pair(store)
    first.update(changed(await read(first, "a"), b"second"))
    first.merge()
    second = Transaction(store, outer)
    second.update(changed(await read(second, "a"), b"third"))
    second.merge()
    await commit(outer)
    assert (await read(Transaction(store), "a")).data == b"third"


async def test_layers_are_handed_up_while_the_parent_runs(store: Store) -> None:
    outer, nested, other = await pair(store)
    nested.create(row("b"))
    whole, _ = nested.seal()
    assert nested.hand_up([whole])
    assert not outer.hand_up([whole])
    assert (await read(outer, "b")).id == "b"
    outer.seal()
    assert not other.hand_up([])
