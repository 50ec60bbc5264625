"""A plane whose store's clock a test sets, with executions that have contexts; for what expires."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import samples
from edge_rig import Stubs, contexts, executions, id_of
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
from stigmer.app import embedded
from stigmer.settings import Settings
from stigmer.store.changes import Changes, Remove
from stigmer.store.memory import MemoryStore
from stigmer.store.rows import Query, Window
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import pytest

    from stigmer.app import Plane

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EXPIRED_MS = 25 * HOUR_MS + 1000
"""After that long what was not used has expired."""


@dataclass
class Clock:
    """The clock of every store: it differs from this machine's by so much."""

    ahead_ms: int = 0

    @classmethod
    def set_in(cls, monkeypatch: pytest.MonkeyPatch) -> Clock:
        clock = cls()
        for store in (MemoryStore, SqliteStore):
            monkeypatch.setattr(store, "now_ms", clock.late(store.now_ms))
        return clock

    def late(self, really: Any) -> Any:
        async def now_ms(store: Any) -> int:
            return int(await really(store)) + self.ahead_ms

        return now_ms


class Ageing(Stubs):
    """A plane; the job that ends contexts is done when a test says so."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane.channel)
        self.plane, self.store = plane, plane._store

    async def begun(self) -> None:
        """Wait for the end of what the job does at the start of a plane."""
        expiry = self.plane._app.expiry
        async with asyncio.timeout(60):
            for _ in iter(lambda: expiry._looks, 1):
                await asyncio.sleep(0.001)

    async def sweep(self) -> None:
        """Do the job once, and leave nothing of it to later."""
        await self.plane._app.expiry.work()

    async def session(self) -> str:
        """The id of a new one, on an agent of its own."""
        agent = await self.agents.create(samples.agent(org="acme"))
        return id_of(await self.sessions.create(samples.session(agent.status.default_instance_id, org="acme")))

    async def execution(self, session_id: str = "", value: str = "hunter2", **more: str) -> Any:
        """A new one, with a context of its own."""
        sent = samples.agent_execution(session_id or await self.session())
        given = {"TOKEN": value, **more}
        sent.spec.runtime_env = {key: contexts.ExecutionValue(value=one, is_secret=True) for key, one in given.items()}
        return await self.executions.create(sent)

    async def context(self, execution: Any) -> Any:
        """The execution's context, read by its runner."""
        asked = contexts.ExecutionContextExecutionIdInput(execution_id=id_of(execution))
        return await self.find_contexts.get_by_execution_id(asked)

    async def phase(self, execution: Any) -> str:
        found = await self.find_executions.get(executions.AgentExecutionId(value=id_of(execution)))
        return str(found.status.phase.name).removeprefix("EXECUTION_")

    async def ids(self, kind: str = "ExecutionContext") -> list[str]:
        """What is committed, read past every RPC, so that nothing is used by it; the newest first."""
        return [row.id for row in (await self.store.page(Query(kind), Window(None))).rows]

    async def uses(self) -> dict[str, int]:
        """When each context was used last, by its id."""
        return {one.id: one.used_ms for one in await self.store.unused(1 << 60)}

    def ended(self, reason: str) -> float:
        """How many contexts the server has ended for that."""
        return self.plane.metrics.get_sample_value("stigmer_ended_contexts_total", {"reason": reason}) or 0


def opened(directory: Path | str, **settings: Any) -> Plane:
    """A plane on a directory, or in memory."""
    return embedded(Settings(data_dir=directory, **settings))  # type: ignore[arg-type]  # pydantic takes a text


async def is_missing(call: Any) -> bool:
    try:
        await call
    except GRPCError as error:
        return error.status is Status.NOT_FOUND
    return False


async def of_nobody(ageing: Ageing) -> Any:
    """A context whose execution this server does not know."""
    return await ageing.contexts.create(samples.execution_context(f"aex-{samples.NOBODY}"))


async def removed(ageing: Ageing, execution: Any) -> None:
    """Take the execution's row out, as who repairs a database does, past all that goes with it."""
    await ageing.store.commit(Changes(removes=[Remove("AgentExecution", id_of(execution), None)]))


def reads(ageing: Ageing, context: Any) -> dict[str, Callable[[], Awaitable[Any]]]:
    execution_id = contexts.ExecutionContextExecutionIdInput(execution_id=context.spec.execution_id)
    return {
        "get": lambda: ageing.find_contexts.get(contexts.ExecutionContextId(value=id_of(context))),
        "by reference": lambda: ageing.find_contexts.get_by_reference(ApiResourceReference(slug=context.metadata.slug)),
        "by execution id": lambda: ageing.find_contexts.get_by_execution_id(execution_id),
        "marked": lambda: ageing.find_contexts.get(
            contexts.ExecutionContextId(value=id_of(context)), metadata={"x-secrets": "redacted"}
        ),
        "rotate": lambda: ageing.contexts.rotate(
            contexts.RotateExecutionValueInput(resource_id=id_of(context), key="TOKEN", value="another")
        ),
    }
