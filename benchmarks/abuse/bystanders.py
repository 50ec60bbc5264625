"""Well-behaved clients: a call each on time, whatever the others do, and how long each took from when it was due.

Latency counts from the moment at which a call was due, so that a server that stands still is seen by every call that
it kept from being made.
"""

from __future__ import annotations

import random
import selectors
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from benchmarks import messages
from benchmarks.wire import Message, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.abuse.data import Data
    from benchmarks.servers import Running

EVERY_S = 0.050
GIVE_UP_S = 30.0
"""A call that is not answered so long after the last one was due counts as this."""


@dataclass
class Latencies:
    """What the bystanders met, by what they did, in seconds; and how many of their calls failed."""

    took_s: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    failed: Counter[str] = field(default_factory=Counter[str])

    def of(self, what: str, quantile: float) -> float:
        """A quantile of one of the things that they do."""
        ordered = sorted(self.took_s[what])
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else GIVE_UP_S


class Bystander:
    """One connection that makes one kind of call every so often."""

    def __init__(self, wire: Wire, what: str, path: str, body: Callable[[int], bytes]) -> None:
        self.what, self.wire = what, wire
        self._path, self._body = path, body
        self._number = 0
        self.due = time.perf_counter() + random.random() * EVERY_S
        self.open: dict[int, float] = {}
        self._answered: set[int] = set()

    def __repr__(self) -> str:
        return f"<Bystander {self.what}, {self._number} calls>"

    def make_due_calls(self, now: float) -> None:
        """Send what is due, late as it may be."""
        while self.due <= now:
            self.open[self.wire.call(self._path, self._body(self._number))] = self.due
            self._number += 1
            self.due += EVERY_S * (0.5 + random.random())
        self.wire.flush()

    def take(self, found: Latencies) -> None:
        """Note what was answered."""
        now = time.perf_counter()
        for event in self.wire.receive():
            if isinstance(event, Message):
                self._answered.add(event.stream)
            elif event.stream in self.open:
                found.took_s.setdefault(self.what, []).append(now - self.open.pop(event.stream))
                if event.stream not in self._answered:
                    found.failed[self.what] += 1
                self._answered.discard(event.stream)
        self.wire.flush()


def watch(running: Running, data: Data, seconds: float, *, apart: bool) -> Latencies:
    """Make calls for so long, then wait for the answers; each client from an address of its own where `apart`."""
    found = Latencies()
    crowd = _crowd(running, data, apart=apart)
    with selectors.DefaultSelector() as selector:
        for one in crowd:
            selector.register(one.wire.socket, selectors.EVENT_READ, one)
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            for one in crowd:
                one.make_due_calls(now)
            _take(selector, found, min(one.due for one in crowd) - time.perf_counter())
        while any(one.open for one in crowd) and time.perf_counter() < end + GIVE_UP_S:
            _take(selector, found, 0.2)
    for one in crowd:
        found.took_s.setdefault(one.what, []).extend(GIVE_UP_S for _ in one.open)
        found.failed[one.what] += len(one.open)
        one.wire.socket.close()
    return found


def _take(selector: selectors.BaseSelector, found: Latencies, wait_s: float) -> None:
    for key, _ in selector.select(max(0.0, wait_s)):
        one: Bystander = key.data
        one.take(found)


def _crowd(running: Running, data: Data, *, apart: bool) -> list[Bystander]:
    creates = messages.contexts()
    get, reference = messages.get(data.context), messages.get_by_reference("read-me")
    page = messages.list_sessions(10)
    wires = (Wire(running.address, source=f"127.0.0.{host if apart else 1}") for host in count(2))
    return [
        *(Bystander(next(wires), "get", messages.GET, lambda _: get) for _ in range(5)),
        Bystander(next(wires), "getByReference", messages.GET_BY_REFERENCE, lambda _: reference),
        Bystander(next(wires), "list", messages.LIST, lambda _: page),
        Bystander(next(wires), "create", messages.CREATE, lambda _: next(creates)),
        Bystander(
            next(wires),
            "updateStatus",
            messages.UPDATE_STATUS,
            lambda number: messages.progress(data.running[number % len(data.running)], number),
        ),
    ]
