"""A control plane whose queues, tasks and subscriptions are all gone at the end of each test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import badge_planes
import pytest
from badges import Badges
from edge_rig import Rig, turns

from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from stigmer.edge.interceptors import Interceptor


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    async with SqliteStore(tmp_path / "data") as store:
        yield store


@pytest.fixture
async def wire(store: SqliteStore) -> AsyncGenerator[Callable[..., Rig]]:
    """Make a control plane on the store, with interceptors of the host's."""
    made: list[Rig] = []
    before = asyncio.all_tasks()

    def make(*interceptors: Interceptor, **wired: Any) -> Rig:
        made.append(Rig(store, interceptors, **wired))
        return made[-1]

    yield make
    for rig in made:
        await rig.unit_of_work.settled()
    await store._settled()  # a read that nobody waits for any more may still run on its thread
    await turns()
    for rig in made:
        assert not rig.unit_of_work._row_queues._locks
        assert not rig.unit_of_work._row_queues.interested
        assert not rig.edge.running._running
        assert store.feed._open == 0
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}


@pytest.fixture
def rig(wire: Callable[..., Rig]) -> Rig:
    return wire()


@pytest.fixture
def badges() -> Badges:
    """Knows ann and bob, editors of acme."""
    return Badges("ann", "bob")


@pytest.fixture(params=[badge_planes.own, badge_planes.stock], ids=["its own server", "a stock server"])
def serve(request: pytest.FixtureRequest, badges: Badges) -> badge_planes.Opened:
    """A plane with these badges, on its own server and on grpclib's."""
    return badge_planes.opener(request.param, badges)


@pytest.fixture
def serve_own(badges: Badges) -> badge_planes.Opened:
    """The same, on its own server alone."""
    return badge_planes.opener(badge_planes.own, badges)
