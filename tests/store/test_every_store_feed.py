"""What every store tells its change feed: all that was committed, in commit order, sooner or later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from store_rows import (
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
    until,
    updating,
)

from stigmer.store import feed
from stigmer.store.errors import ConflictError, RevisionTooOldError

if TYPE_CHECKING:
    from store_rows import Opener

    from stigmer.store.changes import Change
    from stigmer.store.contract import Store


@pytest.fixture
def told(store: Store) -> list[Change]:
    """Every change that the feed tells from now on."""
    changes: list[Change] = []
    store.feed.listen(changes.append)
    return changes


async def test_the_feed_tells_what_the_commit_answers(store: Store, told: list[Change]) -> None:
    answered = list(await store.commit(creating(row("a", ("tag", "x")), row("b"))))
    answered += await store.commit(together(removing(answered[0].row), updating(changed(answered[1].row, b"second"))))
    await until(lambda: len(told) == len(answered))
    assert told == answered
    assert [(change.id, change.row and change.row.data) for change in told] == [
        ("a", b"first"),
        ("b", b"first"),
        ("a", None),
        ("b", b"second"),
    ]
    assert told[0].row is not None
    assert told[0].row.keys == (("tag", "x"),)


async def test_the_feed_tells_every_cascaded_deletion(store: Store, told: list[Change]) -> None:
    (parent,) = await created(store, row("p"))
    await created(store, child("c", "p"), child("g", "c", "Grandchild"))
    await store.commit(together(removing(parent), cascading("p")))
    await until(lambda: len(told) == 6)
    assert sorted((change.kind, change.id, change.row) for change in told[3:]) == [
        ("Child", "c", None),
        ("Grandchild", "g", None),
        ("Thing", "p", None),
    ]


async def test_the_feed_is_in_the_order_of_revisions_whatever_commits_at_once(store: Store, told: list[Change]) -> None:
    await asyncio.gather(*(store.commit(creating(row(f"r{n}"), row(f"s{n}"))) for n in range(50)))
    await until(lambda: len(told) == 100)
    revisions = [change.revision for change in told]
    assert revisions == sorted(set(revisions))
    assert [(change.id, change.row and change.row.revision) for change in told] == [
        (change.id, change.revision) for change in told
    ]
    sequence_order = await ids(store)
    assert [change.id for change in told] == sequence_order[::-1]


async def test_a_refused_commit_tells_nothing(store: Store, told: list[Change]) -> None:
    await created(store, row("a"))
    with pytest.raises(ConflictError):
        await store.commit(creating(row("b"), row("a")))
    await created(store, row("c"))
    await until(lambda: len(told) == 2)
    assert [change.id for change in told] == ["a", "c"]


async def test_a_listener_finds_the_change_in_the_store(store: Store) -> None:
    reads: list[asyncio.Task[object]] = []
    store.feed.listen(lambda change: reads.append(asyncio.ensure_future(store.get(change.kind, change.id))))
    (one,) = await created(store, row("a"))
    await store.commit(removing(stored(await store.commit(updating(changed(one, b"second"))))))
    await until(lambda: len(reads) == 3)
    assert (await asyncio.gather(*reads))[-1] is None


async def test_a_subscription_misses_nothing_between_the_first_read_and_the_first_change(store: Store) -> None:
    (one,) = await created(store, row("a"))
    with store.feed.subscribe("Thing", "a") as subscription:
        reading = asyncio.ensure_future(store.get("Thing", "a"))
        writing = asyncio.ensure_future(store.commit(updating(changed(one, b"second"))))
        first, last = await reading, stored(await writing)
        assert first is not None
        while (change := await subscription.next()).revision < last.revision:
            pass  # a feed that is late may tell of the creation, too
        assert change.row is not None
        assert (change.row.data, change.revision) == (b"second", last.revision)
        assert first.revision <= change.revision


async def written(store: Store, *datas: bytes) -> list[int]:
    """The row `a` is made and changed; gives the revisions of that, once the feed has told them."""
    told: list[int] = []
    store.feed.listen(lambda change: told.append(change.revision))
    (one,) = await created(store, row("a", data=datas[0]))
    for data in datas[1:]:
        one = stored(await store.commit(updating(changed(one, data))))
        await created(store, row(f"other-{data!r}"))
    await until(lambda: len(told) == 2 * len(datas) - 1)
    return [told[0], *told[1::2]]


async def test_a_subscription_resumes_after_a_revision(store: Store) -> None:
    revisions = await written(store, b"1", b"2", b"3")
    with store.feed.subscribe("Thing", "a", after=revisions[0]) as resumed:
        found = await store.get("Thing", "a")
        assert found is not None
        await store.commit(updating(changed(found, b"4")))
        changes = [await resumed.next() for _ in range(3)]
    assert [change.row and change.row.data for change in changes] == [b"2", b"3", b"4"]
    assert [change.revision for change in changes[:2]] == revisions[1:]


async def test_a_subscription_that_resumes_is_not_told_of_what_its_reader_knows(store: Store) -> None:
    (one,) = await created(store, row("a"))
    with store.feed.subscribe("Thing", "a", after=one.revision) as resumed:
        second = stored(await store.commit(updating(changed(one, b"second"))))
        assert (await resumed.next()).revision == second.revision


async def test_a_subscription_that_resumes_ends_where_it_would_have(store: Store) -> None:
    revisions = await written(store, b"1", b"2", b"3")
    with store.feed.subscribe("Thing", "a", lambda row: row.data == b"2", after=revisions[0]) as resumed:
        assert (await resumed.next()).revision == revisions[1]
        found = await store.get("Thing", "a")
        await store.commit(removing(found))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await resumed.next()


async def test_a_revision_that_is_too_old_to_resume_from_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HISTORY", 3)
    revisions = await written(store, b"1", b"2", b"3")
    with pytest.raises(RevisionTooOldError) as caught, store.feed.subscribe("Thing", "a", after=revisions[0]):
        pass
    with store.feed.subscribe("Thing", "a", after=caught.value.oldest) as resumed:
        assert (await resumed.next()).revision == revisions[2]


async def test_a_store_that_was_opened_anew_resumes_from_its_last_revision(opener: Opener) -> None:
    async with opener() as store:
        revisions = await written(store, b"1", b"2")
        (last,) = await created(store, row("last"))
    async with opener() as store:
        with pytest.raises(RevisionTooOldError), store.feed.subscribe("Thing", "a", after=revisions[0]):
            pass
        with store.feed.subscribe("Thing", "a", after=last.revision) as resumed:
            found = await store.get("Thing", "a")
            await store.commit(updating(changed(found, b"3")))
            assert (await resumed.next()).revision > last.revision
