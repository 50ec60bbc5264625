"""kill -9 around each commit of an execution with secrets: its context is there until it ends, and no longer."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from edge_sockets import dial
from killed_at_commits import CANARY, ENDS, PROGRAM, Executions
from served_process import served

if TYPE_CHECKING:
    from pathlib import Path

LONG = (pytest.mark.long, pytest.mark.timeout(3600))
SHORT = [("create", "written"), ("create", "committed"), ("end", "committed")]
ALL = [(what, when) for what in ("create", "end") for when in ("begun", "written", "committed")]
CONTEXTS = "SELECT value FROM resource_keys WHERE kind = 'ExecutionContext' AND field = 'spec.execution_id'"
EXECUTIONS = (
    "SELECT id FROM resources WHERE kind = 'AgentExecution' AND NOT EXISTS (SELECT 1 FROM resource_keys"
    " WHERE resource_keys.sequence = resources.sequence AND field = 'status.phase' AND value IN (?, ?, ?))"
)
LATEST = 40
"""At most so many commits go well before the one at which the server is killed."""


def left_over(directory: Path) -> list[str]:
    """What must not be in a database that nobody has started on since the kill.

    Records of secrets without their resources, and these without those; executions that run without a context, and
    contexts of no execution that runs; files that hold a secret.
    """
    with closing(sqlite3.connect(f"file:{directory / 'stigmer.db'}?mode=ro", uri=True)) as database:
        without = database.execute(
            "SELECT key FROM records WHERE name = 'sealed' AND key NOT LIKE 'Audit/%' AND NOT EXISTS"
            " (SELECT 1 FROM resources WHERE sealed AND kind || '/' || id = key)"
        ).fetchall()
        bare = database.execute(
            "SELECT kind || '/' || id AS name FROM resources WHERE sealed AND NOT EXISTS"
            " (SELECT 1 FROM records WHERE records.name = 'sealed' AND key = kind || '/' || id)"
        ).fetchall()
        contexts = database.execute(CONTEXTS).fetchall()
        executions = database.execute(EXECUTIONS, [str(int(phase)) for phase in ENDS]).fetchall()
    whole = {name for (name,) in contexts} ^ {name for (name,) in executions}
    files = [path.name for path in directory.iterdir() if CANARY.encode() in path.read_bytes()]
    return [*(name for (name,) in (*without, *bare)), *whole, *files]


async def killed_and_checked(directory: Path, executions: Executions, at: str) -> None:
    async with served(directory, program=PROGRAM, env={"KILLED_AT": at}) as server:
        ended = asyncio.create_task(server.ended())
        async with dial(server) as channel:
            await executions.until_killed(channel)
        assert await ended == -9
    assert await asyncio.to_thread(left_over, directory) == []


@pytest.mark.parametrize("kills", [SHORT, pytest.param(ALL * 25, marks=LONG)], ids=["short", "long"])
async def test_an_execution_has_its_context_until_it_ends(tmp_path: Path, kills: list[tuple[str, str]]) -> None:
    chance = random.Random(os.environ.get("STIGMER_KILL_SEED", "stigmer"))
    executions = Executions()
    for what, when in kills:
        await killed_and_checked(tmp_path, executions, f"{what}/{when}/{chance.randint(1, LATEST)}")
    assert executions.ended
    async with served(tmp_path, ends=True) as server:
        ended = asyncio.create_task(server.ended())
        async with dial(server) as channel:
            await executions.check(channel)
        server.process.terminate()
        assert await ended == 0
    assert await asyncio.to_thread(left_over, tmp_path) == []
