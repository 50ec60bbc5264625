"""A database of the version before rows had owners, opened by this one: what changes of it, and all that does not."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from base64 import b64decode
from contextlib import closing
from typing import TYPE_CHECKING, Any

import frozen_database
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from store_rows import changed_by_hand

from stigmer import rpc, types
from stigmer.app import embedded
from stigmer.store.errors import DamagedError
from stigmer.store.rows import Query, Window
from stigmer.store.sqlite import SqliteStore
from stigmer.store.sqlite.files import FILE_NAME

if TYPE_CHECKING:
    from pathlib import Path

SAME = "sequence, kind, id, slug, created_by, revision, data"
OTHERS = dict.fromkeys(("counters", "records", "log_entries", "sqlite_sequence"), "*")
MINE = "identity_account:local"


def table(directory: Path, columns: str, name: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(directory / FILE_NAME)) as database:
        return sorted(database.execute(f"SELECT {columns} FROM {name}"))


def all_tables(directory: Path) -> list[list[tuple[Any, ...]]]:
    """All that stays as it was."""
    return [table(directory, SAME, "resources"), *(table(directory, columns, name) for name, columns in OTHERS.items())]


def keys(directory: Path) -> list[tuple[Any, ...]]:
    """All keys by which rows are found."""
    return table(directory, "kind, field, value, sequence", "resource_keys")


def owners(directory: Path) -> dict[str, list[tuple[str, str]]]:
    """Owner and namespace of each row, by its kind, in the order of creation."""
    found: dict[str, list[tuple[str, str]]] = {}
    for _, kind, owner, namespace in table(directory, "sequence, kind, owner, namespace", "resources"):
        found.setdefault(kind, []).append((owner, namespace))
    return found


async def migrated(directory: Path) -> None:
    async with SqliteStore(directory):
        pass


@pytest.fixture
def old(tmp_path: Path) -> Path:
    frozen_database.thaw(tmp_path)
    return tmp_path


async def test_nothing_else_of_the_rows_changes(old: Path) -> None:
    before = all_tables(old)
    await migrated(old)
    assert all_tables(old) == before
    rows = before[0]
    async with SqliteStore(old, cache_bytes=0) as store:  # reads them, and so their checksums
        pages = [await store.page(Query(kind), Window(None)) for kind in sorted({kind for _, kind, *_ in rows})]
    assert (sum(len(page.rows) for page in pages), sum(page.total for page in pages)) == (len(rows), len(rows))


async def test_every_row_is_found_as_before_and_by_tags_organization_and_labels(old: Path) -> None:
    """Of those that belong to others, the organization is their owner's."""
    before = set(keys(old))
    await migrated(old)
    after = keys(old)
    assert before < set(after)
    first = [(kind, sequence) for sequence, kind in table(old, "sequence, kind", "resources")]
    listed: dict[tuple[str, int], list[tuple[str, str]]] = {one: [] for one in first}
    for kind, field, value, sequence in after:
        if field.startswith("metadata."):
            listed[kind, sequence].append((field, value))
    labels = [("metadata.labels", "team"), ("metadata.labels.team", "blue")]
    of_acme = ("metadata.org", "acme")
    found: dict[str, list[list[tuple[str, str]]]] = {}
    for (kind, _), pairs in listed.items():
        found.setdefault(kind, []).append(pairs)
    red, big = ("metadata.tags", "red"), ("metadata.tags", "big")
    assert found["Agent"] == [[*labels, of_acme, big, red], [("metadata.org", "globex")], [], [], [of_acme]]
    assert found["AgentExecution"][:2] == [
        [of_acme, ("metadata.tags", "of-acme"), red],
        [of_acme, ("metadata.tags", "of-globex"), red],
    ]
    assert found["ExecutionContext"] == [[of_acme], [of_acme], [], [], []]
    async with SqliteStore(old, cache_bytes=0) as store:
        query = Query("Agent", (("metadata.labels.team", "blue"),), owners=("organization:acme",))
        page = await store.page(query, Window(9))
        assert (len(page.rows), page.total) == (1, 1)


async def test_every_row_gets_its_owner_and_its_namespace(old: Path) -> None:
    """Of each scope that a kind may have; executions follow their sessions, contexts their executions."""
    await migrated(old)
    acme, globex = ("organization:acme", "acme"), ("organization:globex", "globex")
    mine, mine_there = (MINE, "\x1flocal\x1f"), (MINE, "\x1flocal\x1fglobex")
    assert owners(old) == {
        "Agent": [acme, globex, ("organization:", ""), ("platform", ""), ("platform", "acme")],
        "AgentInstance": [
            *(acme, globex, ("organization:", ""), ("platform", ""), ("platform", "acme")),
            *(acme, ("platform", "acme"), mine_there, mine),
        ],
        "Environment": [acme, mine_there, mine],
        "Session": [acme, mine, (MINE, "\x1flocal\x1facme"), globex, mine],
        "AgentExecution": [
            *(acme, acme, mine, mine, globex, mine),
        ],
        "ExecutionContext": [acme, acme, mine, ("organization:", ""), ("organization:", "")],
    }


async def test_without_its_session_an_execution_is_of_the_organization_that_it_names_and_a_context_of_none(
    old: Path,
) -> None:
    lost = "SELECT id FROM resources WHERE kind = '{0}' ORDER BY sequence LIMIT 1"
    session, execution = (lost.format(kind) for kind in ("Session", "AgentExecution"))
    changed_by_hand(
        old, f"DELETE FROM resources WHERE id IN ({session})", f"DELETE FROM resources WHERE id IN ({execution})"
    )
    await migrated(old)
    found = owners(old)
    assert found["AgentExecution"][0] == ("organization:globex", "globex")
    assert found["ExecutionContext"][0] == ("organization:", "")


async def test_callers_are_answered_as_before(old: Path) -> None:
    """Each get, reference, list and page token that the version before gave."""
    async with embedded(old) as plane:
        for *question, was in frozen_database.answers():
            assert await frozen_database.answer(plane.channel, *question) == was, question[:3]


async def test_slugs_are_taken_as_before(old: Path) -> None:
    """Whoever applies what is there updates it; a context, which has no update, is there."""
    async with embedded(old) as plane:
        for stub, method, *_, reply in frozen_database.answers():
            kind = stub.removesuffix("QueryControllerStub")
            if method != "get" or kind == "AgentExecution":
                continue
            resource = getattr(types, kind).parse(b64decode(reply))
            id_, resource.metadata.id, resource.metadata.version = resource.metadata.id, "", None
            commands = getattr(rpc, f"{kind}CommandControllerStub")(plane.channel)
            if kind == "ExecutionContext":
                with pytest.raises(GRPCError) as refused:
                    await commands.apply(resource)
                assert refused.value.status is Status.ALREADY_EXISTS
            else:
                assert (await commands.apply(resource)).metadata.id == id_


DIE = """
import os, pathlib, signal, sqlite3, sys
from stigmer.store.sqlite import migration

connection = sqlite3.connect(pathlib.Path(sys.argv[1]) / "stigmer.db", isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
writes = []

def die(statement):
    writes.append(statement)
    if sum(text.startswith("UPDATE") for text in writes) == 30:
        os.kill(os.getpid(), signal.SIGKILL)

connection.set_trace_callback(die)
migration.migrate(connection)
"""


def killed_in_the_middle(directory: Path) -> int:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", DIE, str(directory)], env=environment, check=False).returncode


async def test_a_kill_in_the_middle_leaves_the_old_database_and_the_next_start_goes_through(old: Path) -> None:
    before = all_tables(old)
    assert killed_in_the_middle(old) == -signal.SIGKILL
    assert table(old, "user_version", "pragma_user_version") == [(4,)]
    assert "owner" not in {name for (name,) in table(old, "name", "pragma_table_info('resources')")}
    assert all_tables(old) == before
    await migrated(old)
    assert all_tables(old) == before
    assert {owner for found in owners(old).values() for owner, _ in found if owner} >= {MINE, "platform"}


async def test_contexts_of_before_have_their_whole_time_to_live_from_the_upgrade_on(old: Path) -> None:
    before_ms = time.time_ns() // 10**9 * 1000
    async with SqliteStore(old) as store:
        now_ms = await store.now_ms()
        found = await store.unused(now_ms)
        contexts = await store.page(Query("ExecutionContext"), Window(None))
    assert [(one.kind, one.sequence) for one in found] == [(row.kind, row.sequence) for row in reversed(contexts.rows)]
    assert all(before_ms <= one.used_ms <= now_ms for one in found)


async def test_a_damaged_row_stays_one(old: Path) -> None:
    changed_by_hand(
        old,
        "UPDATE resources SET data = CAST(data || x'00' AS BLOB) WHERE kind = 'Environment' AND slug LIKE '%acme'",
        "UPDATE resources SET created_by = CAST(x'ff' AS TEXT) WHERE kind = 'Session' AND slug = 'ours'",
    )
    rows = table(old, SAME.replace("created_by", "CAST(created_by AS BLOB)"), "resources")
    async with SqliteStore(old, cache_bytes=0) as store:
        with pytest.raises(DamagedError):
            await store.page(Query("Environment"), Window(None))
        with pytest.raises(DamagedError):
            await store.by_slug("Session", "ours", "acme")
        assert (await store.page(Query("Agent"), Window(None))).total == 5
    assert table(old, SAME.replace("created_by", "CAST(created_by AS BLOB)"), "resources") == rows
