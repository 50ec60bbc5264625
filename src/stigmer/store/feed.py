"""The change feed: committed changes, in commit order, to whoever follows one resource.

`ChangeFeed` is what a backend offers; `LocalFeed` tells of the commits that it is handed in this process, whether the
backend made them itself or heard of them later. `steps.stream_updates` reads; the row cache of `sqlite` listens too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol, Self

from stigmer.store.errors import RevisionTooOldError, StoreUnavailableError, TooManySubscriptionsError
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from stigmer.store.changes import Change
    from stigmer.store.rows import Key, Row

BACKLOG = 16
"""How many states a slow reader may fall behind before the older ones are merged into the newest."""
BACKLOG_BYTES = 256 * 1024
"""How long these states may be together; the newest is kept however long it is."""
HISTORY = 1_000
"""From how many changes back a subscription may resume."""
HISTORY_BYTES = 4 * 2**20
"""How long their rows may be together."""

FROM_NOW_ON = -1
"""In place of the revision after which a subscription resumes."""

log = get_logger("stigmer.store.feed")


class Listener(Protocol):
    """Told of every committed change, in order; must not block. What it raises is logged, and no more."""

    def __call__(self, change: Change, /) -> None:
        """Take note of a change."""


class ChangeFeed(Protocol):
    """Committed changes in commit order, none left out; a backend may tell of them after their commit was acknowledged.

    So what a caller reads may be ahead of what it was told: it compares revisions.
    """

    @property
    def subscriptions(self) -> int:
        """How many are open."""
        ...

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every change from now on, before any subscriber."""
        ...

    def subscribe(
        self, kind: str, id_: str, ends: Callable[[Row], bool] = ..., after: int | None = None
    ) -> Subscription:
        """A subscription to one resource; it counts from `with` to the end of the block.

        Args:
            kind: the resource's kind.
            id_: the resource's id.
            ends: whether nobody wants a later state than this one.
            after: resume: first come the changes with a greater revision; without, those from now on.

        Raises (on entering):
            TooManySubscriptionsError: the limit is reached.
            RevisionTooOldError: not all changes after that revision can be told any more.
        """
        ...


class Subscription:
    """The changes of one resource from its opening on, to its end. A context manager; one task reads it.

    A reader that falls behind by more than BACKLOG changes, or by BACKLOG_BYTES, misses the oldest of them, never the
    newest. After a change that ends it, such as the deletion, none is taken: the reader never sees what comes later
    under the same id.
    """

    __slots__ = ("_bytes", "_ended", "_feed", "_pending", "_wakeup", "after", "ends", "key")

    def __init__(self, feed: LocalFeed, key: Key, ends: Callable[[Row], bool], after: int | None) -> None:
        self._feed = feed
        self.key, self.ends, self.after = key, ends, FROM_NOW_ON if after is None else after
        self._pending: list[Change] = []  # short, and mostly empty: a deque would take 760 bytes
        self._bytes = 0
        self._wakeup: asyncio.Future[None] | None = None
        self._ended = False

    def __repr__(self) -> str:
        return f"<Subscription {'/'.join(self.key)}, {len(self._pending)} pending>"

    def __enter__(self) -> Self:
        self._feed.open(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.close(self)

    def push(self, change: Change) -> bool:
        """Take one change; the reader gets it when it next asks. Whether more of them may follow."""
        if change.revision <= self.after:
            return True
        self._pending.append(change)
        self._bytes += _size(change)
        while len(self._pending) > 1 and (len(self._pending) > BACKLOG or self._bytes > BACKLOG_BYTES):
            self._bytes -= _size(self._pending.pop(0))
        self._wake()
        return change.row is not None and not self.ends(change.row)

    def end(self) -> None:
        """No change follows; the reader is told once it has those that are pending."""
        self._ended = True
        self._wake()

    async def next(self) -> Change:
        """Wait for the next change.

        Raises:
            StoreUnavailableError: the store was closed, and what came before was read.
        """
        while not self._pending:
            if self._ended:
                raise StoreUnavailableError("the store is closed")
            self._wakeup = asyncio.get_running_loop().create_future()
            await self._wakeup
        change = self._pending.pop(0)
        self._bytes -= _size(change)
        return change

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)


class LocalFeed:
    """A change feed of this process: hands on what it is given, by resource.

    Args:
        max_subscriptions: how many may be open at once.

    Attributes:
        revision: of the newest change that it told.
    """

    def __init__(self, max_subscriptions: int = 10_000) -> None:
        self._max = max_subscriptions
        self._open = 0
        self._shut = False
        self._followers: dict[Key, set[Subscription]] = {}
        self._listeners: list[Listener] = []
        self._history: deque[Change] = deque()
        self._history_bytes = 0
        self._oldest = self.revision = 0

    def __repr__(self) -> str:
        return f"<LocalFeed {self._open} of {self._max} subscriptions>"

    @property
    def subscriptions(self) -> int:
        """How many are open."""
        return self._open

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every change from now on, before any subscriber."""
        self._listeners.append(listener)

    def subscribe(
        self, kind: str, id_: str, ends: Callable[[Row], bool] = lambda _: False, after: int | None = None
    ) -> Subscription:
        """A subscription to one resource; see `ChangeFeed`."""
        return Subscription(self, (kind, id_), ends, after)

    def open(self, subscription: Subscription) -> None:
        """Count a subscription in; called by its `with`."""
        if self._open >= self._max:
            raise TooManySubscriptionsError(f"{self._max} subscriptions are open, which is the limit")
        missed = [] if subscription.after == FROM_NOW_ON else self._since(subscription.after)
        self._open += 1
        self._followers.setdefault(subscription.key, set()).add(subscription)
        self._push([change for change in missed if (change.kind, change.id) == subscription.key], [subscription])
        if self._shut:
            subscription.end()

    def close(self, subscription: Subscription) -> None:
        """Count a subscription out; called at the end of its `with`."""
        self._unfollow(subscription)
        self._open -= 1

    def shut(self) -> None:
        """End every subscription, those to come as well: a store calls it before it closes."""
        self._shut = True
        for followers in self._followers.values():
            for follower in followers:
                follower.end()

    def reopen(self, revision: int) -> None:
        """Take new subscriptions: a store calls it once it is open, with the last revision that it gave.

        Subscriptions that were ended stay so.
        """
        self._shut = False
        self._history.clear()
        self._history_bytes = 0
        self._oldest = self.revision = revision

    def publish(self, changes: Sequence[Change]) -> None:
        """Hand on one commit's changes, in order."""
        for change in changes:
            self._remember(change)
            for listener in self._listeners:
                _tell(listener, change)
            self._push([change], self._followers.get((change.kind, change.id), ()))

    def changed_since(self, revision: int) -> set[Key] | None:
        """Which rows changed after a revision; None where it is too long ago."""
        try:
            return {(change.kind, change.id) for change in self._since(revision)}
        except RevisionTooOldError:
            return None

    def _since(self, revision: int) -> list[Change]:
        if revision < self._oldest:
            raise RevisionTooOldError(revision, self._oldest)
        newer = takewhile(lambda change: change.revision > revision, reversed(self._history))
        return [*newer][::-1]

    def _remember(self, change: Change) -> None:
        self.revision = change.revision
        self._history.append(change)
        self._history_bytes += _size(change)
        while len(self._history) > HISTORY or self._history_bytes > HISTORY_BYTES:
            forgotten = self._history.popleft()
            self._history_bytes -= _size(forgotten)
            self._oldest = forgotten.revision

    def _push(self, changes: Sequence[Change], followers: Iterable[Subscription]) -> None:
        for follower in [*followers]:
            for change in changes:
                if not follower.push(change):
                    self._unfollow(follower)
                    break

    def _unfollow(self, subscription: Subscription) -> None:
        """It takes no more changes."""
        followers = self._followers.get(subscription.key)
        if followers is not None:
            followers.discard(subscription)
            if not followers:
                del self._followers[subscription.key]


def _size(change: Change) -> int:
    return len(change.row.data) if change.row is not None else 0


def _tell(listener: Listener, change: Change) -> None:
    try:
        listener(change)
    except Exception:  # what was committed is: the others are told, its caller gets its answer, and the writer goes on
        log.exception("A listener of the change feed failed", kind=change.kind, resource_id=change.id)
