"""The composition root as embedders use it: what it opens it closes, and errors come out as they are."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
import samples
from edge_rig import Stubs, executions, id_of, sessions
from edge_sockets import listening
from grpclib.exceptions import GRPCError

from stigmer.app import embedded, serving
from stigmer.errors import StartupError
from stigmer.settings import Settings
from stigmer.store.errors import TooManySubscriptionsError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(listen=("127.0.0.1:0",), data_dir=tmp_path / "data", max_subscriptions=1)


class FailedError(Exception):
    """What a test leaves a block with."""


async def test_running_keeps_what_it_was_told_and_lets_go_of_the_directory(settings: Settings) -> None:
    async with embedded(settings) as plane:
        made = await Stubs(plane.channel).sessions.create(samples.session())
        with pytest.raises(StartupError, match="another stigmer has the data directory"):
            async with embedded(settings):
                raise AssertionError
    async with embedded(settings) as plane:
        assert await Stubs(plane.channel).find_sessions.get(sessions.SessionId(value=id_of(made))) == made


async def test_an_error_in_the_block_comes_out_as_it_is(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(FailedError):
        async with embedded(settings):
            raise FailedError
    with pytest.raises(FailedError):
        async with listening(tmp_path):
            raise FailedError


async def test_a_port_in_use_is_said_as_it_is(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = await asyncio.to_thread(
            Settings, listen=(f"127.0.0.1:{taken.getsockname()[1]}",), data_dir=tmp_path / "data"
        )
        with pytest.raises(StartupError, match="another process listens there"):
            async with serving(settings):
                raise AssertionError


async def test_the_limit_of_subscriptions_is_the_setting(settings: Settings) -> None:
    async with embedded(settings) as plane:
        stubs = Stubs(plane.channel)
        agent = await stubs.agents.create(samples.agent())
        execution = await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent)))
        id_ = executions.AgentExecutionId(value=id_of(execution))
        first, second = stubs.find_executions.subscribe(id_), stubs.find_executions.subscribe(id_)
        await anext(first)
        with pytest.raises(GRPCError, match="1 subscriptions are open") as caught:
            await anext(second)
        assert caught.value.status.name == "RESOURCE_EXHAUSTED"
        with pytest.raises(TooManySubscriptionsError), plane._store.feed.subscribe("Session", "x"):
            raise AssertionError
        await first.aclose()
        for _ in range(10):
            await asyncio.sleep(0)
        third = stubs.find_executions.subscribe(id_)
        assert await anext(third) == execution
        await third.aclose()
