"""Start-time fair queueing: who has used least of something goes first, and who was away saves up little."""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace
from itertools import count
from typing import Generic, TypeVar

CREDIT_S = 0.005
"""What one that has used less than its part may use before those that wait."""
DEBT_S = 1.0
"""No more is remembered of what one has used beyond its part."""


class Share:
    """What takes its part beside others.

    Attributes:
        virtual_s: the seconds that it has used, on the clock of its `FairShares`.
    """

    __slots__ = ("virtual_s",)

    def __init__(self, virtual_s: float) -> None:
        self.virtual_s = virtual_s

    @property
    def rank_s(self) -> float:
        """Whose is least goes first."""
        return self.virtual_s


ShareT = TypeVar("ShareT", bound=Share)


class FairShares(Generic[ShareT]):
    """Those that wait, by their virtual times.

    Attributes:
        now_s: the virtual time of those that have had just their part: of whoever was served last.
    """

    __slots__ = ("_furthest_s", "_heap", "_numbers", "now_s")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ShareT]] = []
        self._numbers = count()
        self.now_s = self._furthest_s = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def charge(self, share: ShareT, cost_s: float) -> None:
        """It has used so much more, or less."""
        share.virtual_s += cost_s
        self._furthest_s = max(self._furthest_s, share.virtual_s)

    def is_next(self, share: ShareT) -> bool:
        """Whether nobody waits that should be served before it."""
        return not self._heap or share.virtual_s <= self.now_s

    def begin(self, share: ShareT) -> None:
        """It wants something again. While nobody waits, nobody has had more than its part."""
        if not self._heap:
            self.now_s = self._furthest_s
        share.virtual_s = min(max(share.virtual_s, self.now_s - CREDIT_S), self.now_s + DEBT_S)

    def push(self, share: ShareT) -> None:
        """It waits, and did not before."""
        heappush(self._heap, (share.rank_s, next(self._numbers), share))

    def pop(self) -> ShareT:
        """Whose turn it is; somebody must wait."""
        heap = self._heap
        while (rank_s := heap[0][2].rank_s) > heap[0][0]:  # it has used something while it waited
            heapreplace(heap, (rank_s, next(self._numbers), heap[0][2]))
        share = heappop(heap)[2]
        self.now_s = max(self.now_s, share.virtual_s)
        return share
