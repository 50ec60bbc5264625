"""What every store tells its change feed: all that was committed, in commit order, before it is acknowledged."""

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
    updating,
)

from stigmer.store.base import ConflictError

if TYPE_CHECKING:
    from stigmer.store.base import Change, Store


@pytest.fixture
def told(store: Store) -> list[Change]:
    """Every change that the feed tells from now on."""
    changes: list[Change] = []
    store.feed.listen(changes.append)
    return changes


async def test_the_feed_tells_what_the_commit_answers(store: Store, told: list[Change]) -> None:
    answered = list(await store.commit(creating(row("a", ("tag", "x")), row("b"))))
    answered += await store.commit(together(removing(answered[0].row), updating(changed(answered[1].row, b"second"))))
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
    told.clear()
    await store.commit(together(removing(parent), cascading("p")))
    assert sorted((change.kind, change.id, change.row) for change in told) == [
        ("Child", "c", None),
        ("Grandchild", "g", None),
        ("Thing", "p", None),
    ]


async def test_the_feed_is_in_the_order_of_revisions_whatever_commits_at_once(store: Store, told: list[Change]) -> None:
    await asyncio.gather(*(store.commit(creating(row(f"r{n}"), row(f"s{n}"))) for n in range(50)))
    revisions = [change.revision for change in told]
    assert len(revisions) == 100
    assert revisions == sorted(set(revisions))
    assert [(change.id, change.row and change.row.revision) for change in told] == [
        (change.id, change.revision) for change in told
    ]
    sequence_order = await ids(store)
    assert [change.id for change in told] == sequence_order[::-1]


async def test_a_refused_commit_tells_nothing(store: Store, told: list[Change]) -> None:
    await created(store, row("a"))
    told.clear()
    with pytest.raises(ConflictError):
        await store.commit(creating(row("b"), row("a")))
    assert told == []


async def test_a_change_is_told_before_its_commit_is_acknowledged(store: Store) -> None:
    events: list[str] = []
    store.feed.listen(lambda change: events.append(f"told {change.id}"))

    async def write(id_: str) -> None:
        await store.commit(creating(row(id_)))
        events.append(f"acknowledged {id_}")

    await asyncio.gather(*(write(f"r{n}") for n in range(20)))
    for n in range(20):
        assert events.index(f"told r{n}") < events.index(f"acknowledged r{n}")


async def test_a_listener_finds_the_change_in_the_store(store: Store) -> None:
    reads: list[asyncio.Task[object]] = []
    store.feed.listen(lambda change: reads.append(asyncio.ensure_future(store.get(change.kind, change.id))))
    (one,) = await created(store, row("a"))
    await store.commit(removing(stored(await store.commit(updating(changed(one, b"second"))))))
    assert (await asyncio.gather(*reads))[-1] is None
    assert len(reads) == 3


async def test_a_subscription_misses_nothing_between_the_first_read_and_the_first_change(store: Store) -> None:
    (one,) = await created(store, row("a"))
    with store.feed.subscribe("Thing", "a") as subscription:
        reading = asyncio.ensure_future(store.get("Thing", "a"))
        writing = asyncio.ensure_future(store.commit(updating(changed(one, b"second"))))
        first = await reading
        assert first is not None
        change = await subscription.next()
        assert change.row is not None
        assert (change.row.data, change.revision) == (b"second", stored(await writing).revision)
        assert first.revision <= change.revision
