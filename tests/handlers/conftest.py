"""A control plane in this process and, for the conformance suite, one behind a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conformance_socket import GrpcioChannel, served

from stigmer.app import assembly
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[assembly.App]:
    async with SqliteStore(tmp_path / "data") as store:
        yield assembly.assemble(store)


@pytest.fixture
def loopback(app: assembly.App) -> Any:
    return app.loopback


@pytest.fixture(scope="session")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcioChannel]:
    with served(tmp_path_factory.mktemp("served")) as channel:
        yield channel


@pytest.fixture(params=["loopback", "socket"])
def channel(request: pytest.FixtureRequest) -> Any:
    """Each scenario runs over the loopback, and over a socket with grpcio."""
    return request.getfixturevalue(request.param)
