"""A client by each transport; every test that takes `client` runs once a transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

import certificates
import pytest
import pytest_asyncio
from transports import TRANSPORTS, calling

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import stigmer


@pytest.fixture(scope="session")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.make(tmp_path_factory.mktemp("pems"))


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture
async def client(transport: str, pems: Path) -> AsyncGenerator[stigmer.Client]:
    async with calling(transport, pems, org="acme") as (client, _):
        yield client
