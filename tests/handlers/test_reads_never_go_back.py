"""Reads of one caller never tell of an earlier commit than one that it was told of, whatever kinds of read they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from edge_sockets import dial
from served_process import served
from watched_rows import read_beside_writers

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.app.assembly import App


@pytest.mark.parametrize("reads", [200, pytest.param(20_000, marks=pytest.mark.long)])
async def test_a_get_after_a_list_does_not_go_back(app: App, reads: int) -> None:
    """Attack: a list saw a commit in the file before the row cache had heard of it."""
    await read_beside_writers(app.loopback, reads)


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
@pytest.mark.parametrize("reads", [50, pytest.param(5_000, marks=pytest.mark.long)])
async def test_nor_over_a_socket(tmp_path: Path, loop: str, reads: int) -> None:
    async with served(tmp_path, loop) as server:
        channel = dial(server)
        try:
            await read_beside_writers(channel, reads)
        finally:
            channel.close()
