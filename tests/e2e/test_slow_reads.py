"""Dear reads, floods of reads and reads whose callers are gone hold up nobody else."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import samples
from many_calls import Client, Outcome, call, client
from served_process import served

from stigmer._gen.ai.stigmer.agentic.environment.v1 import EnvironmentId
from stigmer._gen.ai.stigmer.agentic.session.v1 import ListSessionsRequest
from stigmer.access.principal import organization
from stigmer.handlers import HANDLERS
from stigmer.pipeline.ids import IdSource
from stigmer.store.changes import Changes, Put
from stigmer.store.rows import ABSENT
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from served_process import Served

    from stigmer.store.rows import Row

SESSIONS = "SessionQueryController"
TAGS = [f"tag-{number:03}" for number in range(100)]
GIVEN_UP = 100
PATIENCE_MS = 8_000
"""What the others' calls may take here, on a loaded machine; each took 20 s and more: 100 lists of 0.2 s."""


def stored(kind: str, resource: Any, number: int) -> Row:
    """A row as a create would have left it."""
    found = next(handler.kind for handler in HANDLERS if handler.kind.name == kind)
    resource.metadata.id = IdSource().new(found.meta.id_prefix)
    resource.metadata.slug = resource.metadata.name
    return replace(found.row_of(resource, organization("")), sequence=number)


async def fill(directory: Path, *rows: Row) -> None:
    async with SqliteStore(directory) as store:
        for start in range(0, len(rows), 500):
            await store.commit(Changes(puts=[Put(row, ABSENT) for row in rows[start : start + 500]]))


async def quiet(server: Served) -> None:
    """The server's health was never in doubt."""
    server.process.terminate()
    assert await server.ended() == 0
    assert "Not serving" not in {line["event"] for line in server.lines}


def slowest(outcomes: list[Outcome]) -> float:
    assert Counter(one.code for one in outcomes) == {"OK": len(outcomes)}
    return max(one.ms for one in outcomes)


@pytest.mark.parametrize(
    ("loop", "sessions"),
    [("--uvloop", 2_000), *(pytest.param(f"--{no}uvloop", 20_000, marks=pytest.mark.long) for no in ("", "no-"))],
)
async def test_lists_by_a_hundred_tags_that_are_given_up_hold_up_nobody(
    tmp_path: Path, loop: str, sessions: int
) -> None:
    """Attack: 100 of them made a plain list wait 25 s, and the server called itself sick for 22 s."""
    template = stored("Session", samples.session(tags=TAGS), 0)
    ids = IdSource()
    rows = [replace(template, id=ids.new("ses"), slug=f"session-{number}") for number in range(sessions)]
    await fill(tmp_path, *rows)
    async with served(tmp_path, loop) as server, client(server) as attacker, client(server) as other:
        slow = ListSessionsRequest(tags=TAGS)
        attack = [call(SESSIONS, "list", slow, timeout_s=0.1, connection=n % 4) for n in range(GIVEN_UP)]
        attacker.start(attack)
        plain = [call(SESSIONS, "list", ListSessionsRequest(page_size=5), at_ms=100 * n) for n in range(10)]
        assert slowest(await other.all_of(plain)) < PATIENCE_MS
        given_up = Counter(one.code for one in await attacker.outcomes(attack))
        assert given_up["DEADLINE_EXCEEDED"] > GIVEN_UP / 2
        page = await other.one(SESSIONS, "list", slow)
        assert (len(page.entries), page.total_pages) == (50, sessions / 50)
        await quiet(server)


async def test_a_flood_of_one_connection_does_not_hold_up_anothers_get(tmp_path: Path) -> None:
    """Attack: reads of large rows that are not cached, some hundred at once on one connection."""
    rows = [stored("Environment", big_environment(), number) for number in range(100)]
    small = stored("Environment", samples.environment(), len(rows))
    await fill(tmp_path, small, *rows)
    async with served(tmp_path) as server, client(server) as attacker, client(server) as other:
        await flood(attacker, rows, other, small)
        await quiet(server)


async def flood(attacker: Client, rows: list[Row], other: Client, small: Row) -> None:
    service = "EnvironmentQueryController"
    attack = [call(service, "get", EnvironmentId(value=row.id), timeout_s=5) for row in rows * 2]
    attacker.start(attack)
    gets = [call(service, "get", EnvironmentId(value=small.id), at_ms=50 * n) for n in range(10)]
    assert slowest(await other.all_of(gets)) < PATIENCE_MS
    await attacker.outcomes(attack)


def big_environment() -> Any:
    resource = samples.environment()
    resource.spec.description = "x" * 300_000
    return resource


async def test_a_read_whose_caller_hung_up_is_not_read(tmp_path: Path) -> None:
    """The next one waits for none of 200 that were given up."""
    template = stored("Session", samples.session(tags=TAGS), 0)
    ids = IdSource()
    await fill(tmp_path, *(replace(template, id=ids.new("ses"), slug=f"s-{number}") for number in range(2_000)))
    async with served(tmp_path) as server, client(server) as attacker, client(server) as other:
        slow = ListSessionsRequest(tags=TAGS)
        attack = [call(SESSIONS, "list", slow, timeout_s=0.2) for _ in range(2 * GIVEN_UP)]
        outcomes = await attacker.all_of(attack)
        assert {one.code for one in outcomes} <= {"OK", "DEADLINE_EXCEEDED"}
        async with asyncio.timeout(PATIENCE_MS / 1000):
            await other.one(SESSIONS, "list", slow)
