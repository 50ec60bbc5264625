"""The stores that the contract suite (`test_every_store_*`) runs on. A new backend is one line in BACKENDS."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from late_store import LateStore

from stigmer.store.memory import MemoryStore, Tables
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from store_rows import Opener

    from stigmer.store.contract import Store


def in_memory(kind: type[MemoryStore], _: Path) -> Callable[[], MemoryStore]:
    return partial(kind, Tables())


BACKENDS: dict[str, Callable[[Path], Callable[[], Any]]] = {
    "sqlite": lambda directory: partial(SqliteStore, directory),
    "sqlite without cache": lambda directory: partial(SqliteStore, directory, cache_bytes=0),
    "memory": partial(in_memory, MemoryStore),
    "memory with a late feed": partial(in_memory, LateStore),
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Callable[[Path], Opener]:
    """Makes what opens stores in a directory."""
    return BACKENDS[request.param]


@pytest.fixture
def opener(backend: Callable[[Path], Opener], tmp_path: Path) -> Opener:
    """A store that is not open yet; each call gives one more on the same data."""
    return backend(tmp_path / "data")


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    """An open, empty store."""
    async with opener() as opened:
        yield opened
