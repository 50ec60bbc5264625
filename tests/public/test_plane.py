"""`stigmer.embedded`: a control plane in a host's process, its port, its services on the host's server, its end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import samples
from benchmarks.servers import free_port
from edge_rig import Around, Seen, failure_of
from grpclib.const import Status
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.exceptions import StreamTerminatedError
from grpclib.server import Server as GrpclibServer

import stigmer
import stigmer.app  # here, as its first use in a loop would block it
from stigmer import rpc
from stigmer.app import background
from stigmer.store.sqlite import SqliteStore
from stigmer.types import (
    AgentExecutionId,
    AgentExecutionStatus,
    AgentExecutionUpdateStatusInput,
    AgentId,
    ExecutionPhase,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from grpclib.client import Channel

    from stigmer.server.server import Server
    from stigmer.types import AgentExecution

CREATE = "AgentCommandController/create"


def dial(server: Server) -> Channel:
    return rpc.channel(server.listens_on)


async def created(channel: Channel) -> str:
    """The id of a new agent."""
    agent = await rpc.AgentCommandControllerStub(channel).create(samples.agent())
    assert agent.metadata
    return agent.metadata.id


async def execution(channel: Channel) -> AgentExecutionId:
    made = await rpc.AgentExecutionCommandControllerStub(channel).create(
        samples.agent_execution(agent_id=await created(channel))
    )
    assert made.metadata
    return AgentExecutionId(made.metadata.id)


async def end_of(stream: AsyncIterator[AgentExecution]) -> Status:
    """How a stream ends; grpclib's client forgets the status where the connection is closed right after it."""
    try:
        return (await failure_of(anext(stream))).status
    except StreamTerminatedError:
        return Status.UNAVAILABLE


@asynccontextmanager
async def own_server(plane: stigmer.Plane) -> AsyncGenerator[Channel]:
    """A channel to a server of the host's own."""
    server = GrpclibServer(plane.services(), codec=rpc.Codec(), status_details_codec=ProtoStatusDetailsCodec())
    await server.start("127.0.0.1", 0)
    sockets: Any = server._server
    async with rpc.channel(f"127.0.0.1:{sockets.sockets[0].getsockname()[1]}") as channel:
        yield channel
    server.close()
    await server.wait_closed()


async def test_one_plane_is_reached_by_its_channel_by_its_port_and_by_a_host_s_own_server(tmp_path: Path) -> None:
    async with (
        stigmer.embedded(tmp_path) as plane,
        plane.listen("127.0.0.1:0") as server,
        dial(server) as far,
        own_server(plane) as hosted,
    ):
        id_ = AgentId(await created(plane.channel))
        found = [await rpc.AgentQueryControllerStub(one).get(id_) for one in (plane.channel, far, hosted)]
        assert found[0] == found[1] == found[2]


async def test_what_was_made_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    async with stigmer.embedded(str(tmp_path / "data")) as plane:
        id_ = await created(plane.channel)
        assert repr(plane) == f"<Plane on <SqliteStore {tmp_path / 'data' / 'stigmer.db'}>, open>"
    assert repr(plane).endswith(", closed>")
    with pytest.raises(RuntimeError, match="cannot be opened again"):
        await plane.__aenter__()
    async with stigmer.embedded(stigmer.Settings(data_dir=tmp_path / "data")) as plane:
        assert await rpc.AgentQueryControllerStub(plane.channel).get(AgentId(id_))


async def test_a_plane_in_memory_serves_all_that_one_on_a_disk_does_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with stigmer.embedded(":memory:") as plane, plane.listen("127.0.0.1:0") as server, dial(server) as far:
        id_ = await execution(plane.channel)
        stream = follow(far, id_)
        assert await anext(stream)
        await report(plane.channel, id_)
        assert (await anext(stream)).status
        end = asyncio.ensure_future(end_of(stream))
        await plane.close()
        assert await end is Status.UNAVAILABLE
        assert (await failure_of(created(plane.channel))).status is Status.UNAVAILABLE
    async with stigmer.embedded(":memory:") as plane:
        found = rpc.AgentExecutionQueryControllerStub(plane.channel).get(id_)
        assert (await failure_of(found)).status is Status.NOT_FOUND
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - on a loop that nothing else is on


async def test_a_channel_may_act_as_a_principal(tmp_path: Path) -> None:
    ann, seen = stigmer.Principal("ann", "editor", frozenset({"acme"})), Seen()
    async with stigmer.embedded(tmp_path, [seen]) as plane:
        await created(plane.channel_as(ann))
        await created(plane.channel)
    outermost = [call.principal.name for call in seen.calls if call.parent is None]
    assert outermost == ["ann", "local"]


async def test_each_channel_shows_what_is_there_for_its_caller(tmp_path: Path) -> None:
    for where in (tmp_path, ":memory:"):
        async with stigmer.embedded(where) as plane:
            ann, gil = (
                plane.channel_as(stigmer.Principal(name, "editor", frozenset({org})))
                for name, org in (("ann", "acme"), ("gil", "globex"))
            )
            id_ = AgentId(await created(ann))
            assert await rpc.AgentQueryControllerStub(ann).get(id_)
            assert (await failure_of(rpc.AgentQueryControllerStub(gil).get(id_))).status is Status.NOT_FOUND
            assert await rpc.AgentQueryControllerStub(plane.channel).get(id_)


async def test_no_channel_acts_as_one_of_the_server_s_own() -> None:
    async with stigmer.embedded(":memory:") as plane:
        for name in ("local", "system", "internal"):
            with pytest.raises(ValueError, match=f"no caller can be called '{name}'"):
                plane.channel_as(stigmer.Principal(name, "admin", frozenset({"*"})))


async def test_the_end_of_one_port_ends_no_call_that_came_by_another_way(tmp_path: Path) -> None:
    async with (
        stigmer.embedded(tmp_path) as plane,
        plane.listen("127.0.0.1:0") as stays,
        dial(stays) as channel,
        own_server(plane) as hosted,
    ):
        id_ = await execution(plane.channel)
        streams = await followers(id_, channel, hosted, plane.channel)
        async with plane.listen("127.0.0.1:0") as server, dial(server) as other:
            assert await anext(follow(other, id_))
        await report(plane.channel, id_)
        for stream in streams:
            assert await anext(stream)
        async with plane.listen("127.0.0.1:0") as again, dial(again) as channel_again:
            assert await created(channel_again)


def follow(channel: Channel, id_: AgentExecutionId) -> AsyncIterator[AgentExecution]:
    return rpc.AgentExecutionQueryControllerStub(channel).subscribe(id_)


async def followers(id_: AgentExecutionId, *channels: Channel) -> list[AsyncIterator[AgentExecution]]:
    """Streams that have told of the first state."""
    streams = [follow(channel, id_) for channel in channels]
    for stream in streams:
        assert await anext(stream)
    return streams


async def report(channel: Channel, id_: AgentExecutionId) -> None:
    status = AgentExecutionStatus(phase=ExecutionPhase.EXECUTION_IN_PROGRESS)
    request = AgentExecutionUpdateStatusInput(execution_id=id_.value, status=status)
    await rpc.AgentExecutionCommandControllerStub(channel).update_status(request)


async def test_close_ends_every_open_stream_and_lets_go_of_the_directory(tmp_path: Path) -> None:
    async with (
        stigmer.embedded(tmp_path) as plane,
        plane.listen("127.0.0.1:0") as server,
        dial(server) as far,
        own_server(plane) as hosted,
    ):
        id_ = await execution(plane.channel)
        streams = await followers(id_, far, hosted, plane.channel)
        ends = [asyncio.ensure_future(end_of(stream)) for stream in streams]
        await plane.close(grace_s=20)
        assert await asyncio.gather(*ends) == [Status.UNAVAILABLE] * 3
        await plane.close()
        async with stigmer.embedded(tmp_path) as again:
            assert await rpc.AgentExecutionQueryControllerStub(again.channel).get(id_)


async def test_a_call_that_runs_when_the_plane_closes_may_finish_and_a_later_one_is_refused(tmp_path: Path) -> None:
    entered, go = asyncio.Event(), asyncio.Event()

    async def wait(call: stigmer.Call, request: Any, proceed: stigmer.UnaryNext) -> Any:
        entered.set()
        await go.wait()
        return await proceed(call, request)

    async with stigmer.embedded(tmp_path, [Around(CREATE, wait)]) as plane:
        running = asyncio.create_task(created(plane.channel))
        await entered.wait()
        closing = asyncio.create_task(plane.close(grace_s=60))
        await asyncio.sleep(0)
        refused = await failure_of(created(plane.channel))
        assert refused.status is Status.UNAVAILABLE
        go.set()
        assert await running
        await closing
        assert (await failure_of(created(plane.channel))).status is Status.UNAVAILABLE


async def test_a_call_that_does_not_end_is_cut_within_the_grace() -> None:
    entered = asyncio.Event()

    async def hang(call: stigmer.Call, request: Any, proceed: stigmer.UnaryNext) -> Any:
        entered.set()
        await asyncio.Event().wait()

    async with stigmer.embedded(":memory:", [Around(CREATE, hang)]) as plane:
        running = asyncio.create_task(failure_of(created(plane.channel)))
        await entered.wait()
        await plane.close(grace_s=0.5)
        assert (await running).status is Status.UNAVAILABLE


async def test_serve_leaves_the_process_as_it_is_and_drains_when_it_is_cancelled(tmp_path: Path) -> None:
    before, seen = process_state(), Seen()
    address = f"127.0.0.1:{free_port()}"
    settings = await asyncio.to_thread(stigmer.Settings, listen=(address,), data_dir=tmp_path)
    serving = asyncio.create_task(stigmer.serve(settings, [seen]))
    async with rpc.channel(address) as channel:
        id_ = await once_it_listens(channel)
        stream = follow(channel, id_)
        assert await anext(stream)
        assert process_state() == before
        assert seen.calls
        end = asyncio.ensure_future(end_of(stream))
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert await end is Status.UNAVAILABLE
    async with stigmer.embedded(tmp_path) as plane:
        assert await rpc.AgentExecutionQueryControllerStub(plane.channel).get(id_)


async def once_it_listens(channel: Channel) -> AgentExecutionId:
    while True:
        try:
            return await execution(channel)
        except OSError:
            await asyncio.sleep(0.01)


def process_state() -> tuple[object, ...]:
    handlers = tuple(signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT))
    return (*handlers, gc.get_freeze_count(), gc.get_threshold(), sys.getswitchinterval())


async def test_other_machines_do_not_reach_a_plane_that_asks_nobody_who_they_are(tmp_path: Path) -> None:
    settings = await asyncio.to_thread(stigmer.Settings, listen=("0.0.0.0:0",), data_dir=tmp_path / "served")
    async with stigmer.embedded(tmp_path / "embedded") as plane:
        with pytest.raises(stigmer.StartupError, match="nobody is asked who they are"):
            await plane.listen("0.0.0.0:0").__aenter__()
        async with plane.listen(f"unix:{tmp_path}/s.sock") as server, rpc.channel(server.listens_on) as channel:
            assert (await rpc.CallerQueryControllerStub(channel).whoami()).name == "local"
    with pytest.raises(stigmer.StartupError, match="nobody is asked who they are"):
        await stigmer.serve(settings)


async def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    async with stigmer.embedded(tmp_path) as plane:
        with pytest.raises(ValueError, match="not HOST:PORT"):
            await plane.listen("nowhere").__aenter__()
        with pytest.raises(stigmer.StartupError, match="cannot be resolved"):
            await plane.listen("no.such.host.invalid:1").__aenter__()


async def test_a_plane_has_its_store_maintained_from_time_to_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "MAINTENANCE_S", 0.001)
    maintained, really = asyncio.Event(), SqliteStore.maintain

    async def noted(store: SqliteStore) -> None:
        await really(store)
        maintained.set()

    monkeypatch.setattr(SqliteStore, "maintain", noted)
    async with stigmer.embedded(tmp_path) as plane:
        await created(plane.channel)
        async with asyncio.timeout(30):
            await maintained.wait()
    async with SqliteStore(tmp_path) as store:
        assert [one.key for one in await store.records("leases")] == ["maintenance"]
