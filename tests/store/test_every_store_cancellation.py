"""Cancelled anywhere, a commit leaves all or nothing, and the store goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from store_rows import bare, changed, created, creating, ids, removing, row, together, updating
from store_stepper import after_iterations, when_woken, while_waiting

from stigmer.store.rows import Query, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, TypeAlias

    from stigmer.store.contract import Store

    Canceller: TypeAlias = Callable[[int, Coroutine[Any, Any, Any]], Coroutine[Any, Any, object]]


async def check_whole_and_alive(store: Store, turn: str) -> None:
    """See that both rows of a commit are there, or neither; and that the next commit passes."""
    (after,) = await created(store, row(f"after-{turn}"))  # commits are in order: the cancelled one is over
    half = [await store.get("Thing", f"{side}-{turn}") for side in ("left", "right")]
    assert (half[0] is None) == (half[1] is None)
    page = await store.page(Query("Thing"), Window(None))
    assert page.total == len(page.rows)
    assert {f"{side}-{turn}" for side in ("left", "right")} & {one.id for one in page.rows} in (
        {f"left-{turn}", f"right-{turn}"},
        set(),
    )
    assert bare(await store.get("Thing", after.id)) == bare(after)


@pytest.mark.parametrize("cancel", [after_iterations, while_waiting, when_woken])
@pytest.mark.parametrize("busy", [False, True])
async def test_a_commit_that_is_cancelled_at_any_point_is_whole(store: Store, cancel: Canceller, busy: bool) -> None:
    for point in range(25):
        others = [asyncio.ensure_future(store.commit(creating(row(f"o{n}-{point}")))) for n in range(3 * busy)]
        pair = store.commit(creating(row(f"left-{point}"), row(f"right-{point}")))
        await cancel(point, pair)
        await check_whole_and_alive(store, str(point))
        await asyncio.gather(*others)
        assert {f"o{n}-{point}" for n in range(3 * busy)} <= set(await ids(store))


@pytest.mark.parametrize("cancel", [after_iterations, while_waiting, when_woken])
async def test_a_read_that_is_cancelled_at_any_point_harms_nobody(store: Store, cancel: Canceller) -> None:
    (one,) = await created(store, row("a"))
    for point in range(10):
        for read in (
            store.get("Thing", "nowhere"),
            store.by_slug("Thing", "nowhere", ""),
            store.by_slug_anywhere("Thing", "a"),
            store.page(Query("Thing"), Window(5)),
            store.probe(),
        ):
            await cancel(point, read)
    assert bare(await store.get("Thing", "a")) == bare(one)
    assert [bare(each) for each in await store.by_slug_anywhere("Thing", "a")] == [bare(one)]
    assert await ids(store) == ["a"]


async def test_a_read_after_a_cancelled_commit_sees_what_became_of_it(store: Store) -> None:
    (one,) = await created(store, row("a", data=b"0"))
    for point in range(25):
        await after_iterations(point, store.commit(updating(changed(one, b"%d" % point))))
        await store.commit(creating(row(f"after-{point}")))
        cached = await store.get("Thing", "a")
        (paged,) = (row_ for row_ in (await store.page(Query("Thing"), Window(None))).rows if row_.id == "a")
        assert bare(cached) == bare(paged)
        one = paged


async def test_all_callers_are_cancelled_at_once(store: Store) -> None:
    for point in range(12):
        commits = [
            asyncio.ensure_future(store.commit(creating(row(f"left-{point}.{n}"), row(f"right-{point}.{n}"))))
            for n in range(5)
        ]
        for _ in range(point):
            await asyncio.sleep(0)
        for commit in commits:
            commit.cancel()
        await asyncio.wait(commits)
        for n in range(5):
            await check_whole_and_alive(store, f"{point}.{n}")


async def test_a_timeout_leaves_the_slug_to_the_next(store: Store) -> None:
    for point in range(12):
        await after_iterations(point, store.commit(creating(row(f"a{point}", slug="s"))))
        await store.commit(creating(row(f"b{point}")))
        holder = await store.by_slug("Thing", "s", "")
        replacing = creating(row(f"c{point}", slug="s"))
        (*_, made) = await store.commit(together(removing(holder), replacing))
        await store.commit(removing(made.row))
        assert await store.by_slug("Thing", "s", "") is None
