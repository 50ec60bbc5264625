"""The stores that the contract suite (`test_every_store_*`) runs on. A new backend is one line in BACKENDS."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from store_rows import Opener

    from stigmer.store.base import Store

BACKENDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Store]]] = {
    "sqlite": SqliteStore,
    "sqlite without cache": partial(SqliteStore, cache_bytes=0),
}


@pytest.fixture(params=BACKENDS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """A store that is not open yet; each call gives one more on the same data."""
    return partial(BACKENDS[request.param], tmp_path / "data")


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    """An open, empty store."""
    async with opener() as opened:
        yield opened
