"""The change feed: committed changes, in commit order, to whoever follows one resource.

A backend publishes each commit before it acknowledges it. `steps.stream_updates` reads; the row cache listens too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol, Self

from stigmer.store.base import StoreError, StoreUnavailableError
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from stigmer.store.base import Change, Row

BACKLOG = 16
"""How many states a slow reader may fall behind before the older ones are merged into the newest."""
BACKLOG_BYTES = 256 * 1024
"""How long these states may be together; the newest is kept however long it is."""

log = get_logger("stigmer.store.feed")


class TooManySubscriptionsError(StoreError):
    """As many subscriptions as allowed are open."""


class Listener(Protocol):
    """Told of every committed change, at once and in order; must not block. What it raises is logged, and no more."""

    def __call__(self, change: Change, /) -> None:
        """Take note of a change."""


class Subscription:
    """The changes of one resource from its opening on, to its end. A context manager; one task reads it.

    A reader that falls behind by more than BACKLOG changes, or by BACKLOG_BYTES, misses the oldest of them, never the
    newest. After a change that ends it, such as the deletion, none is taken: the reader never sees what comes later
    under the same id.
    """

    __slots__ = ("_bytes", "_ended", "_ends", "_feed", "_key", "_pending", "_wakeup")

    def __init__(self, feed: ChangeFeed, key: tuple[str, str], ends: Callable[[Row], bool]) -> None:
        self._feed = feed
        self._key = key
        self._ends = ends
        self._pending: deque[Change] = deque()
        self._bytes = 0
        self._wakeup: asyncio.Future[None] | None = None
        self._ended = False

    def __repr__(self) -> str:
        return f"<Subscription {'/'.join(self._key)}, {len(self._pending)} pending>"

    def __enter__(self) -> Self:
        self._feed.open(self, self._key)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.close(self, self._key)

    def push(self, change: Change) -> bool:
        """Take one change; the reader gets it when it next asks. Whether more of them may follow."""
        self._pending.append(change)
        self._bytes += _size(change)
        while len(self._pending) > 1 and (len(self._pending) > BACKLOG or self._bytes > BACKLOG_BYTES):
            self._bytes -= _size(self._pending.popleft())
        self._wake()
        return change.row is not None and not self._ends(change.row)

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
        change = self._pending.popleft()
        self._bytes -= _size(change)
        return change

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)


class ChangeFeed:
    """Fans committed changes out, by resource.

    Args:
        max_subscriptions: how many may be open at once.
    """

    def __init__(self, max_subscriptions: int = 10_000) -> None:
        self._max = max_subscriptions
        self._open = 0
        self._shut = False
        self._followers: dict[tuple[str, str], set[Subscription]] = {}
        self._listeners: list[Listener] = []

    def __repr__(self) -> str:
        return f"<ChangeFeed {self._open} of {self._max} subscriptions>"

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every change from now on, before any subscriber."""
        self._listeners.append(listener)

    def subscribe(self, kind: str, id_: str, ends: Callable[[Row], bool] = lambda _: False) -> Subscription:
        """A subscription to one resource; it counts from `with` to the end of the block.

        Args:
            kind: the resource's kind.
            id_: the resource's id.
            ends: whether nobody wants a later state than this one.

        Raises (on entering):
            TooManySubscriptionsError: the limit is reached.
        """
        return Subscription(self, (kind, id_), ends)

    def open(self, subscription: Subscription, key: tuple[str, str]) -> None:
        """Count a subscription in; called by its `with`."""
        if self._open >= self._max:
            raise TooManySubscriptionsError(f"{self._max} subscriptions are open, which is the limit")
        self._open += 1
        self._followers.setdefault(key, set()).add(subscription)
        if self._shut:
            subscription.end()

    def close(self, subscription: Subscription, key: tuple[str, str]) -> None:
        """Count a subscription out; called at the end of its `with`."""
        self._unfollow(subscription, key)
        self._open -= 1

    def _unfollow(self, subscription: Subscription, key: tuple[str, str]) -> None:
        """It takes no more changes."""
        followers = self._followers.get(key)
        if followers is not None:
            followers.discard(subscription)
            if not followers:
                del self._followers[key]

    def shut(self) -> None:
        """End every subscription, those to come as well: a store calls it before it closes."""
        self._shut = True
        for followers in self._followers.values():
            for follower in followers:
                follower.end()

    def reopen(self) -> None:
        """Take new subscriptions: a store calls it once it is open. Those that were ended stay so."""
        self._shut = False

    def publish(self, changes: Sequence[Change]) -> None:
        """Hand on one commit's changes, in order."""
        for change in changes:
            for listener in self._listeners:
                _tell(listener, change)
            key = (change.kind, change.id)
            for done in [one for one in self._followers.get(key, ()) if not one.push(change)]:
                self._unfollow(done, key)


def _size(change: Change) -> int:
    return len(change.row.data) if change.row is not None else 0


def _tell(listener: Listener, change: Change) -> None:
    try:
        listener(change)
    except Exception:  # what was committed is: the others are told, its caller gets its answer, and the writer goes on
        log.exception("A listener of the change feed failed", kind=change.kind, resource_id=change.id)
