"""`runtime_env` of executions that an older version left: in contexts after the first start, and nowhere else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import samples
from edge_rig import Stubs, contexts, executions, id_of, said
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer.access.principal import identity, organization
from stigmer.app import embedded
from stigmer.handlers import agent_execution, execution_context, session
from stigmer.pipeline.made_contexts import MADE_CONTEXTS, RUNTIME_ENV_KEYS
from stigmer.store.changes import Changes, Put
from stigmer.store.rows import ABSENT, Query, Window
from stigmer.store.sqlite import SqliteStore
from stigmer.types import ApiResourceOwnerScope, ExecutionPhase

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from stigmer.store.contract import Store
    from stigmer.store.rows import Row

CANARY = f"canary-{os.urandom(8).hex()}"
TOKEN = f"token-{os.urandom(8).hex()}"
ACME, ANNS = "acme", "ann's"
PHASES = {
    "pending": ExecutionPhase.EXECUTION_PENDING,
    "running": ExecutionPhase.EXECUTION_IN_PROGRESS,
    "completed": ExecutionPhase.EXECUTION_COMPLETED,
    "failed": ExecutionPhase.EXECUTION_FAILED,
    "cancelled": ExecutionPhase.EXECUTION_CANCELLED,
}
DIE = """
import asyncio, os, pathlib, signal, sys
from stigmer.app import embedded
from stigmer.store.sqlite import SqliteStore

really, commits = SqliteStore.commit, 0

async def commit(store, changes, *, dry_run=False):
    global commits
    commits += any(put.row.kind == "AgentExecution" for put in changes.puts)
    if commits == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return await really(store, changes, dry_run=dry_run)

async def main():
    SqliteStore.commit = commit
    async with embedded(pathlib.Path(sys.argv[1])):
        pass

asyncio.run(main())
"""


class Older(NamedTuple):
    """An execution as an older version left it."""

    phase: str
    env: dict[str, tuple[str, bool]]
    session: str = ACME
    token: bytes = b""


SECRET = {"TOKEN": (CANARY, True), "REGION": ("eu-central-1", False)}
KINDS = [
    *(Older(phase, SECRET) for phase in PHASES),
    Older("running", {"EMPTY": ("", True), "PLAIN": ("plain", False)}),
    Older("running", {"EMPTY": ("", False)}),
    Older("running", SECRET, ANNS),
    Older("running", SECRET, token=TOKEN.encode()),
    Older("completed", {}, token=TOKEN.encode()),
    Older("pending", {}),
    Older("running", SECRET, "gone"),
]


def sessions() -> dict[str, tuple[Any, str]]:
    """The sessions with their owners."""
    shared = samples.session(id=f"ses-{samples.NOBODY}", org="acme", slug="shared")
    own = samples.session(
        id=f"ses-{samples.NOBODY[:-1]}1", org="acme", slug="own", owner_scope=ApiResourceOwnerScope.identity_account
    )
    return {ACME: (shared, organization("acme")), ANNS: (own, identity("ann"))}


async def left(directory: Path, all_of_it: list[Older]) -> list[str]:
    """A database of an older version with these executions; their ids."""
    of, puts = sessions(), list[Put]()
    puts += [Put(session.HANDLER.kind.row_of(one, owner), ABSENT) for one, owner in of.values()]
    for number, one in enumerate(all_of_it):
        belongs, owner = of.get(one.session, (samples.session(id=f"ses-{samples.NOBODY[:-1]}9"), organization("acme")))
        made = samples.agent_execution(id_of(belongs), id=f"aex-01arz3ndektsv4rrffq69{number:05}")
        made.spec.runtime_env = {
            key: contexts.ExecutionValue(value=value, is_secret=flag) for key, (value, flag) in one.env.items()
        }
        made.spec.callback_token = one.token
        made.status = executions.AgentExecutionStatus(phase=PHASES[one.phase])
        puts.append(Put(agent_execution.HANDLER.kind.row_of(made, owner, created_by="ann"), ABSENT))
    async with SqliteStore(directory) as store:
        await store.commit(Changes(puts=puts))
    return [put.row.id for put in puts[len(of) :]]


def leaks(directory: Path) -> list[str]:
    searched = (CANARY.encode(), TOKEN.encode())
    return [path.name for path in directory.iterdir() if any(one in path.read_bytes() for one in searched)]


async def found(stubs: Stubs, execution_id: str) -> Any:
    """The execution's context, None where it has none."""
    try:
        return await stubs.find_contexts.get_by_execution_id(
            contexts.ExecutionContextExecutionIdInput(execution_id=execution_id)
        )
    except GRPCError as error:
        assert error.status is Status.NOT_FOUND  # noqa: PT017 - else it is no answer
        return None


async def check(directory: Path, ids: list[str], all_of_it: list[Older]) -> None:
    """Start on it, and look at everything."""
    async with embedded(directory) as plane:
        assert not await asyncio.to_thread(leaks, directory)
        stubs = Stubs(plane.channel)
        for id_, older in zip(ids, all_of_it, strict=True):
            read = await stubs.find_executions.get(executions.AgentExecutionId(value=id_))
            assert (read.spec.runtime_env, read.spec.callback_token) == ({}, older.token)
            row = await plane._store.get("AgentExecution", id_)
            assert row is not None
            assert b"REGION" not in row.data
            await check_context(plane._store, await found(stubs, id_), row, older)


async def check_context(store: Store, context: Any, execution: Row, older: Older) -> None:
    wanted = {key: one for key, one in older.env.items() if one[0]}
    is_made = bool(wanted) and older.phase in {"pending", "running"}
    assert (context is not None) == is_made
    noted = await store.record(RUNTIME_ENV_KEYS, execution.id)
    assert (noted is not None) == bool(older.env)
    if context is None:
        return
    assert {key: (one.value, one.is_secret) for key, one in context.spec.data.items()} == wanted
    name, org = f"exec-ctx-{execution.id}", "acme" if older.session == ACME else ""
    assert (context.metadata.name, context.metadata.slug, context.metadata.org) == (name, name, org)
    assert context.status.audit.spec_audit.created_by.id == "system"
    row = await store.get("ExecutionContext", id_of(context))
    assert row is not None
    assert (row.owner, row.sealed) == (execution.owner, any(secret for _, secret in wanted.values()))
    made = await store.record(MADE_CONTEXTS, id_of(context))
    assert made is not None
    assert made.value.decode() == execution.id
    (use,) = [one for one in await store.unused(1 << 60) if one.id == id_of(context)]
    assert use.used_ms > await store.now_ms() - 600_000


async def test_executions_that_go_on_get_a_context_and_of_others_the_values_are_gone(tmp_path: Path) -> None:
    ids = await left(tmp_path, KINDS)
    assert await asyncio.to_thread(leaks, tmp_path)
    await check(tmp_path, ids, KINDS)
    await check(tmp_path, ids, KINDS)


async def test_a_kill_in_the_middle_leaves_each_execution_as_it_was_or_moved_and_the_next_start_goes_on(
    tmp_path: Path,
) -> None:
    many = KINDS * 12
    ids = await left(tmp_path, many)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", DIE, str(tmp_path)], env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    async with SqliteStore(tmp_path) as store:
        rows = (await store.page(Query("AgentExecution"), Window(None))).rows
        made = (await store.page(Query("ExecutionContext"), Window(None))).rows
        of = {execution_context.HANDLER.kind.wire_of(row).spec.execution_id for row in made}
        for row in rows:
            wire = agent_execution.HANDLER.kind.wire_of(row)
            assert not (wire.spec.runtime_env and row.id in of)
        moved = [row for row in rows if not agent_execution.HANDLER.kind.wire_of(row).spec.runtime_env]
        assert 0 < len(made) < len(moved) < len(rows)
    assert await asyncio.to_thread(leaks, tmp_path)
    await check(tmp_path, ids, many)


async def test_a_slug_that_somebody_has_keeps_no_execution_from_its_context(tmp_path: Path) -> None:
    (id_,) = await left(tmp_path, [Older("running", SECRET)])
    taken = samples.execution_context(id=f"exec-{samples.NOBODY}", name=f"exec-ctx-{id_}", slug=f"exec-ctx-{id_}")
    row = execution_context.HANDLER.kind.row_of(taken, organization("acme"))
    async with SqliteStore(tmp_path) as store:
        await store.commit(Changes(puts=[Put(row, ABSENT)]))
    async with embedded(tmp_path) as plane:
        context = await found(Stubs(plane.channel), id_)
        assert context.metadata.slug == f"exec-ctx-{id_}-2"
        assert context.spec.data["TOKEN"].value == CANARY


async def test_values_that_make_no_context_keep_no_server_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    many = {f"K{number}": (CANARY, True) for number in range(1001)}
    first, second = await left(tmp_path, [Older("running", many), Older("running", SECRET)])
    async with embedded(tmp_path) as plane:
        stubs = Stubs(plane.channel)
        assert await found(stubs, first) is None
        assert (await found(stubs, second)).spec.data["TOKEN"].value == CANARY
        assert not await asyncio.to_thread(leaks, tmp_path)
    (line,) = said(caplog, "The values of an execution make no context: it has to do without")
    assert line["execution_id"] == first
    assert CANARY not in caplog.text
