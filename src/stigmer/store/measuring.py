"""What a store tells of itself to the metrics: its subscriptions, its resources, executions and size."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from stigmer.store.rows import Query, Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stigmer.store.contract import Store
    from stigmer.telemetry.metrics import Metrics


def measure(store: Store, kinds: Iterable[str], metrics: Metrics) -> None:
    """Have the store asked when somebody scrapes."""
    metrics.read("stigmer_subscriptions", "Subscriptions open.", lambda: store.feed.subscriptions)
    metrics.count(kinds, partial(_total, store), store.size_bytes)


async def _total(store: Store, kind: str, keys: tuple[tuple[str, str], ...]) -> int:
    return (await store.page(Query(kind, keys), Window(limit=0))).total
