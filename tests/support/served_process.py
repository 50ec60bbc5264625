"""`stigmer serve` in a process of its own, told by its log lines."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from measured import MEASURED

from stigmer.address import tcp_address_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping

SIGNALLED = """
import logging, os, signal, sys
from stigmer.cli import main

class Signal(logging.Handler):
    def emit(self, record):
        if record.msg.get("event", "").startswith({event!r}):
            os.kill(os.getpid(), signal.SIGTERM)

logging.getLogger("stigmer").addHandler(Signal())
main()
"""


class Served:
    """A server; `lines` are those that it has logged as far as they were read."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.address: tuple[str, int] = ("127.0.0.1", 0)

    async def logged(self, event: str) -> dict[str, Any]:
        """The next line of that event."""
        while True:
            line = await self._line()
            assert line is not None, f"no line {event!r} in {self.lines}"
            if line["event"] == event:
                return line

    async def ended(self) -> int:
        """Its status, when it has said all that it says."""
        while await self._line() is not None:
            pass
        return await asyncio.wait_for(self.process.wait(), 60)

    def took_s(self) -> float:
        """How long it took from the signal to its last line, by its own clock; the test may be kept waiting."""
        first = next(line for line in self.lines if line["event"].startswith("Draining"))
        last = dt.datetime.fromisoformat(self.lines[-1]["timestamp"])
        return (last - dt.datetime.fromisoformat(first["timestamp"])).total_seconds()

    def calls(self) -> list[tuple[str, str]]:
        """Method and code of the calls logged."""
        return [(line["method"], line["code"]) for line in self.lines if line["event"] == "call"]

    def memory_bytes(self, what: str = "VmRSS") -> int:
        """What the process has in memory; with VmHWM, the most that it had since `forget_peak`."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(what)).split()[1]) * 1024

    def forget_peak(self) -> int:
        """Count the peak of memory from now on; what is in memory now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.memory_bytes()

    async def _line(self) -> dict[str, Any] | None:
        assert self.process.stderr is not None
        text = await asyncio.wait_for(self.process.stderr.readline(), 60)
        if not text:
            return None
        assert text.startswith(b"{"), text.decode()  # it does not start, and says why in plain words
        self.lines.append(json.loads(text))
        return self.lines[-1]


@asynccontextmanager
async def served(  # each is named
    directory: Path,
    *flags: str,
    signalled: str = "",
    env: dict[str, str] | None = None,
    until: str = "stigmer serves",
    program: str = "",
    descriptors: int | None = None,
    ends: bool = False,
) -> AsyncGenerator[Served]:
    """A server that listens.

    Args:
        directory: its data directory.
        flags: further ones of `stigmer serve`.
        signalled: it sends itself SIGTERM where it logs an event that begins so.
        env: added to the environment.
        until: the event that is waited for; another one than this comes before it listens.
        program: what is run in place of the module.
        descriptors: how many it may have open.
        ends: the test ends it, so that coverage hears of what it ran; else it is killed.
    """
    code = SIGNALLED.format(event=signalled) if signalled else program
    command = [sys.executable, *(("-c", code) if code else ("-m", "stigmer"))]
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    listen = () if "--listen" in flags else ("--listen", "127.0.0.1:0")
    settings = (*listen, "--data-dir", str(directory), "--log-format", "json", *flags)
    process = await asyncio.create_subprocess_exec(
        *command,
        "serve",
        *settings,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(MEASURED if ends else {}), **(env or {})},
    )
    server = Served(process)
    try:
        first = (await server.logged(until))["listen"].split(",")[0]
        if not first.startswith("unix:"):
            server.address = tcp_address_of(first)
        yield server
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


class Listening(NamedTuple):
    """A server that many tests call."""

    address: tuple[str, int]


@contextmanager
def serving(*flags: str, env: Mapping[str, str] = os.environ) -> Generator[Listening]:
    """A server for tests that only call it, whatever loop they run on; stopped at the end."""
    command = [sys.executable, "-m", "stigmer", "serve", "--listen", "127.0.0.1:0", "--log-format", "json", *flags]
    with subprocess.Popen(command, env={**env, **MEASURED}, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        lines = (json.loads(line) for line in server.stderr)
        address = next(line["listen"] for line in lines if line["event"] == "stigmer serves").split(",")[0]
        host, _, port = address.rpartition(":")
        drain = threading.Thread(target=server.stderr.read, daemon=True)
        drain.start()
        try:
            yield Listening((host, int(port)))
        finally:
            server.terminate()
            drain.join()
