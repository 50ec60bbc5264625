"""`stigmer serve` in a process of its own, told by its log lines."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

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
        self.address = ("127.0.0.1", 0)

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

    async def _line(self) -> dict[str, Any] | None:
        assert self.process.stderr is not None
        text = await asyncio.wait_for(self.process.stderr.readline(), 60)
        if not text:
            return None
        self.lines.append(json.loads(text))
        return self.lines[-1]


@asynccontextmanager
async def served(
    directory: Path, *flags: str, signalled: str = "", env: dict[str, str] | None = None, until: str = "stigmer serves"
) -> AsyncGenerator[Served]:
    """A server that listens.

    Args:
        directory: its data directory.
        flags: further ones of `stigmer serve`.
        signalled: it sends itself SIGTERM where it logs an event that begins so.
        env: added to the environment.
        until: the event that is waited for; another one than this comes before it listens.
    """
    program = ("-c", SIGNALLED.format(event=signalled)) if signalled else ("-m", "stigmer")
    settings = ("--listen", "127.0.0.1:0", "--data-dir", str(directory), "--log-format", "json", *flags)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *program, "serve", *settings, stderr=asyncio.subprocess.PIPE, env={**os.environ, **(env or {})}
    )
    server = Served(process)
    try:
        host, _, port = (await server.logged(until))["listen"].rpartition(":")
        server.address = (host.strip("[]"), int(port))
        yield server
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
