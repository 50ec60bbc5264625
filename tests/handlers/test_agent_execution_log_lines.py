"""What AgentExecution.create says of the session that it makes: with the Session client, and with none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance_plane import Plane, lines
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecutionCommandControllerStub
from stigmer.edge.door import Edge
from stigmer.edge.loopback import LoopbackChannel
from stigmer.handlers import HANDLERS
from stigmer.pipeline.ids import IdSource
from stigmer.pipeline.runtime import Runtime
from stigmer.pipeline.sealing_keys import SealingKeys
from stigmer.pipeline.unit_of_work import UnitOfWork
from stigmer.telemetry.logs import Event

if TYPE_CHECKING:
    from stigmer.app.assembly import App

STEP = "stigmer.steps.create_session_if_needed"
CLIENT = "stigmer.downstream.session"
WITH_CLIENT = [
    ("DEBUG", "Using in-process gRPC client for session creation"),
    ("DEBUG", "Creating session via in-process gRPC"),
    ("INFO", "Successfully created session"),
    ("INFO", "Successfully auto-created session via in-process gRPC"),
]
WITHOUT_CLIENT = [
    ("WARNING", "Session client not available, using direct store access (bypasses interceptors)"),
    ("INFO", "Successfully auto-created session (direct store access)"),
]


def alone(app: App) -> Any:
    """The AgentExecution command service, with no downstream clients."""
    kinds = {handler.kind.name: handler.kind for handler in HANDLERS}
    ids = IdSource()
    runtime = Runtime(app.store, UnitOfWork(app.store), kinds, ids, {}, SealingKeys(app.store, kinds))
    handler = next(handler for handler in HANDLERS if handler.kind.name == "AgentExecution")
    channel: Any = LoopbackChannel(Edge(handler.bind(runtime), ids))
    return AgentExecutionCommandControllerStub(channel)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The sessions that the success lines name."""
    return [
        str(event["session_id"])
        for record in caplog.records
        if isinstance(event := record.msg, Event) and record.name in (STEP, CLIENT) and record.levelno == logging.INFO
    ]


@pytest.fixture
def plane(app: App) -> Plane:
    return Plane(app)


@pytest.fixture(autouse=True)
def all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="stigmer")


async def test_with_the_session_client(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    agent = await plane.agent()
    caplog.clear()
    made = await plane.run(agent_id=agent.metadata.id)
    assert lines(caplog, STEP, CLIENT) == WITH_CLIENT
    assert told(caplog) == [made.spec.session_id] * 2


async def test_with_no_session_client(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    agent = await plane.agent()
    caplog.clear()
    made = await alone(plane.app).create(samples.agent_execution(agent_id=agent.metadata.id))
    assert lines(caplog, STEP, CLIENT) == WITHOUT_CLIENT
    assert told(caplog) == [made.spec.session_id]


async def test_in_a_session_of_the_callers_nothing_is_said(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    session = await plane.session()
    caplog.clear()
    await plane.run(session.metadata.id)
    await alone(plane.app).create(samples.agent_execution(session.metadata.id))
    assert lines(caplog, STEP, CLIENT) == []


async def test_the_success_lines_come_only_from_a_run_that_commits(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    agent, holder = await plane.agent(), await plane.execution()
    await plane.strip_default_instance(agent)
    caplog.clear()

    async def refuse(_changes: object) -> object:
        raise OSError("the disk is gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plane.app.store, "commit", refuse)
        with pytest.raises(GRPCError):
            await plane.run(agent_id=agent.metadata.id)
    assert lines(caplog, STEP, CLIENT) == WITH_CLIENT[:2]
    assert not [line for line in caplog.messages if "Successfully" in line]
    assert await plane.executions.get(holder.metadata.id) == holder


async def test_sessions_made_with_and_without_the_client_are_alike(plane: Plane) -> None:
    agent = await plane.agent(org="acme")
    made = [
        await plane.run(agent_id=agent.metadata.id),
        await alone(plane.app).create(samples.agent_execution(agent_id=agent.metadata.id)),
    ]
    with_client, without = [await plane.sessions.get(one.spec.session_id) for one in made]
    assert without.spec == with_client.spec
    for session in (with_client, without):
        metadata = session.metadata
        assert metadata.name == metadata.slug
        assert metadata.id.startswith("ses-")
        assert metadata.version.id.startswith("ver-")
        assert session.status.audit.spec_audit == session.status.audit.status_audit
        session.status.audit = None
        for name in ("id", "name", "slug", "version"):
            setattr(metadata, name, type(getattr(metadata, name))())
    assert without == with_client


async def test_with_no_clients_the_default_instance_is_made_in_the_store(plane: Plane) -> None:
    agent = await plane.agent(name="helper")
    await plane.strip_default_instance(agent)
    made = await alone(plane.app).create(samples.agent_execution(agent_id=agent.metadata.id))
    instance_id = (await plane.agents.get(agent.metadata.id)).status.default_instance_id
    instance = await plane.instances.get(instance_id)
    assert (instance.metadata.slug, instance.spec.agent_id) == ("helper-default", agent.metadata.id)
    assert instance.status.audit.spec_audit.event == "created"
    assert (await plane.sessions.get(made.spec.session_id)).spec.agent_instance_id == instance_id
