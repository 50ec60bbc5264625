"""What every store does when many transactions come at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from store_rows import (
    all_at_once,
    cascading,
    changed,
    child,
    created,
    creating,
    ids,
    removing,
    requiring,
    row,
    together,
    updating,
)

from stigmer.store.errors import ConflictError
from stigmer.store.rows import Query, Window

if TYPE_CHECKING:
    from stigmer.store.contract import Store


async def test_of_many_creators_of_a_slug_exactly_one_wins(store: Store) -> None:
    results = await all_at_once(store, (creating(row(f"r{n}", slug="s")) for n in range(64)))
    won = [result for result in results if not isinstance(result, BaseException)]
    lost = [result.key for result in results if isinstance(result, ConflictError)]
    assert (len(won), lost) == (1, [("Thing", "s", "")] * 63)
    assert await ids(store) == [won[0][0].id]


async def test_of_many_creators_of_an_id_exactly_one_wins(store: Store) -> None:
    results = await all_at_once(store, (creating(row("a", slug=f"s{n}")) for n in range(64)))
    assert sum(isinstance(result, ConflictError) for result in results) == 63
    assert await ids(store) == ["a"]


async def test_of_many_writers_of_a_revision_exactly_one_wins(store: Store) -> None:
    (one,) = await created(store, row("a"))
    results = await all_at_once(store, (updating(changed(one, b"%d" % n)) for n in range(64)))
    winners = [n for n, result in enumerate(results) if not isinstance(result, BaseException)]
    found = await store.get("Thing", "a")
    assert len(winners) == 1
    assert found is not None
    assert found.data == b"%d" % winners[0]


async def test_every_increment_counts_when_losers_read_again(store: Store) -> None:
    await created(store, row("a", data=b"0"))

    async def increment() -> None:
        while True:
            one = await store.get("Thing", "a")
            assert one is not None
            try:
                await store.commit(updating(changed(one, b"%d" % (int(one.data) + 1))))
            except ConflictError:
                continue
            return

    await asyncio.gather(*(increment() for _ in range(24)))
    found = await store.get("Thing", "a")
    assert found is not None
    assert found.data == b"24"


async def test_one_conflict_among_many_commits_leaves_the_others_alone(store: Store) -> None:
    await created(store, row("taken"))
    commits = [creating(row(f"r{n}"), row("taken" if n == 7 else f"s{n}")) for n in range(20)]
    results = await all_at_once(store, commits)
    assert [n for n, result in enumerate(results) if isinstance(result, ConflictError)] == [7]
    assert len(await ids(store)) == 1 + 2 * 19
    assert (await store.page(Query("Thing"), Window(1))).total == 39


async def test_a_row_that_is_refused_among_others_leaves_nothing(store: Store) -> None:
    (one,) = await created(store, row("a", ("tag", "old")))
    stale, taken = updating(changed(replace(one, revision=9), b"lost", ("tag", "x"))), creating(row("new", slug="a"))
    results = await all_at_once(store, [creating(row("b")), stale, taken, creating(row("c", ("tag", "x")))])
    assert [type(result) for result in results] == [list, ConflictError, ConflictError, list]
    assert await ids(store) == ["c", "b", "a"]
    assert await ids(store, ("tag", "x")) == ["c"]
    assert (await store.page(Query("Thing"), Window(1))).total == 3


async def test_a_child_is_never_left_without_the_parent_that_it_requires(store: Store) -> None:
    for turn in range(20):
        (parent,) = await created(store, row(f"p{turn}"))
        adding = together(creating(child(f"c{turn}", f"p{turn}")), requiring("Thing", f"p{turn}"))
        deleting = together(removing(parent), cascading(f"p{turn}"))
        results = await all_at_once(store, [adding, deleting] if turn % 2 else [deleting, adding])
        assert [isinstance(result, ConflictError) for result in results] == (
            [False, False] if turn % 2 else [False, True]
        )
        assert await store.get("Thing", f"p{turn}") is None
        assert await ids(store, kind="Child") == []


async def test_readers_see_whole_commits_only(store: Store) -> None:
    left, right = await created(store, row("left"), row("right"))
    stop = asyncio.Event()

    async def write() -> None:
        nonlocal left, right
        for turn in range(100):
            both = together(*(updating(changed(one, b"%d" % turn)) for one in (left, right)))
            first, second = await store.commit(both)
            await asyncio.sleep(0)
            assert first.row is not None
            assert second.row is not None
            left, right = first.row, second.row
        stop.set()

    async def read() -> int:
        reads = 0
        while not stop.is_set():
            rows = (await store.page(Query("Thing"), Window(None))).rows
            assert len({one.data for one in rows}) == 1
            reads += 1
            await asyncio.sleep(0)
        return reads

    _, reads = await asyncio.gather(write(), read())
    assert reads
