"""Files taken, or cut short, from under a running server: it acknowledges nothing more, and says so.

Without its log it went on to acknowledge writes that the next start did not find.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Stubs, id_of, sessions
from edge_sockets import dial
from google.rpc.error_details_pb2 import RetryInfo
from grpclib.client import Channel
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from served_process import Served, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    Opened: TypeAlias = Callable[[Served], Stubs]


def halved(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def emptied(file: Path) -> None:
    os.truncate(file, 0)


def replaced(file: Path) -> None:
    file.unlink()
    file.touch()


FATES: list[tuple[str, Callable[[Path], None], str]] = [
    ("stigmer.db-wal", Path.unlink, "was deleted or replaced while the server runs: stop it, start it again"),
    ("stigmer.db-wal", replaced, "was deleted or replaced while the server runs: stop it, start it again"),
    ("stigmer.db-wal", emptied, "was cut short while the server runs: stop it, restore a backup, start it again"),
    ("stigmer.db-shm", Path.unlink, "was deleted or replaced while the server runs: stop it, start it again"),
    ("stigmer.db", halved, "was cut short while the server runs: stop it, restore a backup, start it again"),
    ("stigmer.db", Path.unlink, "was deleted or replaced while the server runs: stop it, put the file back, start it "),
]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens stubs of a server; closed at the end."""
    channels: list[Channel] = []

    def open_(server: Served) -> Stubs:
        channels.append(dial(server))
        return Stubs(channels[-1])

    yield open_
    for channel in channels:
        channel.close()


async def healthy(server: Served) -> bool:
    channel = Channel(*server.address)
    answer: Any = await HealthStub(channel).Check(HealthCheckRequest())
    channel.close()
    return bool(answer.status == HealthCheckResponse.SERVING)


async def made(stubs: Stubs, number: int) -> list[Any]:
    return [await stubs.sessions.create(samples.session()) for _ in range(number)]


async def found(stubs: Stubs, made_: list[Any]) -> list[Any]:
    return [await stubs.find_sessions.get(sessions.SessionId(value=id_of(one))) for one in made_]


@pytest.mark.parametrize(("name", "fate", "word"), FATES)
async def test_nothing_is_acknowledged_any_more(
    tmp_path: Path, name: str, fate: Callable[[Path], None], word: str, opened: Opened
) -> None:
    async with served(tmp_path) as server:
        stubs = opened(server)
        kept = await made(stubs, 10)
        assert await healthy(server)
        fate(tmp_path / name)
        with pytest.raises(GRPCError) as caught:
            await stubs.sessions.create(samples.session())
        assert caught.value.status.name == "UNAVAILABLE"
        assert isinstance(caught.value.details[0], RetryInfo)
        assert f"{tmp_path / name} {word}" in (await server.logged("Not serving"))["error"]
        assert not await healthy(server)
        assert await found(stubs, kept) == kept, "what can be read is"


@pytest.mark.parametrize("name", ["stigmer.db-wal", "stigmer.db-shm"])
async def test_a_log_or_index_that_was_deleted_is_whole_after_a_stop_and_a_start(
    tmp_path: Path, name: str, opened: Opened
) -> None:
    async with served(tmp_path, ends=True) as server:
        kept = await made(opened(server), 10)
        (tmp_path / name).unlink()
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == 0
    async with served(tmp_path) as server:
        stubs = opened(server)
        assert await found(stubs, kept) == kept
        await made(stubs, 1)
