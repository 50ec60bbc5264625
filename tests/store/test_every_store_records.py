"""Records and logs beside the rows: part of the same commits, checked like rows, told to nobody."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from store_rows import (
    all_at_once,
    bare,
    cascading,
    child,
    conflict,
    created,
    creating,
    discarding,
    ids,
    removing,
    requiring,
    row,
    together,
    updating,
)

from stigmer.store.changes import Append, AppendForRemoved, Changes, Dependent, Put, Trim
from stigmer.store.errors import ConflictError
from stigmer.store.rows import ABSENT, Query, Record, Window, chained, sealed_key
from stigmer.store.transaction import Transaction

if TYPE_CHECKING:
    from store_rows import Opener

    from stigmer.store.changes import Change
    from stigmer.store.contract import Store
    from stigmer.store.rows import Row


def putting(key: str, value: bytes, expected: int | None = None) -> Changes:
    return Changes(expects={} if expected is None else {("t", key): expected}, records={("t", key): value})


def appending(*values: bytes, log: str = "audit") -> Changes:
    return Changes(appends=[Append(log, value) for value in values])


async def revision(store: Store, key: str) -> int:
    found = await store.record("t", key)
    return ABSENT if found is None else found.revision


async def test_a_record_is_read_as_it_was_written(store: Store) -> None:
    key = "k\x00'\N{SNOWMAN}"
    assert await store.record("t", key) is None
    assert list(await store.commit(putting(key, bytes(range(256))))) == []
    found = await store.record("t", key)
    assert found == Record("t", key, bytes(range(256)), found.revision if found else 0)
    assert await store.record("other", key) is None
    assert await revision(store, key) > ABSENT


async def test_a_record_has_a_new_revision_with_each_write_of_the_count_of_the_rows(store: Store) -> None:
    (before,) = await created(store, row("a"))
    await store.commit(putting("k", b"1"))
    first = await revision(store, "k")
    await store.commit(putting("k", b"2"))
    second = await revision(store, "k")
    (after,) = await created(store, row("b"))
    assert before.revision < first < second < after.revision


async def test_a_record_that_is_not_as_expected_is_a_conflict_and_nothing_is_written(store: Store) -> None:
    await store.commit(putting("k", b"1", ABSENT))
    first = await revision(store, "k")
    assert await conflict(store, putting("k", b"lost", ABSENT)) == ("t", "k")
    await store.commit(putting("k", b"2", first))
    stale = together(creating(row("a")), appending(b"x"), putting("new", b"1"), putting("k", b"lost", first))
    assert await conflict(store, stale) == ("t", "k")
    assert await conflict(store, Changes(expects={("t", "gone"): first}, records={("t", "gone"): None})) == (
        "t",
        "gone",
    )
    found = await store.record("t", "k")
    assert found is not None
    assert found.value == b"2"
    assert not (await ids(store))
    assert not (await store.log("audit"))
    assert await store.record("t", "new") is None


async def test_a_record_is_removed_whether_it_is_there_or_not(store: Store) -> None:
    await store.commit(putting("k", b"1"))
    for _ in range(2):
        await store.commit(Changes(records={("t", "k"): None}))
        assert await store.record("t", "k") is None
    await store.commit(putting("k", b"2", ABSENT))
    assert await revision(store, "k") > ABSENT


async def test_a_record_may_be_required_without_being_written(store: Store) -> None:
    await store.commit(putting("lease", b"mine"))
    held = await revision(store, "lease")
    fenced = together(creating(row("a")), Changes(expects={("t", "lease"): held}))
    await store.commit(fenced)
    assert await revision(store, "lease") == held
    await store.commit(putting("lease", b"theirs"))
    assert await conflict(store, together(creating(row("b")), Changes(expects={("t", "lease"): held}))) == (
        "t",
        "lease",
    )
    assert await ids(store) == ["a"]


async def test_a_commit_that_a_later_row_refuses_leaves_no_record(store: Store) -> None:
    await created(store, row("taken"))
    commits = [together(creating(row(f"r{n}" if n != 3 else "taken")), putting(f"k{n}", b"v")) for n in range(6)]
    results = await all_at_once(store, commits)
    assert [n for n, result in enumerate(results) if isinstance(result, ConflictError)] == [3]
    assert [one.key for one in await store.records("t")] == ["k0", "k1", "k2", "k4", "k5"]


async def test_records_are_listed_by_prefix_in_the_order_of_their_keys(store: Store) -> None:
    keys = ("b/2", "a/1", "b/10", "b", "b/\N{SNOWMAN}", "c", "b/1")
    await asyncio.gather(*(store.commit(putting(key, key.encode())) for key in keys))
    await store.commit(Changes(records={("other", "b/5"): b""}))

    async def listed(prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
        found = await store.records("t", prefix, after, limit)
        assert all(one.value == one.key.encode() for one in found)
        return [one.key for one in found]

    assert await listed() == sorted(keys)
    assert await listed("b/") == ["b/1", "b/10", "b/2", "b/\N{SNOWMAN}"]
    assert await listed("b/", after="b/10") == ["b/2", "b/\N{SNOWMAN}"]
    assert await listed("b/", after="a") == await listed("b/")
    assert await listed("b/", after="c") == await listed("none") == []
    assert await listed("b", limit=2) == ["b", "b/1"]


async def test_of_many_writers_of_one_record_exactly_one_wins(store: Store) -> None:
    results = await all_at_once(store, (putting("k", b"%d" % n, ABSENT) for n in range(32)))
    (winner,) = [n for n, result in enumerate(results) if not isinstance(result, BaseException)]
    found = await store.record("t", "k")
    assert found is not None
    assert found.value == b"%d" % winner


async def test_the_entries_of_a_log_are_numbered_and_chained_in_the_order_of_the_commits(store: Store) -> None:
    await store.commit(together(appending(b"a", b"b"), appending(b"other", log="another")))
    await asyncio.gather(*(store.commit(appending(b"%d" % n)) for n in range(20)))
    entries = await store.log("audit")
    assert [one.number for one in entries] == list(range(1, 23))
    assert sorted(one.value for one in entries) == sorted([b"a", b"b", *(b"%d" % n for n in range(20))])
    before = None
    for entry in entries:
        assert entry == chained(before, "audit", entry.value)
        before = entry
    assert len({one.link for one in entries}) == 22
    assert [one.value for one in await store.log("another")] == [b"other"]
    assert await store.log("another") == [chained(None, "another", b"other")]
    assert list(await store.log("audit", after=5, limit=2)) == list(entries[5:7])
    assert list(await store.log("audit", after=22)) == list(await store.log("none")) == []


async def test_what_was_refused_leaves_no_gap_in_the_chain(store: Store) -> None:
    await created(store, row("taken"))
    commits = [together(appending(b"%d" % n), creating(row("taken" if n % 3 == 0 else f"r{n}"))) for n in range(9)]
    await all_at_once(store, commits)
    assert [(one.number, one.value) for one in await store.log("audit")] == [
        (number, b"%d" % n) for number, n in enumerate((1, 2, 4, 5, 7, 8), 1)
    ]


async def test_the_first_entries_of_a_log_can_go_and_the_next_one_is_chained_to_the_last(store: Store) -> None:
    await store.commit(appending(*(b"%d" % n for n in range(1, 8))))
    last = await store.last_entry("audit")
    assert last is not None
    await store.commit(together(appending(b"8"), Changes(trims=[Trim("audit", 5)])))
    assert [one.number for one in await store.log("audit")] == [6, 7, 8]
    assert [one.number for one in await store.log("audit", after=3, limit=2)] == [6, 7]
    assert [one.number for one in await store.log("audit", after=6)] == [7, 8]
    assert await store.last_entry("audit") == chained(last, "audit", b"8")
    assert await store.last_entry("none") is None


async def test_each_row_with_sealed_values_that_goes_is_told_of_those_that_the_commit_finds_included(
    store: Store,
) -> None:
    parent = replace(row("parent"), sealed=True)
    children = [replace(child(f"c{n}", "parent"), sealed=n > 0) for n in range(3)]
    sealed = {sealed_key(one.kind, one.id): one.id.encode() for one in (parent, *children) if one.sealed}
    await store.commit(together(creating(parent, *children), Changes(records=sealed)))
    told = AppendForRemoved("audit", lambda head, value: f"{head.kind} {head.id}: ".encode() + (value or b""))
    held = await store.get("Thing", "parent")
    changes = together(removing(held), cascading("parent"), appending(b"1"))
    await store.commit(replace(changes, removed=told), dry_run=True)
    await store.commit(replace(changes, removed=told))
    values = [one.value for one in await store.log("audit")]
    assert values[0] == b"1"
    assert sorted(values[1:]) == [b"Child c1: c1", b"Child c2: c2", b"Thing parent: parent"]


async def test_records_and_logs_are_there_when_the_store_opens_again(opener: Opener) -> None:
    async with opener() as store:
        await store.commit(together(putting("k", b"1"), appending(b"a")))
        held = await revision(store, "k")
    async with opener() as store:
        assert await revision(store, "k") == held
        await store.commit(together(putting("k", b"2", held), appending(b"b")))
        assert [one.number for one in await store.log("audit")] == [1, 2]
        assert await revision(store, "k") > held


async def test_the_feed_tells_of_no_record(store: Store) -> None:
    told: list[Change] = []
    store.feed.listen(told.append)
    answered = await store.commit(together(putting("k", b"1"), appending(b"a"), creating(row("a"))))
    assert [(change.kind, change.id) for change in answered] == [("Thing", "a")]
    (last,) = await created(store, row("b"))
    with store.feed.subscribe("Thing", "b", after=last.revision - 1) as subscription:
        assert (await subscription.next()).id == "b"
    assert [change.id for change in told] == ["a", "b"]


async def test_the_stores_clock_goes_on(store: Store) -> None:
    first = await store.now_ms()
    assert await store.now_ms() >= first > 1_700_000_000_000


async def test_a_dry_run_answers_as_the_commit_would_and_keeps_nothing(store: Store) -> None:
    told: list[Change] = []
    store.feed.listen(told.append)
    parent, first = await created(store, row("p"), row("a", ("tag", "old")))
    await created(store, child("c", "p"))
    await store.commit(together(putting("k", b"1"), appending(b"a")))
    tried = together(
        removing(parent),
        cascading("p"),
        Changes(puts=creating(row("b", slug="p")).puts),
        putting("k", b"2"),
        appending(b"b"),
    )
    answered = await store.commit(tried, dry_run=True)
    assert [(change.kind, change.id, change.row is None) for change in answered] == [
        ("Child", "c", True),
        ("Thing", "p", True),
        ("Thing", "b", False),
    ]
    assert await ids(store) == ["a", "p"]
    assert await ids(store, kind="Child") == ["c"]
    assert bare(await store.by_slug("Thing", "p", "")) == bare(parent)
    assert (await store.page(Query("Thing"), Window(1))).total == 2
    found = await store.record("t", "k")
    assert found is not None
    assert found.value == b"1"
    assert [one.value for one in await store.log("audit")] == [b"a"]
    done = await store.commit(tried)
    assert [(change.kind, change.id, change.revision) for change in done] == [
        (change.kind, change.id, change.revision) for change in answered
    ]
    (last,) = await created(store, row("last"))
    with store.feed.subscribe("Thing", "last", after=first.revision) as subscription:
        assert (await subscription.next()).revision == last.revision
    assert [change.id for change in told] == ["p", "a", "c", "c", "p", "b", "last"]


async def test_a_dry_run_is_refused_as_the_commit_would_be(store: Store) -> None:
    (one,) = await created(store, row("a", slug="s"))
    await store.commit(putting("k", b"1"))
    for bad in (
        creating(row("b", slug="s")),
        removing(one, row("none")),
        putting("k", b"2", ABSENT),
        together(creating(row("b")), creating(row("a"))),
    ):
        with pytest.raises(ConflictError) as tried:
            await store.commit(bad, dry_run=True)
        assert await conflict(store, bad) == tried.value.key
    assert await ids(store) == ["a"]


async def test_dry_runs_among_commits_leave_them_alone(store: Store) -> None:
    results = await asyncio.gather(
        *(store.commit(together(creating(row(f"r{n}")), appending(b"%d" % n)), dry_run=n % 2 == 0) for n in range(20))
    )
    assert all(len(result) == 1 for result in results)
    assert sorted(await ids(store)) == sorted(f"r{n}" for n in range(1, 20, 2))
    assert [one.value for one in await store.log("audit")] == [b"%d" % n for n in range(1, 20, 2)]


# Within a transaction.


async def test_a_transaction_sees_its_own_records_first(store: Store) -> None:
    await store.commit(together(putting("a", b"1"), putting("b", b"1"), putting("c", b"1")))
    tx = Transaction(store)
    tx.put_record("t", "b", b"2")
    tx.remove_record("t", "c")
    nested = Transaction(store, tx)
    nested.put_record("t", "d", b"3")
    nested.put_record("u", "e", b"4")

    async def listed(of: Transaction, **window: str | int) -> list[tuple[str, bytes]]:
        return [(one.key, one.value) for one in await of.records("t", **window)]  # type: ignore[arg-type]  # as given

    assert await listed(nested) == [("a", b"1"), ("b", b"2"), ("d", b"3")]
    assert await listed(nested, after="a", limit=1) == [("b", b"2")]
    assert await listed(nested, prefix="d") == [("d", b"3")]
    assert await listed(tx) == [("a", b"1"), ("b", b"2")]
    assert await nested.record("t", "c") is None
    found = await nested.record("t", "b")
    assert found is not None
    assert found.value == b"2"
    assert nested.merge()
    await tx.commit()
    assert [one.key for one in await store.records("t")] == ["a", "b", "d"]
    assert [one.key for one in await store.records("u")] == ["e"]


async def test_a_nested_transaction_that_is_dropped_leaves_no_record(store: Store) -> None:
    tx = Transaction(store)
    nested = Transaction(store, tx)
    nested.put_record("t", "k", b"1")
    nested.append("audit", b"a")
    nested.clear()
    assert nested.merge()
    tx.append("audit", b"b")
    await tx.commit()
    assert list(await store.records("t")) == []
    assert [one.value for one in await store.log("audit")] == [b"b"]


async def test_the_revision_of_a_record_is_checked_that_it_had_before_the_transaction(store: Store) -> None:
    await store.commit(putting("k", b"1"))
    held = await revision(store, "k")
    tx = Transaction(store)
    tx.put_record("t", "k", b"2", held)
    nested = Transaction(store, tx)
    nested.remove_record("t", "k")
    nested.put_record("t", "k", b"3", ABSENT)
    assert nested.merge()
    tx.put_record("t", "new", b"1", ABSENT)
    await tx.commit()
    found = await store.record("t", "k")
    assert found is not None
    assert found.value == b"3"
    late = Transaction(store)
    late.require_record("t", "k", held)
    late.create(row("a"))
    with pytest.raises(ConflictError):
        await late.commit()
    assert await ids(store) == []


async def test_a_record_that_changes_between_two_reads_is_a_conflict(store: Store) -> None:
    tx = Transaction(store)
    assert await tx.record("t", "k") is None
    await store.commit(putting("k", b"1"))
    with pytest.raises(ConflictError):
        await Transaction(store, tx).record("t", "k")
    with pytest.raises(ConflictError):
        tx.reads.check()


async def test_a_transaction_may_only_be_tried(store: Store) -> None:
    ran: list[str] = []
    tx = Transaction(store)
    tx.create(row("a"))
    tx.put_record("t", "k", b"1")
    tx.after_commit(lambda: ran.append("after"))
    assert [change.id for change in await tx.commit(dry_run=True)] == ["a"]
    assert not ran
    assert not (await ids(store))
    assert not (await store.records("t"))


async def test_records_of_cascaded_rows_go_with_them_where_the_dependent_says_so(store: Store) -> None:
    dependent = Dependent("Child", "parent", (Dependent("Grandchild", "parent", (), ("t",)),), ("t", "u"))
    (parent,) = await created(store, row("p"))
    await created(store, child("c", "p"), child("g", "c", "Grandchild"), child("other", "q"))
    keys = [("t", "c"), ("u", "c"), ("t", "g"), ("u", "g"), ("t", "other"), ("t", "p")]
    await store.commit(Changes(records=dict.fromkeys(keys, b"x")))
    await store.commit(together(cascading("p", dependent), removing(parent)))
    left = [(one.table, one.key) for table in ("t", "u") for one in await store.records(table)]
    assert left == [("t", "other"), ("t", "p"), ("u", "g")]


def sealing(one: Row, value: bytes = b"sealed") -> Changes:
    """A row to be created, and the record that belongs to it."""
    return Changes(puts=[Put(replace(one, sealed=True), ABSENT)], records={sealed_key(one.kind, one.id): value})


async def has_sealed(store: Store, kind: str, id_: str) -> bool:
    return await store.record(*sealed_key(kind, id_)) is not None


async def test_a_row_says_whether_it_is_sealed_wherever_it_is_read(store: Store) -> None:
    await store.commit(sealing(row("a", ("key", "value"))))
    await created(store, row("b", ("key", "value")))
    expected = {"a": True, "b": False}
    page = (await store.page(Query("Thing", (("key", "value"),)), Window(None))).rows
    slugs = [one for slug in expected for one in await store.by_slug_anywhere("Thing", slug)]
    for rows in (page, slugs):
        assert {one.id: one.sealed for one in rows} == expected
    for id_, sealed in expected.items():
        for found in (await store.get("Thing", id_), await store.by_slug("Thing", id_, "")):
            assert found is not None
            assert found.sealed == sealed


async def test_a_deleted_row_takes_its_sealed_record_with_it(store: Store) -> None:
    (change,) = await store.commit(sealing(row("a")))
    await store.commit(sealing(row("b")))
    await store.commit(removing(change.row))
    assert not await has_sealed(store, "Thing", "a")
    await store.commit(discarding("Thing", "b"))
    assert not await has_sealed(store, "Thing", "b")


async def test_a_cascade_takes_the_sealed_records_of_dependents_with_it_at_every_depth(store: Store) -> None:
    await store.commit(sealing(row("p", kind="Parent")))
    await store.commit(sealing(child("c", "p")))
    await store.commit(sealing(child("g", "c", kind="Grandchild")))
    await store.commit(sealing(child("other", "q")))
    await store.commit(together(cascading("p"), discarding("Parent", "p")))
    assert [one.key for one in await store.records("sealed")] == ["Child/other"]


async def test_a_deletion_that_is_refused_leaves_the_sealed_record(store: Store) -> None:
    (change,) = await store.commit(sealing(row("a")))
    assert change.row is not None
    await conflict(store, removing(replace(change.row, revision=change.row.revision + 9)))
    await conflict(store, together(discarding("Thing", "a"), requiring("Thing", "not there")))
    assert await has_sealed(store, "Thing", "a")


async def test_a_row_that_is_not_sealed_any_more_loses_its_record(store: Store) -> None:
    (change,) = await store.commit(sealing(row("a")))
    assert change.row is not None
    (kept,) = await store.commit(updating(replace(change.row, data=b"second", keys=())))
    assert await has_sealed(store, "Thing", "a")
    assert kept.row is not None
    await store.commit(updating(replace(kept.row, sealed=False, keys=())))
    assert not await has_sealed(store, "Thing", "a")
    found = await store.get("Thing", "a")
    assert found is not None
    assert not found.sealed


async def test_a_row_that_is_made_anew_in_one_transaction_has_its_new_record(store: Store) -> None:
    await store.commit(sealing(row("a"), b"old"))
    await store.commit(together(discarding("Thing", "a"), sealing(row("a"), b"new")))
    found = await store.record(*sealed_key("Thing", "a"))
    assert found is not None
    assert found.value == b"new"


async def test_a_row_staged_and_taken_back_leaves_no_record(store: Store) -> None:
    outer = Transaction(store)
    outer.create(replace(row("a"), sealed=True))
    outer.put_record(*sealed_key("Thing", "a"), b"sealed")
    inner = Transaction(store, outer)
    made = await inner.get("Thing", "a")
    assert made is not None
    inner.delete(made)
    assert await inner.record(*sealed_key("Thing", "a")) is None
    inner.merge()
    await outer.commit()
    assert not await has_sealed(store, "Thing", "a")
