"""What every store answers: by id, by slug, by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store_rows import bare, changed, child, created, creating, ids, removing, row, updating

from stigmer.store.rows import Query, Through, Window

if TYPE_CHECKING:
    from stigmer.store.contract import Store


async def test_an_empty_store_finds_nothing(store: Store) -> None:
    assert await store.get("Thing", "a") is None
    assert await store.by_slug("Thing", "a", "") is None
    assert list(await store.by_slug_anywhere("Thing", "a")) == []
    page = await store.page(Query("Thing"), Window(10))
    assert (list(page.rows), page.more, page.total) == ([], False, 0)


async def test_a_row_is_read_as_it_was_written(store: Store) -> None:
    awkward = row("a", ("tag", "'\"\N{SNOWMAN}\x00"), slug="s", namespace="o\N{SNOWMAN}", data=bytes(range(256)))
    (stored,) = await created(store, awkward)
    for found in (await store.get("Thing", "a"), await store.by_slug("Thing", "s", "o\N{SNOWMAN}")):
        assert bare(found) == bare(stored)
    assert [bare(one) for one in await store.by_slug_anywhere("Thing", "s")] == [bare(stored)]
    page = await store.page(Query("Thing", awkward.keys or ()), Window(10))
    assert [bare(one) for one in page.rows] == [bare(stored)]
    assert (stored.data, stored.created_by) == (bytes(range(256)), "tester")


async def test_an_id_and_a_slug_belong_to_their_kind(store: Store) -> None:
    await created(store, row("a", kind="Thing"), row("a", kind="Other"))
    thing, other = await store.get("Thing", "a"), await store.by_slug("Other", "a", "")
    assert (thing and thing.kind, other and other.kind) == ("Thing", "Other")
    assert await ids(store, kind="Other") == ["a"]


async def test_a_slug_is_found_in_its_namespace_alone(store: Store) -> None:
    await created(store, row("a", slug="s", namespace="x"), row("b", slug="s", namespace="y"))
    found = await store.by_slug("Thing", "s", "y")
    assert found is not None
    assert found.id == "b"
    assert await store.by_slug("Thing", "s", "") is None


async def test_a_slug_anywhere_gives_two_rows_at_most_and_the_empty_namespace_first(store: Store) -> None:
    await created(store, *(row(f"id-{space}", slug="s", namespace=space) for space in ("b", "a", "")))
    assert [one.namespace for one in await store.by_slug_anywhere("Thing", "s")] == ["", "a"]
    assert [one.namespace for one in await store.by_slug_anywhere("Thing", "s", limit=3)] == ["", "a", "b"]


async def test_rows_without_a_slug_are_not_reached_by_one(store: Store) -> None:
    await created(store, row("a", slug=None), row("b", slug=None))
    assert await store.by_slug("Thing", "a", "") is None
    assert list(await store.by_slug_anywhere("Thing", "a")) == []
    assert await ids(store) == ["b", "a"]


async def test_pages_are_newest_first_and_an_update_keeps_the_place(store: Store) -> None:
    first, *_ = await created(store, row("a"), row("b"), row("c"))
    await store.commit(updating(changed(first, b"second")))
    assert await ids(store) == ["c", "b", "a"]


async def test_rows_created_in_one_commit_are_listed_in_the_order_of_their_creation(store: Store) -> None:
    await store.commit(creating(row("b"), row("a"), row("c")))
    assert await ids(store) == ["c", "a", "b"]


async def test_a_page_holds_the_rows_that_have_every_key(store: Store) -> None:
    red, big = ("tag", "red"), ("tag", "big")
    await created(store, row("a", red), row("b", red, big), row("c", big), row("d", big, red), row("e"))
    assert await ids(store, red) == ["d", "b", "a"]
    assert await ids(store, red, big) == ["d", "b"]
    assert await ids(store, big, red, ("tag", "none")) == []
    assert (await store.page(Query("Thing", (big, red)), Window(1))).total == 2


async def test_an_update_moves_a_row_to_its_new_keys(store: Store) -> None:
    (stored,) = await created(store, row("a", ("tag", "old"), ("tag", "kept")))
    await store.commit(updating(changed(stored, b"second", ("tag", "kept"), ("tag", "new"))))
    assert await ids(store, ("tag", "old")) == []
    assert await ids(store, ("tag", "kept"), ("tag", "new")) == ["a"]


async def test_a_deleted_row_is_nowhere(store: Store) -> None:
    (stored,) = await created(store, row("a", ("tag", "x")))
    await store.commit(removing(stored))
    assert await store.get("Thing", "a") is None
    assert await store.by_slug("Thing", "a", "") is None
    assert list(await store.by_slug_anywhere("Thing", "a")) == []
    assert await ids(store) == await ids(store, ("tag", "x")) == []
    assert (await store.page(Query("Thing"), Window(1))).total == 0


async def test_a_walk_in_windows_sees_every_row_once_while_others_come_and_go(store: Store) -> None:
    rows = await created(store, *(row(f"r{n}", ("tag", "x")) for n in range(7)))
    seen: list[str] = []
    before = None
    for step in range(4):
        page = await store.page(Query("Thing", (("tag", "x"),)), Window(2, before=before))
        seen += [one.id for one in page.rows]
        assert page.more is (step < 3)
        before = page.rows[-1].sequence
        if step == 0:
            await store.commit(removing(rows[6]))
            await created(store, row("late", ("tag", "x")))
    assert seen == [f"r{n}" for n in range(6, -1, -1)]


async def test_a_window_skips_and_limits_and_counts_all(store: Store) -> None:
    await created(store, *(row(f"r{n}") for n in range(5)))
    page = await store.page(Query("Thing"), Window(2, skip=1))
    assert ([one.id for one in page.rows], page.more, page.total) == (["r3", "r2"], True, 5)
    page = await store.page(Query("Thing"), Window(2, skip=3))
    assert ([one.id for one in page.rows], page.more, page.total) == (["r1", "r0"], False, 5)
    page = await store.page(Query("Thing"), Window(None, skip=9))
    assert (list(page.rows), page.more, page.total) == ([], False, 5)


@pytest.mark.parametrize(
    ("budget_bytes", "wanted"), [(0, ["r3"]), (10, ["r3"]), (19, ["r3"]), (20, ["r3", "r2"]), (39, ["r3", "r2", "r1"])]
)
async def test_a_page_stays_within_its_bytes_but_has_a_row(store: Store, budget_bytes: int, wanted: list[str]) -> None:
    await created(store, *(row(f"r{n}", data=b"x" * 10) for n in range(4)))
    page = await store.page(Query("Thing"), Window(10, budget_bytes=budget_bytes))
    assert [one.id for one in page.rows] == wanted
    assert (page.more, page.total) == (True, 4)


async def test_a_page_that_just_fits_its_bytes_is_the_last(store: Store) -> None:
    await created(store, *(row(f"r{n}", data=b"x" * 10) for n in range(4)))
    for overhead in (0, 3):
        page = await store.page(Query("Thing"), Window(10, budget_bytes=40 + 4 * overhead, overhead_bytes=overhead))
        assert (len(page.rows), page.more) == (4, False)
    page = await store.page(Query("Thing"), Window(10, budget_bytes=40, overhead_bytes=1))
    assert (len(page.rows), page.more) == (3, True)


async def test_a_join_finds_the_rows_of_the_value_and_of_every_holder(store: Store) -> None:
    owner = ("owner", "o1")
    await created(store, row("p1", owner), row("p2", ("owner", "o2")), row("p3", owner))
    await created(store, child("c1", "p1"), child("c2", "p2"), child("c3", "p3"), child("c4", "o1"), child("c5", "p1"))
    through = Through("parent", "o1", "Thing", owner)
    assert await ids(store, kind="Child", through=through) == ["c5", "c4", "c3", "c1"]
    page = await store.page(Query("Child", through=through), Window(2, skip=1))
    assert ([one.id for one in page.rows], page.more, page.total) == (["c4", "c3"], True, 4)
    page = await store.page(Query("Child", through=through), Window(2, before=page.rows[-1].sequence))
    assert ([one.id for one in page.rows], page.more, page.total) == (["c1"], False, 4)


async def test_a_join_counts_a_holder_that_is_the_value_itself_once(store: Store) -> None:
    await created(store, row("p1", ("owner", "p1")), child("c1", "p1"))
    page = await store.page(Query("Child", through=Through("parent", "p1", "Thing", ("owner", "p1"))), Window(5))
    assert ([one.id for one in page.rows], page.total) == (["c1"], 1)


async def test_a_join_holds_beside_other_keys(store: Store) -> None:
    await created(store, row("p1", ("owner", "o1")))
    red = row("c1", ("parent", "p1"), ("tag", "red"), kind="Child", slug=None)
    await created(store, red, child("c2", "p1"))
    query = Query("Child", (("tag", "red"),), Through("parent", "o1", "Thing", ("owner", "o1")))
    page = await store.page(query, Window(5))
    assert ([one.id for one in page.rows], page.total) == (["c1"], 1)


async def test_a_page_by_more_keys_than_a_statement_takes(store: Store) -> None:
    many = [("tag", f"t{n}") for n in range(40_000)]
    await created(store, row("most", *many[:-1]), row("all", *many, ("tag", "other")), child("c", "all"))
    page = await store.page(Query("Thing", tuple(many)), Window(5))
    assert ([one.id for one in page.rows], page.more, page.total) == (["all"], False, 1)
    page = await store.page(Query("Thing", tuple(many[:1500])), Window(1, skip=1))
    assert ([one.id for one in page.rows], page.more, page.total) == (["most"], False, 2)
    assert await ids(store, *many, ("tag", "none")) == []


async def test_a_join_beside_more_keys_than_a_statement_takes(store: Store) -> None:
    many = [("tag", f"t{n}") for n in range(1500)]
    await created(store, row("p1", ("owner", "o")), row("p2", ("owner", "o")))
    children = [row(f"c{n}", *many[: 1500 - n % 2], ("parent", f"p{n // 2}"), kind="Child") for n in range(6)]
    *_, fifth, _ = await created(store, *children)
    query = Query("Child", tuple(many), Through("parent", "o", "Thing", ("owner", "o")))
    page = await store.page(query, Window(1))
    assert ([one.id for one in page.rows], page.more, page.total) == (["c4"], True, 2)
    page = await store.page(Query("Child", tuple(many[:-1]), query.through), Window(2, before=fifth.sequence))
    assert ([one.id for one in page.rows], page.more, page.total) == (["c3", "c2"], False, 4)


async def test_a_join_of_many_holders_is_walked_newest_first(store: Store) -> None:
    """Holders without rows, with one, with several; rows of several holders in turn."""
    await store.commit(creating(*(row(f"p{n}", ("owner", "o")) for n in range(60))))
    await store.commit(creating(*(child(f"c{n}", f"p{n * 7 % 30}") for n in range(90)), child("x", "q")))
    through = Through("parent", "o", "Thing", ("owner", "o"))
    seen: list[str] = []
    before, more = None, True
    while more:
        page = await store.page(Query("Child", through=through), Window(7, before=before))
        seen += [one.id for one in page.rows]
        before, more = page.rows[-1].sequence, page.more
        assert page.total == 90
    assert seen == [f"c{n}" for n in range(89, -1, -1)]


async def test_the_newest_row_of_a_key_is_the_one_created_last(store: Store) -> None:
    first, last, *_ = await created(store, row("a", ("tag", "x")), row("b", ("tag", "x")), row("c", ("other", "x")))
    await created(store, row("d", ("tag", "x"), kind="Other"))
    await store.commit(updating(changed(first, b"second", ("tag", "x"))))
    assert bare(await store.newest("Thing", "tag", "x")) == bare(last)
    await store.commit(removing(last))
    newest = await store.newest("Thing", "tag", "x")
    assert newest is not None
    assert (newest.id, newest.data) == ("a", b"second")
    assert await store.newest("Thing", "tag", "y") is None


async def test_the_holders_of_several_values_are_found_each_once(store: Store) -> None:
    both = row("c1", ("parent", "p1"), ("parent", "p2"), kind="Child", slug=None)
    await created(store, both, child("c2", "p2"), child("c3", "p3"), child("g", "p1", "Grandchild"))
    await created(store, row("c4", ("other", "p1"), kind="Child"))
    assert sorted(await store.holders("Child", "parent", {"p1", "p2", "none"})) == ["c1", "c2"]
    assert list(await store.holders("Child", "parent", ())) == []


async def test_a_common_key_beside_a_rare_one_is_found_either_way(store: Store) -> None:
    common = [row(f"r{n:04}", ("tag", "common"), slug=None) for n in range(1100)]
    await store.commit(creating(*common, row("rare", ("tag", "common"), ("tag", "rare"))))
    for keys in ((("tag", "common"), ("tag", "rare")), (("tag", "rare"), ("tag", "common"))):
        page = await store.page(Query("Thing", keys), Window(5))
        assert ([one.id for one in page.rows], page.total) == (["rare"], 1)


async def test_intact_rows_come_some_at_a_time_the_newest_first(store: Store) -> None:
    await created(store, *(row(f"r{number}") for number in range(5)), row("other", kind="Other"))
    first, before = await store.intact("Thing", None, 3)
    assert [one.id for one in first] == ["r4", "r3", "r2"]
    assert before == first[-1].sequence
    rest, end = await store.intact("Thing", before, 3)
    assert [one.id for one in rest] == ["r1", "r0"]
    assert end is None
    assert await store.intact("Nothing", None, 3) == ([], None)


async def test_a_store_that_is_written_anew_has_all_that_it_had(store: Store) -> None:
    rows = await created(store, *(row(f"r{number}") for number in range(5)))
    await store.compact()
    assert [bare(await store.get("Thing", one.id)) for one in rows] == list(map(bare, rows))
    await created(store, row("after"))
