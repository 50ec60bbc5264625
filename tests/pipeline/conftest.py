"""A plane whose clock a test sets, on each backend; for what is about contexts that expire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ageing import Ageing, Clock, opened

from stigmer.app import MEMORY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.set_in(monkeypatch)


@pytest.fixture(params=["sqlite", "memory"])
async def ageing(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncGenerator[Ageing]:
    async with opened(tmp_path / "data" if request.param == "sqlite" else MEMORY) as plane:
        assert clock.ahead_ms == 0
        ageing = Ageing(plane)
        await ageing.begun()
        yield ageing
