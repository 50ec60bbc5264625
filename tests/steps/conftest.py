"""A bench on a store of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conformance_bench import Bench

from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with SqliteStore(tmp_path / "data") as store:
        yield Bench(store)
