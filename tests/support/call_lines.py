"""The log lines of calls, as they come."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

CHECK = "/grpc.health.v1.Health/Check"


class Calls(logging.Handler):
    """The log lines of calls, in a queue."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        line: Any = record.msg
        if line["method"] != CHECK:
            self.queue.put_nowait(line)

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.queue.get(), 60)


@contextmanager
def listener() -> Generator[Calls]:
    calls, log = Calls(), logging.getLogger("stigmer.call")
    before = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(calls)
    yield calls
    log.removeHandler(calls)
    log.setLevel(before)
