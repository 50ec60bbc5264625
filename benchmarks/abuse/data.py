"""The database that the attacks meet: rows of every size, written through the store."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks import messages
from stigmer.access.principal import organization
from stigmer.handlers import HANDLERS
from stigmer.pipeline.ids import IdSource
from stigmer.store.changes import Changes, Put
from stigmer.store.rows import ABSENT
from stigmer.store.sqlite import SqliteStore
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stigmer.store.rows import Row

TAGS = tuple(f"tag-{number:02}" for number in range(40))
"""Each session has all of them, so that none narrows a list."""
AGENT = "agt-01jd0000000000000000000000"
BATCH_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Data:
    """Ids of what is there.

    Attributes:
        context: a small row that the well-behaved read.
        running: executions that the well-behaved report on, and others follow.
        attacked: an execution that attackers report on.
        large: rows of 2 MB, contexts.
        huge: executions with a transcript of 9 MB, in few parts.
        grown: executions with a transcript of 1.2 MB in 20,000 parts.
    """

    context: str
    running: tuple[str, ...]
    attacked: str
    large: tuple[str, ...]
    huge: tuple[str, ...]
    grown: tuple[str, ...]


class Filler:
    """Makes the rows of one database."""

    def __init__(self) -> None:
        self._ids = IdSource()
        self._kinds = {handler.kind.name: handler.kind for handler in HANDLERS}
        self.rows: list[Row] = []

    def add(self, resource: Any, kind_name: str) -> str:
        """Keep a wire message as a row; its id."""
        kind = self._kinds[kind_name]
        id_ = self._ids.new(kind.meta.id_prefix)
        resource.metadata.id, resource.metadata.slug = id_, resource.metadata.name
        as_object: Any = codec.from_wire(resource)
        self.rows.append(kind.row_of(as_object, organization(""), created_by="local"))
        return id_

    def several(self, count: int, make: Any, kind_name: str) -> tuple[str, ...]:
        """Keep `count` of them."""
        return tuple(self.add(make(number), kind_name) for number in range(count))


def prepare(directory: Path, *, part: float = 1.0) -> Data:
    """Fill a new database; with `part` of the many rows."""
    filler = Filler()
    data = Data(
        context=filler.add(messages.context("read-me"), "ExecutionContext"),
        running=filler.several(4, lambda number: _execution(f"running-{number}", 0, 0), "AgentExecution"),
        attacked=filler.add(_execution("attacked", 0, 0), "AgentExecution"),
        large=filler.several(4, _large, "ExecutionContext"),
        huge=filler.several(
            max(2, round(20 * part)), lambda number: _execution(f"huge-{number}", 9, 1_000_000), "AgentExecution"
        ),
        grown=filler.several(2, lambda number: _execution(f"grown-{number}", 20_000, 60), "AgentExecution"),
    )
    filler.several(round(600 * part), _instance, "AgentInstance")
    filler.several(round(4000 * part), _session, "Session")
    asyncio.run(_write(directory, filler.rows))
    return data


async def _write(directory: Path, rows: Iterable[Row]) -> None:
    async with SqliteStore(directory, cache_bytes=0) as store:
        batch: list[Put] = []
        for row in rows:
            batch.append(Put(row, ABSENT))
            if sum(len(put.row.data) for put in batch) > BATCH_BYTES or len(batch) == 1000:
                await store.commit(Changes(puts=batch))
                batch = []
        await store.commit(Changes(puts=batch))


def _large(number: int) -> Any:
    context = messages.context(f"large-{number}")
    context.spec.data["BLOB"].value = secrets.token_hex(1_000_000)
    return context


def _execution(name: str, parts: int, part_bytes: int) -> Any:
    execution = messages.new(messages.EXECUTION, api_version=messages.API_VERSION, kind="AgentExecution")
    execution.metadata.name = name
    execution.spec.session_id, execution.spec.agent_id = "ses-01jd0000000000000000000000", AGENT
    execution.spec.message = "What is new?"
    execution.status.phase = 2
    execution.status.audit.status_audit.event = "created"
    for _ in range(parts):
        execution.status.messages.add().content = "m" * part_bytes
    return execution


def _instance(number: int) -> Any:
    instance = messages.new(
        "ai.stigmer.agentic.agentinstance.v1.AgentInstance", api_version=messages.API_VERSION, kind="AgentInstance"
    )
    instance.metadata.name, instance.metadata.org = f"instance-{number}", "acme"
    instance.metadata.owner_scope = 2
    instance.spec.agent_id, instance.spec.description = AGENT, "d" * 100_000
    return instance


def _session(number: int) -> Any:
    session = messages.session(f"session-{number}")
    session.metadata.tags.extend(TAGS)
    session.spec.subject = "s" * 3000
    return session
