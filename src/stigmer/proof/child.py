"""`stigmer serve` in a process of its own, all of whose log is kept."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

_SERVES = "stigmer serves"


class Child:
    """A server's process.

    Attributes:
        address: where it listens; empty where it does not come so far.
        log: all that it has logged so far.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._listens = asyncio.Event()
        self._reading = asyncio.create_task(self._read())
        self.address = ""
        self.log = b""

    def __repr__(self) -> str:
        return f"<Child at {self.address or 'no address'}, {len(self.log)} bytes of log>"

    async def started(self) -> None:
        """Wait until it listens, or has ended."""
        await self._listens.wait()

    async def ended(self) -> int:
        """Wait for its end; its status."""
        await self._reading
        return await self._process.wait()

    def kill(self) -> None:
        """Kill it at once."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self) -> int:
        """Have it end as a signal does; its status."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        return await self.ended()

    async def _read(self) -> None:
        stderr = self._process.stderr
        while stderr is not None and (line := await stderr.readline()):
            self.log += line
            if not self.address and _SERVES.encode() in line:
                self.address = str(json.loads(line)["listen"])
                self._listens.set()
        self._listens.set()


@asynccontextmanager
async def child(data: Path, tokens: Path) -> AsyncGenerator[Child]:
    """A server on a data directory, at the most talkative log level, once it listens; killed at the end."""
    flags = ("--listen", "127.0.0.1:0", "--log-level", "debug", "--log-format", "json")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stigmer", "serve", "--data-dir", str(data), "--tokens-file", str(tokens), *flags),
        stderr=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    server = Child(process)
    try:
        await server.started()
        yield server
    finally:
        server.kill()
        await server.ended()
