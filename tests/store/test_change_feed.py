"""The change feed's subscriptions: order, backlog, limit, end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from store_rows import bare, changed, created, creating, ids, row, updating

from stigmer.store.changes import Change
from stigmer.store.errors import TooManySubscriptionsError
from stigmer.store.feed import BACKLOG, BACKLOG_BYTES, LocalFeed
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path


def change(revision: int, id_: str = "a", kind: str = "Thing") -> Change:
    return Change(kind, id_, revision, row(id_, kind=kind))


async def test_a_subscription_gets_the_changes_of_its_resource_alone_in_order() -> None:
    feed = LocalFeed()
    with feed.subscribe("Thing", "a") as subscription:
        feed.publish([change(1), change(2, "b"), change(3, kind="Other"), change(4)])
        feed.publish([change(5)])
        assert [(await subscription.next()).revision for _ in range(3)] == [1, 4, 5]


async def test_every_subscription_of_a_resource_gets_every_change() -> None:
    feed = LocalFeed()
    with feed.subscribe("Thing", "a") as first, feed.subscribe("Thing", "a") as second:
        feed.publish([change(1)])
        assert await first.next() == await second.next() == change(1)


async def test_a_reader_that_waits_is_woken() -> None:
    feed = LocalFeed()
    with feed.subscribe("Thing", "a") as subscription:
        waiting = asyncio.ensure_future(subscription.next())
        await asyncio.sleep(0)
        feed.publish([change(1), change(2)])
        assert (await waiting).revision == 1
        assert (await subscription.next()).revision == 2


@pytest.mark.parametrize("missed", [0, 1, BACKLOG, 10 * BACKLOG])
async def test_a_slow_reader_misses_the_oldest_changes_never_the_newest(missed: int) -> None:
    feed = LocalFeed()
    with feed.subscribe("Thing", "a") as subscription:
        feed.publish([change(revision) for revision in range(1, BACKLOG + missed + 1)])
        assert repr(subscription) == f"<Subscription Thing/a, {BACKLOG} pending>"
        seen = [(await subscription.next()).revision for _ in range(BACKLOG)]
    assert seen == list(range(missed + 1, missed + BACKLOG + 1))


async def test_a_reader_that_is_cancelled_misses_nothing_when_it_reads_again() -> None:
    feed = LocalFeed()
    with feed.subscribe("Thing", "a") as subscription:
        for woken in (False, True):
            waiting = asyncio.ensure_future(subscription.next())
            await asyncio.sleep(0)
            if woken:
                feed.publish([change(1)])
            waiting.cancel()
            await asyncio.wait((waiting,))
            assert waiting.cancelled()
        feed.publish([change(2)])
        assert [(await subscription.next()).revision for _ in range(2)] == [1, 2]


async def test_changes_before_and_after_a_subscription_are_not_its_own() -> None:
    feed = LocalFeed()
    subscription = feed.subscribe("Thing", "a")
    feed.publish([change(1)])
    with subscription:
        feed.publish([change(2)])
    feed.publish([change(3)])
    assert repr(subscription) == "<Subscription Thing/a, 1 pending>"
    assert (await subscription.next()).revision == 2


async def test_one_subscription_more_than_allowed_is_refused_until_another_ends() -> None:
    feed = LocalFeed(2)
    with feed.subscribe("Thing", "a"):
        with feed.subscribe("Thing", "a"):
            assert repr(feed) == "<LocalFeed 2 of 2 subscriptions>"
            with pytest.raises(TooManySubscriptionsError, match="2 subscriptions are open"), feed.subscribe("T", "b"):
                pass
        with feed.subscribe("Thing", "b"):
            pass
    assert repr(feed) == "<LocalFeed 0 of 2 subscriptions>"


async def test_a_reader_that_is_cancelled_leaves_no_subscription_behind() -> None:
    feed = LocalFeed(1)

    async def follow() -> None:
        with feed.subscribe("Thing", "a") as subscription:
            await subscription.next()

    for _ in range(3):
        following = asyncio.ensure_future(follow())
        await asyncio.sleep(0)
        assert repr(feed) == "<LocalFeed 1 of 1 subscriptions>"
        following.cancel()
        await asyncio.wait((following,))
    assert repr(feed) == "<LocalFeed 0 of 1 subscriptions>"
    assert feed._followers == {}


async def test_listeners_are_told_of_everything_before_subscribers() -> None:
    feed = LocalFeed()
    told: list[tuple[int, str]] = []
    with feed.subscribe("Thing", "a") as subscription:
        feed.listen(lambda change: told.append((change.revision, repr(subscription))))
        feed.publish([change(1), change(2, "b")])
    assert told == [(1, "<Subscription Thing/a, 0 pending>"), (2, "<Subscription Thing/a, 1 pending>")]


async def test_a_change_is_told_before_its_commit_is_acknowledged(tmp_path: Path) -> None:
    """What the row cache relies on."""
    events: list[str] = []

    async def write(id_: str) -> None:
        await store.commit(creating(row(id_)))
        events.append(f"acknowledged {id_}")

    async with SqliteStore(tmp_path) as store:
        store.feed.listen(lambda change: events.append(f"told {change.id}"))
        await asyncio.gather(*(write(f"r{n}") for n in range(20)))
    for n in range(20):
        assert events.index(f"told r{n}") < events.index(f"acknowledged r{n}")


async def test_a_listener_that_raises_costs_one_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Attack: it ended the writer for good, and a commit that had been made was never acknowledged."""
    told: list[str] = []

    def fail(change: Change) -> None:
        raise LookupError(f"{change.id} is more than I can take")

    async with SqliteStore(tmp_path) as store:
        store.feed.listen(fail)
        store.feed.listen(lambda change: told.append(change.id))
        with store.feed.subscribe("Thing", "a") as subscription:
            (one,) = await created(store, row("a"))
            assert (await subscription.next()).row == one
        await created(store, row("b"))
        assert await store.get("Thing", "a") == one
        assert await ids(store) == ["b", "a"]
    assert told == ["a", "b"]
    failed = [record for record in caplog.records if "listener" in str(record.msg)]
    assert len(failed) == 2


async def test_a_cache_that_cannot_take_a_change_in_keeps_nothing_that_may_be_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SqliteStore(tmp_path) as store:
        (one, other) = await created(store, row("a"), row("b"))
        with monkeypatch.context() as patch:
            patch.setattr(store._cache, "_drop", fail_to_drop)
            await store.commit(updating(changed(one, b"second")))
        found = await store.get("Thing", "a")
        assert found is not None
        assert found.data == b"second"
        assert bare(await store.get("Thing", "b")) == bare(other)


def fail_to_drop(_: object) -> None:
    raise MemoryError


def state(revision: int, size: int) -> Change:
    return Change("Thing", "a", revision, row("a", data=bytes(size)))


async def test_a_backlog_is_bounded_by_bytes_and_the_newest_is_kept_however_long_it_is() -> None:
    """Attack: 16 states of 10 MB for each reader that does not read."""
    feed = LocalFeed()
    with feed.subscribe("Thing", "a") as subscription:
        feed.publish([state(number, BACKLOG_BYTES // 4) for number in range(1, 11)])
        assert [one.revision for one in subscription._pending] == [7, 8, 9, 10]
        feed.publish([state(11, 10 * BACKLOG_BYTES)])
        assert [one.revision for one in subscription._pending] == [11]
        assert (await subscription.next()).revision == 11
        feed.publish([state(number, 1) for number in range(12, 40)])
        assert [(await subscription.next()).revision for _ in range(BACKLOG)] == list(range(24, 40))
        assert subscription._bytes == 0


@pytest.mark.parametrize("last", [state(3, BACKLOG_BYTES), Change("Thing", "a", 3, None)])
async def test_after_a_change_that_ends_it_a_subscription_takes_none(last: Change) -> None:
    """Attack: deleted, made again with the same id and changed 16 times while the reader did not read."""
    feed = LocalFeed()
    with feed.subscribe("Thing", "a", lambda row: row.revision == 3 or len(row.data) == BACKLOG_BYTES) as subscription:
        feed.publish([state(1, 1), state(2, 1), last])
        feed.publish([Change("Thing", "a", 4, None), *(state(number, 1) for number in range(5, 40))])
        assert [one.revision for one in subscription._pending][-1] == 3
        assert feed._followers == {}
    assert feed._open == 0
