"""Opening, closing and reopening of every store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from store_rows import (
    bare,
    cascading,
    changed,
    child,
    created,
    creating,
    ids,
    removing,
    row,
    stored,
    together,
    updating,
)

from stigmer.store.errors import StoreUnavailableError
from stigmer.store.rows import Query, Window

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store_rows import Opener

    from stigmer.store.contract import Store


async def test_reopening_finds_everything(opener: Opener) -> None:
    async with opener() as store:
        rows = await created(store, *(row(f"r{n}", ("tag", f"t{n % 2}"), namespace="n") for n in range(6)))
        await created(store, child("c", "r5"))
        await store.commit(updating(changed(rows[0], b"second", ("tag", "t1"))))
        await store.commit(together(removing(rows[5]), cascading("r5")))
        before = [bare(one) for one in (await store.page(Query("Thing"), Window(None))).rows]
    async with opener() as store:
        page = await store.page(Query("Thing"), Window(None))
        assert [bare(one) for one in page.rows] == before
        assert page.total == 5
        assert await ids(store, ("tag", "t1")) == ["r3", "r1", "r0"]
        assert await ids(store, kind="Child") == []
        found = await store.by_slug("Thing", "r0", "n")
        assert found is not None
        assert found.data == b"second"


async def test_revisions_and_sequences_go_on_after_reopening(opener: Opener) -> None:
    async with opener() as store:
        first, second = await created(store, row("a"), row("b"))
        (gone,) = await store.commit(removing(second))
    async with opener() as store:
        (third,) = await created(store, row("c"))
        assert third.revision > gone.revision > first.revision
        assert third.sequence > second.sequence


async def test_the_same_store_opens_again(opener: Opener) -> None:
    store = opener()
    async with store as opened:
        await created(opened, row("a"))
    async with opener() as other:
        await other.commit(removing(await other.get("Thing", "a")))
    async with store as opened:
        assert await opened.get("Thing", "a") is None
        await created(opened, row("a"))


async def check_unavailable(store: Store) -> None:
    for call in (
        store.get("Thing", "a"),
        store.by_slug("Thing", "a", ""),
        store.by_slug_anywhere("Thing", "a"),
        store.page(Query("Thing"), Window(1)),
        store.holders("Thing", "tag", ["x"]),
        store.newest("Thing", "tag", "x"),
        store.commit(creating(row("b"))),
        store.record("t", "k"),
        store.records("t"),
        store.log("l"),
        store.probe(),
    ):
        with pytest.raises(StoreUnavailableError):
            await call


async def test_a_closed_store_is_unavailable(opener: Opener) -> None:
    async with opener() as store:
        await created(store, row("a"))
        assert await store.get("Thing", "a") is not None
        await store.probe()
    await check_unavailable(store)


async def test_calls_that_wait_when_the_store_closes_end_and_what_was_acknowledged_is_kept(opener: Opener) -> None:
    async with opener() as store:
        commits = [asyncio.ensure_future(store.commit(creating(row(f"r{n}")))) for n in range(600)]
        reads = [asyncio.ensure_future(store.page(Query("Thing"), Window(1))) for _ in range(20)]
        await asyncio.sleep(0)
    results = await asyncio.gather(*commits, return_exceptions=True)
    answers = await asyncio.gather(*reads, return_exceptions=True)
    acknowledged = {f"r{n}" for n, result in enumerate(results) if not isinstance(result, BaseException)}
    for failed in (answer for answer in (*results, *answers) if isinstance(answer, BaseException)):
        assert isinstance(failed, StoreUnavailableError)
    async with opener() as store:
        assert set(await ids(store)) == acknowledged


async def test_a_subscription_ends_when_the_store_closes_with_what_it_had(opener: Opener) -> None:
    async with opener() as store:
        (one,) = await created(store, row("a"))
        with store.feed.subscribe("Thing", "a") as idle, store.feed.subscribe("Thing", "a") as behind:
            last = stored(await store.commit(updating(changed(one, b"second")))).revision
            while (await idle.next()).revision < last:
                pass  # a feed that is late may tell of the creation, too
            waiting = asyncio.ensure_future(idle.next())
            await asyncio.sleep(0)
            await store.__aexit__(None, None, None)  # type: ignore[attr-defined]  # it is one
            with pytest.raises(StoreUnavailableError, match="the store is closed"):
                await waiting
            while (await behind.next()).revision < last:
                pass
            with pytest.raises(StoreUnavailableError, match="the store is closed"):
                await behind.next()


async def test_a_subscription_to_a_closed_store_ends_and_one_to_a_store_that_opens_again_does_not(
    opener: Opener,
) -> None:
    store = opener()
    async with store as opened:
        (one,) = await created(opened, row("a"))
    with opened.feed.subscribe("Thing", "a") as late:
        with pytest.raises(StoreUnavailableError):
            await late.next()
        async with store as opened:
            with pytest.raises(StoreUnavailableError):
                await late.next()
            with opened.feed.subscribe("Thing", "a") as follower:
                await opened.commit(updating(changed(one, b"second")))
                assert (await follower.next()).id == "a"


async def test_a_close_that_is_cancelled_still_closes(opener: Opener) -> None:
    for iterations in range(8):
        store = await opener().__aenter__()
        commits = [asyncio.ensure_future(store.commit(creating(row(f"r{iterations}.{n}")))) for n in range(300)]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(store.__aexit__(None, None, None))  # type: ignore[attr-defined]  # it is one
        for _ in range(iterations):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait((closing,))
        results = await asyncio.gather(*commits, return_exceptions=True)
        acknowledged = {change.id for result in results if not isinstance(result, BaseException) for change in result}
        if iterations:  # a task that is cancelled before its first step never ran
            await check_unavailable(store)
        else:
            await store.__aexit__(None, None, None)  # type: ignore[attr-defined]  # it is one
        async with opener() as again:
            assert acknowledged <= set(await ids(again))


async def test_a_secret_is_the_same_for_the_stores_life_and_another_in_each_store(
    backend: Callable[[Path], Opener], tmp_path: Path
) -> None:
    opener = backend(tmp_path / "one")
    async with opener() as store:
        first, other = store.secret("a name"), store.secret("another name")
    async with opener() as store:
        assert store.secret("a name") == first
    async with backend(tmp_path / "another")() as store:
        assert store.secret("a name") != first
    assert len(first) == len(other) == 32
    assert first != other
