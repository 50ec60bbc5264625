"""Metrics of one plane, in a Prometheus registry of its own; docs/metrics.md lists them.

`app` makes one for each plane and hands its methods to those who report: the door each call, the store each commit, the
port each call that it turns away. What can be asked at any time, such as how many connections there are, is read when
somebody scrapes. `exposition` serves the text; a host mounts the registry as it likes.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import ExecutionPhase

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from prometheus_client.metrics_core import Metric

Total: TypeAlias = "Callable[[str, tuple[tuple[str, str], ...]], Awaitable[int]]"
"""How many resources of a kind there are that have these (field, value) keys."""

CALL_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
COMMIT_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
COUNT_S = 2.0
"""How long a scrape waits for the store to count; one that gets no answer has the numbers of the last one."""


class Port(Protocol):
    """What a port can be asked at any time."""

    @property
    def connections(self) -> int:
        """How many are open."""
        ...

    @property
    def held_bytes(self) -> int:
        """Of requests that are not whole and replies that are not read."""
        ...


class Metrics(CollectorRegistry):
    """The registry, and what its plane reports.

    Attributes:
        loop: where the store is asked; none before the plane is open.
    """

    def __init__(self) -> None:
        super().__init__()
        self._duration = Histogram(
            "rpc_server_call_duration_seconds",
            "How long calls took, a stream to its end; not those that a call makes within itself.",
            ("method", "code"),
            registry=self,
            buckets=CALL_BUCKETS_S,
        )
        self._calls: dict[tuple[str, str], Histogram] = {}
        self._refused = Counter(
            "stigmer_refused_calls",
            "Calls turned away, or given up by their callers, before any service saw them.",
            ("code",),
            registry=self,
        )
        self._commit = Histogram(
            "stigmer_commit_duration_seconds", "How long commits took.", registry=self, buckets=COMMIT_BUCKETS_S
        )
        self._batch = Histogram(
            "stigmer_commit_transactions", "How many transactions a commit took.", registry=self, buckets=BATCH_BUCKETS
        )
        self._contexts = Counter(
            "stigmer_ended_contexts", "Execution contexts ended by the server itself.", ("reason",), registry=self
        )
        self._ports: list[Port] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.read("stigmer_connections", "Connections open.", lambda: sum(port.connections for port in self._ports))
        self.read(
            "stigmer_request_memory_bytes",
            "Bytes of requests that are not whole and replies that are not read.",
            lambda: sum(port.held_bytes for port in self._ports),
        )

    def call(self, method: str, code: str, duration_s: float) -> None:
        """A call has ended."""
        bound = self._calls.get((method, code))
        if bound is None:
            bound = self._calls[method, code] = self._duration.labels(method, code)
        bound.observe(duration_s)

    def refused(self, code: str) -> None:
        """A call has ended before any service saw it."""
        self._refused.labels(code).inc()

    def commit(self, transactions: int, duration_s: float) -> None:
        """So many transactions went in one commit, refused ones included."""
        self._batch.observe(transactions)
        self._commit.observe(duration_s)

    def context_ended(self, reason: str) -> None:
        """The server has ended an ExecutionContext by itself."""
        self._contexts.labels(reason).inc()

    def read(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        """A gauge that is read when somebody scrapes; on any thread."""
        Gauge(name, documentation, registry=self).set_function(value)

    @asynccontextmanager
    async def of_port(self, port: Port) -> AsyncGenerator[None]:
        """Count the port's connections in while this is entered."""
        self._ports.append(port)
        try:
            yield
        finally:
            self._ports.remove(port)

    def count(self, kinds: Iterable[str], total: Total, size_bytes: Callable[[], Awaitable[int]]) -> None:
        """Have a store counted and measured when somebody scrapes."""
        self.register(_Stored(self, tuple(kinds), total, size_bytes))


class _Stored(Collector):
    """What the store is asked: resources by kind, executions by phase, its size."""

    def __init__(
        self, metrics: Metrics, kinds: tuple[str, ...], total: Total, size_bytes: Callable[[], Awaitable[int]]
    ) -> None:
        self._metrics = metrics
        self._kinds, self._total, self._size_bytes = kinds, total, size_bytes
        self._bytes = 0
        self._resources: dict[str, int] = {}
        self._executions: dict[str, int] = {}
        self._asking: asyncio.Task[None] | None = None

    def describe(self) -> Iterable[Metric]:
        """What is collected, with the last numbers."""
        resources = GaugeMetricFamily("stigmer_resources", "Resources in the store.", labels=("kind",))
        executions = GaugeMetricFamily("stigmer_executions", "AgentExecutions in the phase.", labels=("phase",))
        for family, counted in ((resources, self._resources), (executions, self._executions)):
            for label, number in counted.items():
                family.add_metric((label,), number)
        return resources, executions, GaugeMetricFamily("stigmer_store_bytes", "Bytes of the store.", self._bytes)

    def collect(self) -> Iterable[Metric]:
        """Ask; on the loop's own thread, which cannot wait for it, have it asked for the next time."""
        loop = self._metrics.loop
        if loop is not None and loop.is_running():
            if loop is not _running_loop():
                with suppress(TimeoutError):  # the loop is busy: the last numbers stand
                    asyncio.run_coroutine_threadsafe(self._ask(), loop).result(COUNT_S)
            elif self._asking is None or self._asking.done():
                self._asking = loop.create_task(self._ask())
        return self.describe()

    async def _ask(self) -> None:
        with suppress(Exception):  # the store does not answer, or is closed: the last numbers stand
            async with asyncio.timeout(COUNT_S):
                self._bytes = await self._size_bytes()
                self._resources = {kind: await self._total(kind, ()) for kind in self._kinds}
                self._executions = {
                    phase.name: await self._total(*_in(phase)) for phase in ExecutionPhase if phase.value
                }


def _running_loop() -> asyncio.AbstractEventLoop | None:
    with suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


def _in(phase: ExecutionPhase) -> tuple[str, tuple[tuple[str, str], ...]]:
    return "AgentExecution", (("status.phase", str(phase.value)),)
