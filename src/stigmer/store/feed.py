"""The change feed: committed changes, in commit order, to whoever follows one resource.

A backend publishes each commit before it acknowledges it. `steps.stream_updates` reads; the row cache listens too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol, Self

from stigmer.logs import get_logger
from stigmer.store.base import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from stigmer.store.base import Change

BACKLOG = 16
"""How many states a slow reader may fall behind before the older ones are merged into the newest."""


log = get_logger("stigmer.store.feed")


class TooManySubscriptionsError(StoreError):
    """As many subscriptions as allowed are open."""


class Listener(Protocol):
    """Told of every committed change, at once and in order; must not block. What it raises is logged, and no more."""

    def __call__(self, change: Change, /) -> None:
        """Take note of a change."""


class Subscription:
    """The changes of one resource from its opening on. A context manager; one task reads it.

    A reader that falls behind by more than BACKLOG changes misses the oldest of them, never the newest.
    """

    __slots__ = ("_ended", "_feed", "_key", "_pending", "_wakeup")

    def __init__(self, feed: ChangeFeed, key: tuple[str, str]) -> None:
        self._feed = feed
        self._key = key
        self._pending: deque[Change] = deque(maxlen=BACKLOG)
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

    def push(self, change: Change) -> None:
        """Take one change; the reader gets it when it next asks."""
        self._pending.append(change)
        self._wake()

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
        return self._pending.popleft()

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

    def subscribe(self, kind: str, id_: str) -> Subscription:
        """A subscription to one resource; it counts from `with` to the end of the block.

        Raises (on entering):
            TooManySubscriptionsError: the limit is reached.
        """
        return Subscription(self, (kind, id_))

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
        followers = self._followers[key]
        followers.discard(subscription)
        if not followers:
            del self._followers[key]
        self._open -= 1

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
            for follower in self._followers.get((change.kind, change.id), ()):
                follower.push(change)


def _tell(listener: Listener, change: Change) -> None:
    try:
        listener(change)
    except Exception:  # what was committed is: the others are told, its caller gets its answer, and the writer goes on
        log.exception("A listener of the change feed failed", kind=change.kind, resource_id=change.id)
