"""Load: callers and followers on the `wire`, run in a process of their own. `scenarios` sends these functions there."""

from __future__ import annotations

import secrets
import selectors
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, cycle, repeat
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import messages
from benchmarks.wire import Ended, Message, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.servers import Running

WARM_UP_S = 0.15


@dataclass(frozen=True)
class Sample:
    """What one round measured.

    Attributes:
        rate: calls, messages or rows a second.
        p50_ms: the median time of one, as its caller saw it; 0 where it was not taken.
        client: the share of a core that the measuring process used.
        server_us: the server's processor time for one; 0 where it is not known.
        updates: updates a second, of which each makes many messages.
    """

    rate: float
    p50_ms: float = 0.0
    client: float = 0.0
    server_us: float = 0.0
    updates: float = 0.0


class Meter:
    """Processor time and time, from its making on."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._server_s = server.cpu_s()
        self._client_s = time.process_time()
        self.started = time.perf_counter()

    def sample(self, done: int, *, p50_ms: float = 0.0, updates: int = 0) -> Sample:
        """What was done since."""
        elapsed = time.perf_counter() - self.started
        client = (time.process_time() - self._client_s) / elapsed
        server_us = (self._server.cpu_s() - self._server_s) / done * 1e6
        return Sample(done / elapsed, p50_ms, client, server_us, updates / elapsed)


@dataclass(frozen=True)
class Calls:
    """Unary calls on one connection, each caller with one call open.

    Attributes:
        path: the method.
        bodies: requests, sent in turn; none means creates, each with a name of its own.
        callers: how many.
        seconds: how long, after a short warm-up.
        headers: further ones of each call.
        keyed: whether each bears an idempotency key of its own.
        values: how many values each of the creates has, and how many of them are secret; None for the usual context.
    """

    path: str
    bodies: tuple[bytes, ...]
    callers: int
    seconds: float
    headers: tuple[tuple[str, str], ...] = ()
    keyed: bool = False
    values: tuple[int, int] | None = None

    def requests(self) -> Iterator[bytes]:
        """What is sent, without end."""
        if self.bodies:
            return cycle(self.bodies)
        return messages.contexts() if self.values is None else messages.named(messages.context_of(*self.values))


class Failed(Exception):
    """A call that is measured went wrong, so the figures would mean nothing."""


def unary(server: Running, calls: Calls) -> Sample:
    """Make calls as fast as they are answered."""
    bodies = calls.requests()
    with Wire(server.address, calls.headers) as wire:
        _keep_calling(wire, calls, bodies, min(WARM_UP_S, calls.seconds))
        meter = Meter(server)
        took = _keep_calling(wire, calls, bodies, calls.seconds)
        return meter.sample(len(took), p50_ms=median(took) * 1000)


def _keep_calling(wire: Wire, calls: Calls, bodies: Iterator[bytes], seconds: float) -> list[float]:
    """Seconds that each call took; ends when the last open one is answered."""
    clock = time.perf_counter
    keys = (secrets.token_hex(16) for _ in count()) if calls.keyed else repeat("")
    end = clock() + seconds
    started: dict[int, float] = {}
    answered: set[int] = set()
    took: list[float] = []
    for _ in range(calls.callers):
        started[wire.call(calls.path, next(bodies), next(keys))] = clock()
    while started:
        wire.flush()
        for event in wire.receive():
            if isinstance(event, Message):
                answered.add(event.stream)
                continue
            if event.stream not in answered:
                raise Failed(f"{calls.path}: a call failed")
            answered.discard(event.stream)
            now = clock()
            took.append(now - started.pop(event.stream))
            if now < end:
                started[wire.call(calls.path, next(bodies), next(keys))] = now
    return took


@dataclass(frozen=True)
class Following:
    """Streams that are open at once, and how they come to messages.

    Attributes:
        path: the streaming method.
        bodies: requests, which the streams send in turn.
        streams: how many follow.
        connections: over how many connections.
        seconds: how long, once every stream had a message.
        execution_ids: whose status is updated meanwhile, of each one update after the other; none for a server that
            needs no updates.
    """

    path: str
    bodies: tuple[bytes, ...]
    streams: int
    connections: int
    seconds: float
    execution_ids: tuple[str, ...] = ()


def follow(server: Running, plan: Following) -> Sample:
    """Count what all streams get; one update follows the other."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        wires = [stack.enter_context(Wire(server.address)) for _ in range(plan.connections)]
        for number, body in zip(range(plan.streams), cycle(plan.bodies), strict=False):
            wires[number % plan.connections].call(plan.path, body)
        for wire in wires:
            wire.flush()
            selector.register(wire.socket, selectors.EVENT_READ, wire)
        updater = stack.enter_context(Wire(server.address))
        selector.register(updater.socket, selectors.EVENT_READ, updater)
        return _count(selector, updater, plan, server)


def _count(selector: selectors.BaseSelector, updater: Wire, plan: Following, server: Running) -> Sample:
    """Wait until there were as many messages as streams, which is when each had its first; then count, one at least."""
    received = updates = 0
    running: dict[int, str] = {}  # open updates, and of which execution
    meter: Meter | None = None
    while meter is None or not received or time.perf_counter() < meter.started + plan.seconds:
        for key, _ in selector.select(timeout=10.0):
            wire: Wire = key.data
            events = wire.receive()
            if wire is not updater:
                received += _only_messages(events)
            else:
                updates += _update_again(updater, events, running)
            wire.flush()
        if meter is None and received >= plan.streams:
            received, meter = 0, Meter(server)
            running |= {_update(updater, id_, 0): id_ for id_ in plan.execution_ids}
            updater.flush()
    return meter.sample(received, updates=updates)


def _update_again(updater: Wire, events: list[Message | Ended], running: dict[int, str]) -> int:
    """Follow each update that is done by another; how many were done."""
    done = [event.stream for event in events if isinstance(event, Ended)]
    for stream in done:
        id_ = running.pop(stream)
        running[_update(updater, id_, stream)] = id_
    return len(done)


def _update(updater: Wire, execution_id: str, number: int) -> int:
    return updater.call(messages.UPDATE_STATUS, messages.progress(execution_id, number))


def _only_messages(events: list[Message | Ended]) -> int:
    if any(isinstance(event, Ended) for event in events):
        raise Failed("a stream ended while it was followed")
    return len(events)
