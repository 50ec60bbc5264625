"""The downstream clients, unchanged over the loopback and over a network, where a failed caller undoes what it made."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Around, Rig, Stubs, agents, id_of, said, sessions
from edge_sockets import dial, listening, serving
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer.downstream import ResourceClient, SessionClient
from stigmer.errors import Code, InvalidArgument, Relayed, StigmerError, Unavailable
from stigmer.rpc import Codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call


class FailedError(Exception):
    """What a test makes a call fail with."""


@pytest.fixture(params=["loopback", "network"])
async def channel(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Any]:
    async with serving(tmp_path / "far") as (network, app):
        yield network if request.param == "network" else app.loopback


async def test_agents(channel: Any) -> None:
    client = ResourceClient[Any]("Agent", channel)
    made: Any = await client.create(samples.agent())
    assert made.status.default_instance_id
    assert await client.get(id_of(made)) == made
    await client.delete(id_of(made))
    await client.delete(id_of(made))
    assert await client.get(id_of(made)) is None


async def test_instances(channel: Any) -> None:
    client = ResourceClient[Any]("AgentInstance", channel)
    made = await client.create(samples.agent_instance())
    assert await client.get(id_of(made)) == made
    await client.delete(id_of(made))
    await client.delete(id_of(made))
    assert await client.get(id_of(made)) is None


async def test_sessions(channel: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "stigmer")
    client = SessionClient(channel)
    made = await client.create(samples.session())
    way = "Creating session via " + ("gRPC" if isinstance(channel, Channel) else "in-process gRPC")
    assert said(caplog, way)
    (line,) = said(caplog, "Successfully created session")
    assert line["session_id"] == id_of(made)
    assert await client.get(id_of(made)) == made
    await client.delete(id_of(made))
    await client.delete(id_of(made))
    assert await client.get(id_of(made)) is None


async def test_refusals_come_back_as_our_errors_with_all_they_say(channel: Any) -> None:
    client = SessionClient(channel)
    await client.create(samples.session(name="one"))
    with pytest.raises(Relayed) as caught:
        await client.create(samples.session(name="one"))
    assert caught.value.code is Code.ALREADY_EXISTS
    assert caught.value.message.startswith("Session with slug 'one' already exists: ses-")
    (detail,) = caught.value.details
    assert detail.DESCRIPTOR.name == "ResourceInfo"


async def test_an_unsendable_resource_is_refused_here(channel: Any) -> None:
    broken = samples.session()
    broken.spec.subject = "\ud800"
    with pytest.raises((InvalidArgument, Relayed), match=r"spec\.subject"):
        await SessionClient(channel).create(broken)


async def test_a_service_out_of_reach_is_unavailable() -> None:
    channel = Channel("127.0.0.1", 1, codec=Codec())
    with pytest.raises(Unavailable, match="out of reach"):
        await SessionClient(channel).create(samples.session())
    with pytest.raises(Unavailable, match="out of reach"):
        await ResourceClient[Any]("Agent", channel).get("agt-1")
    channel.close()


async def test_a_service_that_goes_away_amid_the_call_is_unavailable(tmp_path: Path) -> None:
    stuck = asyncio.Event()

    async def wait(call: Call, request: Any, proceed: UnaryNext) -> Any:
        stuck.set()
        await asyncio.Event().wait()

    async with listening(tmp_path, Around("SessionCommandController/create", wait)) as (server, channel):
        create = asyncio.create_task(SessionClient(channel).create(samples.session()))
        await stuck.wait()
        await server.drain(0)
        with pytest.raises(StigmerError) as caught:
            await create
    assert caught.value.code is Code.UNAVAILABLE


async def test_an_agent_kept_elsewhere_serves_executions_here(tmp_path: Path, wire: Callable[..., Rig]) -> None:
    async with serving(tmp_path / "far") as (channel, _):
        near = wire(
            Agent=ResourceClient[Any]("Agent", channel), AgentInstance=ResourceClient[Any]("AgentInstance", channel)
        )
        agent = await Stubs(channel).agents.create(samples.agent())
        execution = await near.executions.create(samples.agent_execution(agent_id=id_of(agent)))
        session = await near.find_sessions.get(sessions.SessionId(value=execution.spec.session_id))
        assert session.spec.agent_instance_id == agent.status.default_instance_id
        assert (await near.find_sessions.list(sessions.ListSessionsRequest())).entries == [session]
        with pytest.raises(GRPCError) as caught:
            await near.find_agents.get(agents.AgentId(value=id_of(agent)))
        assert caught.value.status is Status.NOT_FOUND


async def test_a_dialled_channel_is_no_loopback(tmp_path: Path) -> None:
    async with listening(tmp_path) as (server, _):
        channel = dial(server)
        assert not SessionClient(channel).in_process
        channel.close()
