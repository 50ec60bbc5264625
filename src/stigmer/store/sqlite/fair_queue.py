"""A queue that serves its callers round robin: who sends a flood waits for itself, the others for one item of it."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by caller: a caller's own in order, the callers one item each, round robin."""

    def __init__(self) -> None:
        self._callers: OrderedDict[str, deque[T]] = OrderedDict()  # the next to be served first

    def __len__(self) -> int:
        return sum(map(len, self._callers.values()))

    def __bool__(self) -> bool:
        return bool(self._callers)

    def __repr__(self) -> str:
        return f"<FairQueue {len(self)} items of {len(self._callers)} callers>"

    def put(self, caller: str, item: T) -> None:
        """Add a caller's last item."""
        self._callers.setdefault(caller, deque()).append(item)

    def put_back(self, items: Iterable[tuple[str, T]]) -> None:
        """Return items, in the order in which they were taken: they are the next to be taken again."""
        for caller, item in reversed(list(items)):
            self._callers.setdefault(caller, deque()).appendleft(item)
            self._callers.move_to_end(caller, last=False)

    def take(self) -> T | None:
        """The next item; None where the queue is empty."""
        if not self._callers:
            return None
        caller, queue = self._callers.popitem(last=False)
        item = queue.popleft()
        if queue:
            self._callers[caller] = queue
        return item
