"""A Python process beside the tests, with pipes; killed when the test is done with it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator

PATIENCE_S = 100
LINE_BYTES = 1 << 30


class Child:
    """A process that is told, and tells, lines."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def tell(self, line: str = "") -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def line(self) -> str:
        """Its next line; empty at its end."""
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)).decode().strip()

    async def lines(self) -> list[str]:
        """All that it says until it ends; it is told no more."""
        output, _ = await asyncio.wait_for(self.process.communicate(b""), PATIENCE_S)
        return output.decode().splitlines()


@asynccontextmanager
async def child(*arguments: str, **more: Any) -> AsyncGenerator[Child]:
    """`python` with these arguments; `more` goes to `create_subprocess_exec`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=PIPE, stdout=PIPE, limit=LINE_BYTES, **more
    )
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
