"""A plane with callers of several organizations, on each backend; what is read of its store is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from callers import Callers, Counted
from edge_rig import Rig

from stigmer.store.memory import MemoryStore
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Counted]:
    async with MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "data") as store:
        yield Counted(store)


@pytest.fixture
def callers(store: Counted) -> Callers:
    return Callers(Rig(store))  # type: ignore[arg-type]  # it has all that the store behind it has
