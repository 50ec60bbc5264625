from __future__ import annotations

from typing import TYPE_CHECKING

import stranger

import stigmer.app  # noqa: F401 - here, as its first use in a loop would block it

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_program_of_a_stranger_runs(tmp_path: Path) -> None:
    assert await stranger.main(tmp_path) == [
        2,
        ["EXECUTION_PENDING", "EXECUTION_COMPLETED"],
        "NotFound",
        ("DAY", "delete", "not today"),
        "ann apply",
        True,
    ]
