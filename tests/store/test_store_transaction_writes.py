"""What a transaction stages, and what becomes of it at commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store_rows import CHILDREN, changed, child, created, discarding, ids, row, stored, updating

from stigmer.store.changes import Dependent
from stigmer.store.errors import ConflictError
from stigmer.store.rows import ABSENT
from stigmer.store.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stigmer.store.contract import Store
    from stigmer.store.rows import Row


async def read(tx: Transaction, id_: str, kind: str = "Thing") -> Row:
    found = await tx.get(kind, id_)
    assert found is not None
    return found


async def test_nothing_staged_commits_nothing(store: Store) -> None:
    tx = Transaction(store)
    assert list(await tx.commit()) == []


async def test_nothing_is_written_before_the_commit(store: Store) -> None:
    tx = Transaction(store)
    tx.create(row("a"))
    assert await ids(store) == []
    await tx.commit()
    assert await ids(store) == ["a"]


async def test_a_staged_creation_is_updated(store: Store) -> None:
    tx = Transaction(store)
    tx.create(row("a", ("tag", "old")))
    tx.update(changed(await read(tx, "a"), b"second", ("tag", "new")))
    assert stored(await tx.commit()).data == b"second"
    assert await ids(store, ("tag", "new")) == ["a"]
    assert await ids(store, ("tag", "old")) == []


async def test_a_staged_creation_is_deleted(store: Store) -> None:
    tx = Transaction(store)
    tx.create(row("a"))
    tx.delete(await read(tx, "a"))
    assert await tx.get("Thing", "a") is None
    assert list(await tx.commit()) == []


async def test_a_committed_row_is_updated_twice_then_deleted(store: Store) -> None:
    tx = Transaction(store)
    await created(store, row("a"))
    tx.update(changed(await read(tx, "a"), b"second"))
    tx.update(changed(await read(tx, "a"), b"third"))
    assert (await read(tx, "a")).data == b"third"
    tx.delete(await read(tx, "a"))
    (change,) = await tx.commit()
    assert (change.id, change.row) == ("a", None)


async def test_a_row_is_deleted_and_made_again_with_its_id_and_slug(store: Store) -> None:
    tx = Transaction(store)
    (first,) = await created(store, row("a", ("tag", "old"), slug="s"))
    tx.delete(await read(tx, "a"))
    tx.create(row("a", ("tag", "new"), slug="s"))
    tx.update(changed(await read(tx, "a"), b"again", ("tag", "new")))
    await tx.commit()
    found = await store.by_slug("Thing", "s", "")
    assert found is not None
    assert (found.data, found.sequence > first.sequence) == (b"again", True)
    assert await ids(store, ("tag", "old")) == []


async def test_a_row_that_was_made_again_is_deleted_for_good(store: Store) -> None:
    tx = Transaction(store)
    await created(store, row("a"))
    for _ in range(2):
        tx.delete(await read(tx, "a"))
        tx.create(row("a"))
    tx.delete(await read(tx, "a"))
    assert await tx.get("Thing", "a") is None
    await tx.commit()
    assert await store.get("Thing", "a") is None


async def test_a_discard_takes_what_is_staged_and_what_is_stored(store: Store) -> None:
    tx = Transaction(store)
    (one,) = await created(store, row("stored"))
    tx.update(changed(await read(tx, "stored"), b"second"))
    tx.create(row("staged"))
    for id_ in ("stored", "staged", "nowhere"):
        tx.discard("Thing", id_)
        assert await tx.get("Thing", id_) is None
    await store.commit(updating(changed(one, b"by another")))
    assert [change.id for change in await tx.commit()] == ["stored"]
    assert await ids(store) == []


@pytest.mark.parametrize("write", ["update", "delete"])
async def test_a_row_that_changed_since_it_was_read_is_a_conflict(store: Store, write: str) -> None:
    tx = Transaction(store)
    await created(store, row("a"))
    one = await read(tx, "a")
    await store.commit(updating(changed(one, b"by another")))
    tx.update(changed(one, b"lost")) if write == "update" else tx.delete(one)
    with pytest.raises(ConflictError):
        await tx.commit()
    assert (await read(Transaction(store), "a")).data == b"by another"


async def test_a_row_made_by_another_meanwhile_is_a_conflict(store: Store) -> None:
    tx = Transaction(store)
    tx.create(row("a"))
    await created(store, row("a"))
    with pytest.raises(ConflictError):
        await tx.commit()


async def test_dependents_go_with_their_row_staged_and_stored_and_later_ones(store: Store) -> None:
    tx = Transaction(store)
    await created(store, row("p"), child("c1", "p"), child("g1", "c1", "Grandchild"), child("other", "q"))
    tx.create(child("c2", "p"))
    tx.create(child("g2", "c1", "Grandchild"))
    tx.create(child("g3", "c2", "Grandchild"))
    tx.update(changed(await read(tx, "c1", "Child"), b"second", ("parent", "p")))
    tx.delete(await read(tx, "p"))
    await tx.delete_dependents((CHILDREN,), "p")
    for kind, id_ in (("Child", "c1"), ("Child", "c2"), *(("Grandchild", f"g{n}") for n in (1, 2, 3))):
        assert await tx.get(kind, id_) is None
    await created(store, child("late", "p"), child("g4", "late", "Grandchild"), child("g5", "c1", "Grandchild"))
    await tx.commit()
    assert await ids(store, kind="Child") == ["other"]
    assert await ids(store, kind="Grandchild") == []


@pytest.mark.parametrize("joined", [True, False])
async def test_what_is_made_and_goes_within_one_transaction_leaves_no_record(store: Store, *, joined: bool) -> None:
    children = Dependent("Child", "parent", records=("beside",))
    outer = Transaction(store)
    outer.create(child("c", "p"))
    outer.put_record("beside", "c", b"gone")
    outer.put_record("beside", "other", b"kept")
    tx = Transaction(store, outer) if joined else outer
    await tx.delete_dependents((children,), "p")
    assert await tx.record("beside", "c") is None
    if joined:
        assert tx.merge()
    await outer.commit()
    assert await ids(store, kind="Child") == []
    assert [one.key for one in await store.records("beside")] == ["other"]


async def test_dependents_are_found_by_their_ids_alone_in_one_read_a_level(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, list[str]]] = []
    holders = store.holders

    async def counted(kind: str, field: str, values: Iterable[str]) -> Sequence[str]:
        asked.append((kind, sorted(values)))
        return await holders(kind, field, values)

    monkeypatch.setattr(store, "holders", counted)
    monkeypatch.setattr(store, "page", None)
    tx = Transaction(store)
    await created(store, *(child(f"c{n}", "p") for n in range(3)), child("g", "c1", "Grandchild"))
    tx.create(child("c3", "p"))
    await tx.delete_dependents((CHILDREN,), "p")
    await tx.delete_dependents((CHILDREN,), "none")
    assert asked == [("Child", ["p"]), ("Grandchild", ["c0", "c1", "c2", "c3"]), ("Child", ["none"])]


async def test_dependents_made_after_the_deletion_stay(store: Store) -> None:
    tx = Transaction(store)
    await created(store, child("c1", "p"))
    await tx.delete_dependents((CHILDREN,), "p")
    tx.create(child("c2", "p"))
    await tx.commit()
    assert await ids(store, kind="Child") == ["c2"]


async def test_a_dependent_that_was_deleted_before_its_parent_is_no_conflict(store: Store) -> None:
    tx = Transaction(store)
    await created(store, row("p"), child("c", "p"), child("g", "c", "Grandchild"))
    tx.delete(await read(tx, "c", "Child"))
    tx.delete(await read(tx, "p"))
    await tx.delete_dependents((CHILDREN,), "p")
    await tx.commit()
    assert await ids(store) == await ids(store, kind="Child") == []


async def test_a_dependent_that_was_moved_before_the_deletion_stays(store: Store) -> None:
    tx = Transaction(store)
    await created(store, child("c", "p"))
    tx.update(changed(await read(tx, "c", "Child"), b"second", ("parent", "q")))
    await tx.delete_dependents((CHILDREN,), "p")
    await tx.commit()
    assert await ids(store, ("parent", "q"), kind="Child") == ["c"]


async def test_a_required_row_that_goes_meanwhile_is_a_conflict(store: Store) -> None:
    tx = Transaction(store)
    await created(store, row("p"))
    tx.create(child("c", "p"))
    tx.require("Thing", "p")
    await store.commit(discarding("Thing", "p"))
    with pytest.raises(ConflictError) as caught:
        await tx.commit()
    assert caught.value.key == ("Thing", "p")
    assert await ids(store, kind="Child") == []


async def test_a_required_row_may_be_made_by_the_same_transaction(store: Store) -> None:
    tx = Transaction(store)
    tx.require("Thing", "p")
    tx.create(row("p"))
    await tx.commit()
    assert await ids(store) == ["p"]


@pytest.mark.parametrize("where", ["stored", "staged"])
async def test_a_row_that_was_relied_upon_may_be_deleted_by_the_same_transaction(store: Store, where: str) -> None:
    tx = Transaction(store)
    if where == "stored":
        await created(store, row("p"))
    else:
        tx.create(row("p"))
    tx.require("Thing", "p")
    nested = Transaction(store, tx)
    nested.require("Thing", "p")
    nested.delete(await read(nested, "p"))
    nested.merge()
    await tx.commit()
    assert await ids(store) == []


async def test_what_follows_a_commit_runs_in_order_and_after_a_conflict_not(store: Store) -> None:
    done: list[str] = []
    tx = Transaction(store)
    tx.after_commit(lambda: done.append("first"))
    nested = Transaction(store, tx)
    nested.after_commit(lambda: done.append("second"))
    nested.merge()
    dropped = Transaction(store, tx)
    dropped.after_commit(lambda: done.append("dropped"))
    tx.after_commit(lambda: done.append("third"))
    tx.create(row("a"))
    await tx.commit()
    assert done == ["first", "second", "third"]
    late = Transaction(store)
    late.after_commit(lambda: done.append("never"))
    late.create(row("a"))
    with pytest.raises(ConflictError):
        await late.commit()
    assert "never" not in done


async def test_a_provisional_sequence_is_replaced_at_commit(store: Store) -> None:
    tx = Transaction(store)
    (before,) = await created(store, row("a"))
    tx.create(row("b"))
    staged = await read(tx, "b")
    assert (staged.revision, staged.sequence > before.sequence) == (ABSENT, True)
    made = stored(await tx.commit())
    assert staged.sequence > made.sequence > before.sequence
