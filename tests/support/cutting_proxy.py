"""A way to a TCP server on which connections are cut, refused or go silent, as a test wants."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class CuttingProxy:
    """Passes bytes on between clients and a server, as long as it is let.

    Attributes:
        target: where the server is; None refuses whoever comes.
        is_mute: keep what the server says to itself.
        accepted: how many connections there have been.
    """

    def __init__(self, target: tuple[str, int] | None) -> None:
        self.target = target
        self.is_mute = False
        self.accepted = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Abort every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self._writers.add(writer)
        self.accepted += 1
        with suppress(OSError):
            if self.target is not None:
                await self._serve(self.target, reader, writer)
        writer.transport.abort()
        self._writers.discard(writer)
        self._tasks.discard(task)

    async def _serve(self, target: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*target)
        self._writers.add(far_writer)
        there = asyncio.create_task(self._pump(reader, far_writer, lambda: False))
        back = asyncio.create_task(self._pump(far_reader, writer, lambda: self.is_mute))
        await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        for task in (there, back):
            task.cancel()
        far_writer.transport.abort()
        self._writers.discard(far_writer)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_dropped: Callable[[], bool]
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if not is_dropped():
                    writer.write(data)
                    await writer.drain()
