"""How `stigmer serve` ends: by a signal at whatever moment, whatever its clients do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from served_process import served

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("moment", ["Listening beyond this machine", "stigmer serves"])
async def test_a_signal_while_the_server_starts_drains_it_too(tmp_path: Path, moment: str) -> None:
    async with served(tmp_path, "--listen", "0.0.0.0:0", signalled=moment) as server:
        assert await server.ended() == 0
        assert [line["event"] for line in server.lines][-3:] == [
            "stigmer serves",
            "Draining; a second signal ends at once",
            "stigmer stops",
        ]
