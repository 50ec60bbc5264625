"""A database as the version before owners wrote it, kept in tests/store/frozen, and what that version answered of it.

Made once, by the code of the last commit before (844f688), with `python tests/support/frozen_database.py`, its
`src` and its `tests/support` in PYTHONPATH. Not to be made again: it stands for what is on users' disks.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
import tempfile
from base64 import b64decode, b64encode
from contextlib import closing
from pathlib import Path
from typing import Any

import samples

from stigmer import rpc, types
from stigmer.app import embedded
from stigmer.store.changes import Append, Changes
from stigmer.store.sqlite import SqliteStore
from stigmer.types import ApiResourceOwnerScope, ApiResourceReference

FROZEN = Path(__file__).parent.parent / "store" / "frozen"
DATABASE, ANSWERS = FROZEN / "schema_4.db.gz", FROZEN / "schema_4.answers.json.gz"
FILE_NAME = "stigmer.db"

PLATFORM, ORGANIZATION = ApiResourceOwnerScope.platform, ApiResourceOwnerScope.organization
IDENTITY = ApiResourceOwnerScope.identity_account
PENDING = types.ExecutionPhase.EXECUTION_PENDING
RUNNING, COMPLETED = types.ExecutionPhase.EXECUTION_IN_PROGRESS, types.ExecutionPhase.EXECUTION_COMPLETED


def thaw(directory: Path) -> None:
    """Put the database into a directory."""
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / FILE_NAME).write_bytes(gzip.decompress(DATABASE.read_bytes()))


def answers() -> list[list[str]]:
    """What was asked of it: stub, method, request type, request, reply; the messages in base 64."""
    found: list[list[str]] = json.loads(gzip.decompress(ANSWERS.read_bytes()))
    return found


async def answer(channel: Any, stub: str, method: str, request_type: str, request: str) -> str:
    """What is answered to one of them now."""
    message = getattr(types, request_type).parse(b64decode(request))
    return b64encode(bytes(await getattr(getattr(rpc, stub)(channel), method)(message))).decode()


async def fill(channel: Any) -> dict[str, list[Any]]:
    """Resources of each kind, scope and state, some of them changed, some deleted since; by their kinds."""
    made: dict[str, list[Any]] = {}

    async def create(resource: Any) -> Any:
        stub = getattr(rpc, f"{resource.kind}CommandControllerStub")(channel)
        made.setdefault(resource.kind, []).append(await stub.create(resource))
        return made[resource.kind][-1]

    given: dict[str, Any] = {"labels": {"team": "blue"}, "annotations": {"seen": "no"}, "tags": ["red", "big"]}
    acme = await create(samples.agent(name="Reviewer", org="acme", **given))
    await create(samples.agent(name="Reviewer", org="globex"))
    await create(samples.agent(name="Reviewer"))
    shared = await create(samples.agent(name="Helper", owner_scope=PLATFORM))
    await create(samples.agent(name="Helper", org="acme", owner_scope=PLATFORM))
    for scope, org in ((ORGANIZATION, "acme"), (PLATFORM, "acme"), (IDENTITY, "globex"), (IDENTITY, "")):
        await create(samples.agent_instance(acme.metadata.id, name=f"Mine {scope} {org}", org=org, owner_scope=scope))
        if scope != PLATFORM:
            name = f"Variables {scope} {org}"
            await create(samples.environment(name=name, org=org, owner_scope=scope))
    session = await create(samples.session(acme.status.default_instance_id, name="Ours", org="acme", tags=["red"]))
    own = await create(samples.session(shared.status.default_instance_id, name="Mine", owner_scope=IDENTITY))
    await create(samples.session(acme.status.default_instance_id, name="Mine", org="acme", owner_scope=IDENTITY))
    gone = await create(samples.session(acme.status.default_instance_id, name="Gone", org="acme"))
    await rpc.SessionCommandControllerStub(channel).delete(types.SessionId(gone.metadata.id))
    made["Session"].pop()
    for parent, org in ((session, "acme"), (session, "globex"), (own, ""), (own, "acme")):
        await create(samples.agent_execution(parent.metadata.id, org=org, tags=["red", f"of-{org}"]))
    ended, running = made["AgentExecution"][:2]
    await create(samples.agent_execution(agent_id=shared.metadata.id, org="globex", tags=["big"]))
    await create(samples.agent_execution(agent_id=shared.metadata.id))
    executions = rpc.AgentExecutionCommandControllerStub(channel)
    for execution, phase in ((running, RUNNING), (ended, RUNNING), (ended, COMPLETED)):
        status = types.AgentExecutionStatus(
            phase=phase, messages=[types.AgentMessage(content=f"It rains. {n}") for n in range(3)]
        )
        id_ = execution.metadata.id
        await executions.update_status(types.AgentExecutionUpdateStatusInput(execution_id=id_, status=status))
    for n, execution in enumerate((ended, running, made["AgentExecution"][2])):
        await create(samples.execution_context(execution.metadata.id, name=f"Context {n}", org="elsewhere"))
    await create(samples.execution_context(name="Of none", org="acme"))
    await create(samples.execution_context(name="Of nobody"))
    environment = made["Environment"][0]
    environment.spec.description = "Changed since"
    await rpc.EnvironmentCommandControllerStub(channel).update(environment)
    return made


def questions(made: dict[str, list[Any]]) -> list[tuple[str, str, Any]]:
    """Every resource by id and by reference, and every list, a page at a time and as a whole."""
    asked: list[tuple[str, str, Any]] = []
    for kind, resources in made.items():
        stub = f"{kind}QueryControllerStub"
        id_type = {"Environment": "ApiResourceId"}.get(kind, f"{kind}Id")
        for one in resources:
            asked.append((stub, "get", getattr(types, id_type)(value=one.metadata.id)))
            if kind not in {"AgentExecution", "Session"}:
                reference = ApiResourceReference(slug=one.metadata.slug, org=one.metadata.org)
                asked.append((stub, "get_by_reference", reference))
    executions, sessions = "AgentExecutionQueryControllerStub", "SessionQueryControllerStub"
    for tags in ([], ["red"], ["of-acme", "red"]):
        for phase in (0, PENDING, RUNNING, COMPLETED):
            request = types.ListAgentExecutionsRequest(page_size=2, tags=tags, phase=types.ExecutionPhase(phase))
            asked.append((executions, "list", request))
        asked.append((sessions, "list", types.ListSessionsRequest(page_size=2, tags=tags)))
    asked += [
        (executions, "list_by_session", types.ListAgentExecutionsBySessionRequest(one.metadata.id, page_size=2))
        for one in made["Session"]
    ]
    asked += [
        (sessions, "list_by_agent", types.ListSessionsByAgentRequest(one.metadata.id, page_size=2))
        for one in (*made["Agent"], *made["AgentInstance"])
    ]
    instances = "AgentInstanceQueryControllerStub"
    asked += [
        (instances, "get_by_agent", types.GetAgentInstancesByAgentRequest(agent_id=one.metadata.id))
        for one in made["Agent"]
    ]
    contexts = {one.spec.execution_id for one in made["ExecutionContext"]}
    query = "ExecutionContextQueryControllerStub"
    asked += [
        (query, "get_by_execution_id", types.ExecutionContextExecutionIdInput(execution_id=id_))
        for id_ in sorted(contexts)
    ]
    return asked


async def ask(channel: Any, stub: str, method: str, request: Any) -> list[list[str]]:
    """The question with its answer, and those for the further pages."""
    found: list[list[str]] = []
    while True:
        reply = await getattr(getattr(rpc, stub)(channel), method)(request)
        found.append([stub, method, type(request).__name__, *(b64encode(bytes(m)).decode() for m in (request, reply))])
        if not getattr(reply, "next_page_token", ""):
            return found
        request = type(request).parse(bytes(request))
        request.page_token = reply.next_page_token


async def make() -> None:
    """Make both files."""
    with tempfile.TemporaryDirectory() as directory:
        async with embedded(directory) as plane:
            made = await fill(plane.channel)
            told = [each for one in questions(made) for each in await ask(plane.channel, *one)]
        async with SqliteStore(Path(directory)) as store:
            records = {("leases", "a"): b"1", ("replies", "b"): bytes(range(256))}
            await store.commit(
                Changes(records=records, appends=[Append("audit", b"first"), Append("audit", b"second")])
            )
        with closing(sqlite3.connect(Path(directory) / FILE_NAME)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        FROZEN.mkdir(exist_ok=True)
        DATABASE.write_bytes(gzip.compress((Path(directory) / FILE_NAME).read_bytes(), mtime=0))
        ANSWERS.write_bytes(gzip.compress(json.dumps(told).encode(), mtime=0))


if __name__ == "__main__":
    asyncio.run(make())
