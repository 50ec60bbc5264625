"""What every store checks and promises at commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_rows import (
    CHILDREN,
    bare,
    cascading,
    changed,
    child,
    conflict,
    created,
    creating,
    discarding,
    ids,
    removing,
    requiring,
    row,
    stored,
    together,
    updating,
)

from stigmer.store.changes import Changes, Require
from stigmer.store.rows import ABSENT, Query, Window

if TYPE_CHECKING:
    from stigmer.store.contract import Store


async def test_a_commit_answers_the_row_with_its_revision_and_sequence(store: Store) -> None:
    (change,) = await store.commit(creating(row("a", ("tag", "x"))))
    assert change.row is not None
    assert change.revision == change.row.revision > ABSENT
    assert change.row.sequence > 0
    assert change.row.keys == (("tag", "x"),)


async def test_nothing_to_commit_is_no_change(store: Store) -> None:
    assert list(await store.commit(Changes())) == []


async def test_revisions_grow_over_the_whole_store(store: Store) -> None:
    first, second = await created(store, row("a"), row("b", kind="Other"))
    third = stored(await store.commit(updating(changed(first, b"second"))))
    (gone,) = await store.commit(removing(second))
    fourth, fifth = await store.commit(creating(row("c"), row("d")))
    revisions = [first.revision, second.revision, third.revision, gone.revision, fourth.revision, fifth.revision]
    assert revisions == sorted(set(revisions))


async def test_a_failed_commit_leaves_the_next_revision_greater_than_all_before(store: Store) -> None:
    (first,) = await created(store, row("a"))
    await conflict(store, creating(row("b"), row("a")))
    (second,) = await created(store, row("c"))
    assert second.revision > first.revision


async def test_an_update_keeps_sequence_slug_namespace_and_creator(store: Store) -> None:
    (first,) = await created(store, row("a", slug="s", namespace="n"))
    await created(store, row("b"))
    second = stored(await store.commit(updating(changed(first, b"second"))))
    assert (second.sequence, second.data) == (first.sequence, b"second")
    found = await store.by_slug("Thing", "s", "n")
    assert found is not None
    assert (found.sequence, found.data, found.created_by) == (first.sequence, b"second", "tester")


async def test_a_creation_sequence_is_never_given_again(store: Store) -> None:
    (first,) = await created(store, row("a"))
    await store.commit(removing(first))
    (second,) = await created(store, row("a"))
    assert second.sequence > first.sequence


async def test_a_row_that_must_be_absent_is_there(store: Store) -> None:
    await created(store, row("a", slug="s"))
    assert await conflict(store, creating(row("a", slug="other"))) == ("Thing", "a")
    assert await ids(store) == ["a"]


async def test_a_slug_is_unique_in_its_namespace(store: Store) -> None:
    await created(store, row("a", slug="s", namespace="n"))
    assert await conflict(store, creating(row("b", slug="s", namespace="n"))) == ("Thing", "s", "n")
    await created(store, row("c", slug="s"), row("d", slug="s", namespace="n", kind="Other"))
    assert await ids(store) == ["c", "a"]


async def test_a_slug_is_unique_within_one_commit(store: Store) -> None:
    assert await conflict(store, creating(row("a", slug="s"), row("b", slug="s"))) == ("Thing", "s", "")
    assert await ids(store) == []


async def test_a_row_that_is_required_at_a_revision_must_not_have_changed(store: Store) -> None:
    (first,) = await created(store, row("a"))
    at_first = Changes(requires=[Require("Thing", "a", first.revision)])
    await store.commit(together(at_first, creating(row("b"))))
    await store.commit(together(at_first, updating(changed(first, b"second"))))
    for more in (creating(row("c")), removing(first)):
        assert await conflict(store, together(at_first, more)) == ("Thing", "a")
    assert await conflict(store, Changes(requires=[Require("Thing", "none", 1)])) == ("Thing", "none")
    assert await ids(store) == ["b", "a"]


async def test_a_revision_that_passed_is_refused(store: Store) -> None:
    (first,) = await created(store, row("a"))
    second = stored(await store.commit(updating(changed(first, b"second"))))
    assert await conflict(store, updating(changed(first, b"lost"))) == ("Thing", "a")
    assert await conflict(store, removing(first)) == ("Thing", "a")
    assert bare(await store.get("Thing", "a")) == bare(second)


async def test_a_row_that_is_gone_cannot_be_updated_or_removed(store: Store) -> None:
    (first,) = await created(store, row("a"))
    await store.commit(removing(first))
    assert await conflict(store, updating(changed(first, b"lost"))) == ("Thing", "a")
    assert await conflict(store, removing(first)) == ("Thing", "a")
    assert await store.get("Thing", "a") is None


async def test_a_row_made_again_is_another_row(store: Store) -> None:
    (first,) = await created(store, row("a"))
    await store.commit(removing(first))
    await created(store, row("a"))
    assert await conflict(store, updating(changed(first, b"lost"))) == ("Thing", "a")


async def test_equal_conflicts_have_equal_keys(store: Store) -> None:
    await created(store, row("a"))
    assert await conflict(store, creating(row("b", slug="a"))) == await conflict(store, creating(row("c", slug="a")))


async def test_a_discard_asks_for_no_revision_and_no_row(store: Store) -> None:
    await created(store, row("a"))
    assert [change.row for change in await store.commit(discarding("Thing", "a"))] == [None]
    assert list(await store.commit(discarding("Thing", "a"))) == []


async def test_a_row_is_removed_and_made_again_in_one_commit(store: Store) -> None:
    (first,) = await created(store, row("a", ("tag", "old")))
    changes = await store.commit(together(removing(first), creating(row("a", ("tag", "new"), data=b"again"))))
    assert [change.row is None for change in changes] == [True, False]
    found = await store.by_slug("Thing", "a", "")
    assert found is not None
    assert found.data == b"again"
    assert found.sequence > first.sequence
    assert await ids(store, ("tag", "old")) == []
    assert await ids(store, ("tag", "new")) == ["a"]


async def test_a_slug_changes_hands_in_one_commit(store: Store) -> None:
    (first,) = await created(store, row("a", slug="s"))
    await store.commit(together(removing(first), creating(row("b", slug="s"))))
    found = await store.by_slug("Thing", "s", "")
    assert found is not None
    assert found.id == "b"


async def test_a_required_row_must_be_there(store: Store) -> None:
    assert await conflict(store, together(creating(row("a")), requiring("Other", "p"))) == ("Other", "p")
    await created(store, row("p", kind="Other"))
    await store.commit(together(creating(row("a")), requiring("Other", "p")))
    assert await ids(store) == ["a"]


async def test_a_required_row_counts_after_the_commits_own_writes(store: Store) -> None:
    await store.commit(together(requiring("Thing", "a"), creating(row("a"))))
    found = await store.get("Thing", "a")
    assert await conflict(store, together(removing(found), requiring("Thing", "a"))) == ("Thing", "a")
    assert await ids(store) == ["a"]


async def test_a_conflict_leaves_nothing_of_the_commit(store: Store) -> None:
    first, second = await created(store, row("a"), row("b", ("tag", "x")))
    await created(store, child("c", "b"))
    both = together(removing(second), cascading("b"), updating(changed(first, b"lost")), creating(row("d"), row("a")))
    assert await conflict(store, both) == ("Thing", "a")
    assert await ids(store) == ["b", "a"]
    assert await ids(store, ("tag", "x")) == ["b"]
    assert await ids(store, kind="Child") == ["c"]
    assert bare(await store.get("Thing", "a")) == bare(first)
    assert (await store.page(Query("Thing"), Window(1))).total == 2


async def test_a_cascade_takes_dependents_and_theirs(store: Store) -> None:
    (parent,) = await created(store, row("p"))
    await created(store, child("c1", "p"), child("c2", "p"), child("other", "q"))
    await created(store, *(child(f"g-{of}", of, "Grandchild") for of in ("c1", "c2", "other", "p")))
    changes = await store.commit(together(removing(parent), cascading("p")))
    gone = [(change.kind, change.id) for change in changes]
    assert sorted(gone) == [
        ("Child", "c1"),
        ("Child", "c2"),
        ("Grandchild", "g-c1"),
        ("Grandchild", "g-c2"),
        ("Thing", "p"),
    ]
    assert all(change.row is None for change in changes)
    assert await ids(store, kind="Child") == ["other"]
    assert await ids(store, kind="Grandchild") == ["g-p", "g-other"]


async def test_a_cascade_finds_what_came_after_the_changes_were_made(store: Store) -> None:
    (parent,) = await created(store, row("p"))
    changes = together(removing(parent), cascading("p"))
    await created(store, child("c", "p"), child("g", "c", "Grandchild"))
    await store.commit(changes)
    assert await ids(store, kind="Child") == await ids(store, kind="Grandchild") == []


async def test_a_cascade_finds_the_dependents_of_rows_removed_beside_it(store: Store) -> None:
    await created(store, child("c", "p"), child("g", "c", "Grandchild"))
    await store.commit(together(cascading("p"), discarding("Child", "c")))
    assert await ids(store, kind="Grandchild") == []


async def test_a_cascade_may_meet_rows_that_are_removed_with_a_revision(store: Store) -> None:
    (stored_child,) = await created(store, child("c", "p"))
    changes = await store.commit(together(removing(stored_child), cascading("p")))
    assert [(change.kind, change.id, change.row) for change in changes] == [("Child", "c", None)]


async def test_a_cascade_leaves_rows_that_the_commit_moves_elsewhere_or_makes(store: Store) -> None:
    moved, _ = await created(store, child("moved", "p"), child("gone", "p"))
    moving = updating(changed(moved, b"second", ("parent", "q")))
    await store.commit(together(cascading("p"), moving, creating(child("new", "p"))))
    assert await ids(store, kind="Child") == ["new", "moved"]
    assert await ids(store, ("parent", "q"), kind="Child") == ["moved"]


async def test_a_total_is_the_number_of_rows_whatever_happened(store: Store) -> None:
    rows = await created(store, *(row(f"r{n}", ("tag", "x")) for n in range(4)))
    await conflict(store, creating(row("new"), row("r0")))
    await store.commit(together(removing(rows[0]), creating(row("r0", ("tag", "x")))))
    await store.commit(together(discarding("Thing", "r1"), discarding("Thing", "nowhere")))
    await created(store, child("c", "r2"))
    await store.commit(cascading("r2", CHILDREN))
    assert (await store.page(Query("Thing"), Window(1))).total == 3
    assert (await store.page(Query("Thing", (("tag", "x"),)), Window(1))).total == 3
    assert (await store.page(Query("Child"), Window(1))).total == 0


async def test_what_was_written_is_read_at_once_by_every_way(store: Store) -> None:
    (one,) = await created(store, row("a"))
    for turn in range(20):
        keys = (("turn", str(turn)),)
        one = stored(await store.commit(updating(changed(one, b"%d" % turn, *keys))))
        by_id, by_slug = await store.get("Thing", "a"), await store.by_slug("Thing", "a", "")
        anywhere = (await store.by_slug_anywhere("Thing", "a"))[0]
        (paged,) = (await store.page(Query("Thing", keys), Window(1))).rows
        assert {bare(found) for found in (by_id, by_slug, anywhere, paged)} == {bare(one)}
