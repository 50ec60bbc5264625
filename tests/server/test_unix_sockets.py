"""The file of a Unix socket: for its owner alone, in place of a dead server's and of nothing else, gone at the end."""

# ruff: noqa: ASYNC240 - a look at one file, in a test of files
from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import certificates
import pytest
from child_process import child
from server_rig import PEER
from server_wire import Wire, connect, message

from stigmer.address import TcpAddress, UnixAddress
from stigmer.errors import StartupError
from stigmer.server import unix_socket
from stigmer.server.tls import server_context
from stigmer.server.unix_socket import bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server_rig import Serve

NEVER = threading.Event()
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sock"


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def left_behind(path: Path) -> Path:
    """What a server leaves that was killed."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    return path


def at(path: Path) -> list[UnixAddress | TcpAddress]:
    return [UnixAddress(str(path))]


async def refusal(serve: Serve, path: Path) -> str:
    with pytest.raises(StartupError) as caught:
        await serve(listen=at(path)).__aenter__()
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"cannot listen on unix:{path}: ")


async def echoes(path: Path) -> bool:
    """Whether a call by the file is answered."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    wire = Wire(reader, writer)
    wire.hello()
    try:
        return await wire.status(wire.request(message(b"hello"))) == "0"
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_the_file_is_its_owner_s_alone_from_its_first_moment(
    path: Path, mask: int, umask: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second step makes it so."""
    monkeypatch.setattr(Path, "chmod", lambda *_: pytest.fail("its mode was another one before"))
    umask(mask)
    with bound(str(path), 1, NEVER):
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600


def test_its_owner_has_the_use_of_it_whatever_the_umask(path: Path, umask: Callable[[int], int]) -> None:
    umask(0o277)
    with bound(str(path), 1, NEVER):
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600


async def test_a_call_comes_by_the_file_and_the_file_goes_with_the_server(serve: Serve, path: Path) -> None:
    async with serve(listen=at(path)) as server:
        assert server.listens_on == f"unix:{path}"
        assert await echoes(path)
        with pytest.raises(LookupError):
            _ = server.address
    assert not path.exists()


async def test_several_sockets_are_one_server_and_drain_as_one(serve: Serve, path: Path, tmp_path: Path) -> None:
    several = [TcpAddress("127.0.0.1", 0), *at(path), *at(tmp_path / "other.sock")]
    async with serve(listen=several) as server, connect(server) as wire:
        assert await wire.status(wire.request(message(b"hello"))) == "0"
        assert await echoes(path)
        assert await echoes(tmp_path / "other.sock")
        assert [str(one) for one in server.addresses[1:]] == [f"unix:{path}", f"unix:{tmp_path / 'other.sock'}"]
        host, port = server.address
        await server.drain(0)
        assert not path.exists()
        assert not (tmp_path / "other.sock").exists()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)


async def test_one_address_that_cannot_be_bound_leaves_nothing_of_the_others(serve: Serve, path: Path) -> None:
    with pytest.raises(StartupError, match="the name cannot be resolved"):
        await serve(listen=[*at(path), TcpAddress("no-such-host.invalid", 0)]).__aenter__()
    assert not path.exists()


async def test_a_grpcio_client_calls_by_the_file(serve: Serve, path: Path) -> None:
    async with serve(listen=at(path)), child(PEER, "call", f"unix:{path}", "/t.T/Echo") as peer:
        assert await peer.lines() == ["OK 5"]


async def test_the_file_of_a_dead_server_is_replaced(serve: Serve, path: Path) -> None:
    left_behind(path)
    async with serve(listen=at(path)):
        assert await echoes(path)


async def test_a_living_server_keeps_its_file(serve: Serve, path: Path) -> None:
    async with serve(listen=at(path)):
        assert await refusal(serve, path) == "another process listens there: stop it, or listen on another path"
        assert await echoes(path)


async def test_a_server_that_is_too_busy_to_answer_lives(serve: Serve, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        assert "another process listens there" in await refusal(serve, path)


async def test_another_sort_of_socket_is_left_alone(serve: Serve, path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(path))
        assert "another process listens there" in await refusal(serve, path)
    assert path.is_socket()


OBSTACLES: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: path.write_text("somebody's"),
    "a directory": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to a socket": lambda path: path.symlink_to(left_behind(path.with_name("dead"))),
}


@pytest.mark.parametrize("what", OBSTACLES)
async def test_what_is_no_socket_is_never_removed(serve: Serve, path: Path, what: str) -> None:
    OBSTACLES[what](path)
    before = path.lstat()
    assert await refusal(serve, path) == "what is there is no socket: move it away, or listen on another path"
    assert path.lstat() == before


async def test_a_directory_that_is_missing_is_named(serve: Serve, tmp_path: Path) -> None:
    assert (await refusal(serve, tmp_path / "none/s.sock")).startswith("there is no such directory: make it")


async def test_a_directory_that_another_process_keeps_locked_is_waited_for_no_longer_than_needed(
    serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        monkeypatch.setattr(unix_socket, "LOCK_S", 0.05)
        assert "another process keeps" in await refusal(serve, path)
        starting = asyncio.create_task(serve(listen=at(path)).__aenter__())
        await asyncio.sleep(0)
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
    finally:
        os.close(handle)
    assert not path.exists()


async def test_a_file_that_is_another_server_s_by_now_is_not_removed(serve: Serve, path: Path) -> None:
    async with serve(listen=at(path)) as first:
        path.unlink()
        async with serve(listen=at(path)):
            await first.drain(0)
            assert await echoes(path)


async def test_a_directory_that_disappears_harms_nothing_else(serve: Serve, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    async with serve(listen=[*at(directory / "s.sock"), TcpAddress("127.0.0.1", 0)]) as server:
        reader, writer = await asyncio.open_unix_connection(str(directory / "s.sock"))
        wire = Wire(reader, writer)
        wire.hello()
        (directory / "s.sock").unlink()
        directory.rmdir()
        assert await wire.status(wire.request(message(b"hello"))) == "0"
        async with connect(server) as other:
            assert await other.status(other.request(message(b"hello"))) == "0"
        writer.transport.abort()


@pytest.mark.parametrize("stale", [False, True])
def test_of_servers_that_race_for_one_path_one_wins(path: Path, *, stale: bool) -> None:
    """A lock is one of an open file, so that threads stand in for processes here."""

    def start(_: int) -> socket.socket | None:
        try:
            return bound(str(path), 100, NEVER)
        except OSError:
            return None

    for _ in range(20):
        if stale:
            left_behind(path)
        with ThreadPoolExecutor(8) as threads:
            (winner,) = [one for one in threads.map(start, range(8)) if one is not None]
        with winner, socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            winner.accept()[0].close()
        path.unlink()


async def test_tls_is_for_tcp_alone(serve: Serve, path: Path, tmp_path: Path) -> None:
    pems = await asyncio.to_thread(certificates.make, tmp_path)
    context = server_context(pems / "server.pem", pems / "server.key", pems / "ca.pem")
    async with serve(listen=at(path), ssl=context):
        assert await echoes(path)


async def test_five_thousand_callers_connect_by_the_file(serve: Serve, path: Path) -> None:
    """Three seconds: each sends its first frames, reads the server's, and goes."""
    room = asyncio.Semaphore(200)

    async def once() -> bool:
        async with room:
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(HELLO)
            answer = await reader.read(9)
            writer.transport.abort()
            return bool(answer)

    async with serve(listen=at(path)) as server:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(once()) for _ in range(5000)]
        assert all(call.result() for call in calls)
        assert await echoes(path)
        assert server.held_bytes == 0
