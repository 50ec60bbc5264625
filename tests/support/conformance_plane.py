"""What the tests of the handlers share: the kinds over the loopback, and executions in a given state."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import samples
from conformance import Resources
from conformance_facts import KINDS

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecutionId,
    AgentExecutionStatus,
    AgentExecutionUpdateStatusInput,
    ExecutionPhase,
)
from stigmer.store.rows import Query, Window
from stigmer.telemetry.logs import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from stigmer.app.assembly import App

PENDING = ExecutionPhase.EXECUTION_PENDING
IN_PROGRESS = ExecutionPhase.EXECUTION_IN_PROGRESS
COMPLETED = ExecutionPhase.EXECUTION_COMPLETED
FAILED = ExecutionPhase.EXECUTION_FAILED
CANCELLED = ExecutionPhase.EXECUTION_CANCELLED


class Plane:
    """The six kinds of one app."""

    def __init__(self, app: App) -> None:
        self.app = app
        channel = app.loopback
        made = {facts.name: Resources(facts, channel) for facts in KINDS}
        self.agents, self.instances, self.sessions = made["Agent"], made["AgentInstance"], made["Session"]
        self.executions, self.environments = made["AgentExecution"], made["Environment"]
        self.contexts = made["ExecutionContext"]

    async def agent(self, **metadata: Any) -> Any:
        return await self.agents.created(**metadata)

    async def session(self, agent: Any = None, **metadata: Any) -> Any:
        agent = agent or await self.agent()
        return await self.sessions.create(samples.session(agent.status.default_instance_id, **metadata))

    async def execution(self, agent: Any = None, **metadata: Any) -> Any:
        agent = agent or await self.agent()
        return await self.executions.create(samples.agent_execution(agent_id=agent.metadata.id, **metadata))

    async def run(self, session_id: str = "", agent_id: str = "", **metadata: Any) -> Any:
        return await self.executions.create(samples.agent_execution(session_id, agent_id, **metadata))

    async def report(self, id_: str, **fields: Any) -> Any:
        report = AgentExecutionUpdateStatusInput(execution_id=id_, status=AgentExecutionStatus(**fields))
        return await self.executions.commands.update_status(report)

    def follow(self, id_: str) -> AsyncIterator[Any]:
        follow: AsyncIterator[Any] = self.executions.queries.subscribe(AgentExecutionId(value=id_))
        return follow

    async def ids(self, kind: str) -> set[str]:
        """All of the kind, as the store has them."""
        return {row.id for row in (await self.app.store.page(Query(kind), Window(limit=None))).rows}

    async def strip_default_instance(self, agent: Any, to: str = "") -> None:
        """Leave the agent with no default instance, or one that is not there: what an older server may have left."""
        await self.instances.delete(agent.status.default_instance_id)
        row = await self.app.store.get("Agent", agent.metadata.id)
        assert row is not None
        await write_status(self.app, row, to)


async def write_status(app: App, row: Any, default_instance_id: str) -> None:
    from stigmer.handlers.agent import HANDLER
    from stigmer.store.changes import Changes, Put

    resource: Any = HANDLER.kind.resource_of(row)
    resource.status.default_instance_id = default_instance_id
    await app.store.commit(Changes(puts=[Put(HANDLER.kind.row_of(resource, row.owner, based_on=row), row.revision)]))


def lines(caplog: pytest.LogCaptureFixture, *loggers: str) -> list[tuple[str, str]]:
    """(level, event) of what these loggers said."""
    return [
        (logging.getLevelName(record.levelno), record.msg["event"])
        for record in caplog.records
        if record.name in loggers and isinstance(record.msg, Event)
    ]
