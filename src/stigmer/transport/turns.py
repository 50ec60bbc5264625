"""Which connection is acted on next: each has its turn, and all of them together leave the loop to calls in between."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

TURN_S = 0.001  # what connections with more than one share of bytes may take of one turn of the loop, all together


class Busy(Protocol):
    """A connection with bytes that wait."""

    def act(self) -> bool:
        """Act on some of them; whether there are more."""
        ...


class Turns:
    """The connections whose bytes wait, in the order of their turns."""

    def __init__(self) -> None:
        self._waiting: deque[Busy] = deque()
        self._since_s: float | None = None  # when the first connection was acted on in this turn

    def __repr__(self) -> str:
        return f"<Turns {len(self._waiting)} waiting>"

    def has_time(self) -> bool:
        """Whether a connection whose bytes have just come may be acted on at length in this turn of the loop."""
        if self._since_s is None:
            self._since_s = time.perf_counter()
            asyncio.get_running_loop().call_soon(self._next)
            return True
        return time.perf_counter() < self._since_s + TURN_S

    def _next(self) -> None:
        self._since_s = None

    def add(self, busy: Busy) -> None:
        """Act on it in later turns of the loop, until it has nothing more."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
        self._waiting.append(busy)

    def _turn(self) -> None:
        until = time.perf_counter() + TURN_S
        while self._waiting:
            busy = self._waiting.popleft()
            if busy.act():
                self._waiting.append(busy)
            if time.perf_counter() >= until:
                break
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
