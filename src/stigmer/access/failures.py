"""How long a refusal for want of good credentials is held back: for those alone who fail again and again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from stigmer.access.peers import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.access.credentials import Peer

FREE = 19
"""Failures of a peer in a minute that are answered at once."""
WINDOW_S = 60.0
STEP_S, MOST_S = 0.05, 1.0
"""By how much each further one is answered later, and how much later at most."""
MOST_PEERS = 10_000
"""So many are remembered; who failed last longest ago is forgotten."""


class Failures:
    """Who failed how often.

    Args:
        now: seconds, of a clock that only goes on.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failed: dict[str, tuple[int, float]] = {}

    def __repr__(self) -> str:
        return f"<Failures of {len(self._failed)} peers>"

    def delay_s(self, peer: Peer) -> float:
        """Note that a call failed; how long its answer is to be held back."""
        who = origin_of(peer)
        now = self._now()
        times, since = self._failed.pop(who, (0, now))
        if now - since >= WINDOW_S:
            times, since = 0, now
        self._failed[who] = times + 1, since
        if len(self._failed) > MOST_PEERS:
            del self._failed[next(iter(self._failed))]
        return min(MOST_S, STEP_S * max(0, times + 1 - FREE))
