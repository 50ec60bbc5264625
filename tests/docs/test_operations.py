"""The commands of docs/operations.md do what it says."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import samples
from edge_rig import Stubs, id_of, sessions
from edge_sockets import dial
from markdown_text import blocks, document
from served_process import served

if TYPE_CHECKING:
    from pathlib import Path

(BACKUP,) = (one.text for one in blocks(document("docs/operations.md")) if ".backup(" in one.text)


async def backed_up(home: Path) -> None:
    """Run the command in a home."""
    command = BACKUP.replace("python3", sys.executable)
    process = await asyncio.create_subprocess_shell(command, env={**os.environ, "HOME": str(home)})
    assert await process.wait() == 0


async def test_a_backup_that_is_made_while_the_server_writes_is_one_that_a_server_starts_on(tmp_path: Path) -> None:
    async with served(tmp_path / ".stigmer") as server:
        channel = dial(server)
        stubs = Stubs(channel)
        before = await stubs.sessions.create(samples.session())
        made: list[Any] = []
        copying = asyncio.create_task(backed_up(tmp_path))
        while not copying.done():
            made.append(await stubs.sessions.create(samples.session()))
        await copying
        channel.close()
    copy = tmp_path / ".stigmer" / "backup.db"
    assert copy.stat().st_mode & 0o077 == 0
    (tmp_path / "restored").mkdir()
    copy.rename(tmp_path / "restored" / "stigmer.db")
    async with served(tmp_path / "restored") as server:
        channel = dial(server)
        stubs = Stubs(channel)
        assert await stubs.find_sessions.get(sessions.SessionId(value=id_of(before))) == before
        found = await stubs.find_sessions.list(sessions.ListSessionsRequest(page_size=1000))
        kept = {id_of(one) for one in found.entries}
        assert kept == {id_of(one) for one in [before, *made][: len(kept)]}
        channel.close()
