"""How long to wait before a call is made again."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stigmer.client.options import Options
    from stigmer.errors import StigmerError

FIRST_S = 0.1
FACTOR = 1.5
JITTER = 0.2
MOST_S = 5.0


class Backoff:
    """The waits between the tries of one call, or of one outage of a stream.

    Args:
        options: how often and how long to try.
        deadline_s: on the clock `time.monotonic`; no wait is longer than what is left.
    """

    def __init__(self, options: Options, deadline_s: float | None) -> None:
        now = time.monotonic()
        self._left, self._next_s = options.max_retries, FIRST_S
        self._end_s = now + options.retry_s if deadline_s is None else min(now + options.retry_s, deadline_s)

    def wait_s(self, error: StigmerError) -> float | None:
        """Seconds until the next try; None where there is none. What the server asks for is waited at the least."""
        if self._left <= 0:
            return None
        jittered_s = self._next_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
        wait_s = max(jittered_s, getattr(error, "retry_after_s", None) or 0.0)
        if time.monotonic() + wait_s >= self._end_s:
            return None
        self._left -= 1
        self._next_s = min(MOST_S / (1 + JITTER), self._next_s * FACTOR)
        return wait_s
