"""The Unix socket of `stigmer serve`: asked for its health, ended, killed, raced for."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from served_process import served

from stigmer.cli.health import health

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_health_asks_by_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"unix:{tmp_path / 's.sock'}"
    monkeypatch.setenv("HOME", str(tmp_path))
    async with served(tmp_path, "--listen", address):
        await asyncio.to_thread(health, server=address, timeout_s=30)
        monkeypatch.setenv("STIGMER_LISTEN", f"{address},127.0.0.1:1")
        await asyncio.to_thread(health, timeout_s=30)
    assert capsys.readouterr().out == "SERVING\nSERVING\n"


async def test_the_file_goes_with_a_server_that_is_told_to_stop_and_a_killed_one_s_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    async with served(tmp_path, "--listen", f"unix:{path}") as killed:
        killed.process.kill()
        await killed.process.wait()
        assert await asyncio.to_thread(path.is_socket)
    async with served(tmp_path, "--listen", f"unix:{path}", ends=True) as server:
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == 0
    assert not await asyncio.to_thread(path.exists)


async def test_of_two_processes_that_start_at_once_on_one_path_one_serves(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    async with served(tmp_path / "dead", "--listen", f"unix:{path}") as killed:
        killed.process.kill()
        await killed.process.wait()
    both = [await start(tmp_path / name, path) for name in ("a", "b")]
    ends = [asyncio.create_task(one.communicate()) for one in both]
    over, lives = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=60)
    (refused,), (_,) = over, lives
    assert b"another process listens there: stop it, or listen on another path" in refused.result()[1]
    loser = ends.index(refused)
    assert both[loser].returncode == 1
    await asyncio.to_thread(health, server=f"unix:{path}", timeout_s=30)
    both[1 - loser].terminate()
    await asyncio.wait_for(ends[1 - loser], 60)
    assert not await asyncio.to_thread(path.exists)


async def start(directory: Path, path: Path) -> asyncio.subprocess.Process:
    flags = ("--listen", f"unix:{path}", "--data-dir", str(directory))
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "stigmer", "serve", *flags)
    return await asyncio.create_subprocess_exec(*command, stderr=pipe, env=dict(os.environ))
