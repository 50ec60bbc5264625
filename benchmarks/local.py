"""What is measured without a wire: the loopback, and the floors of SQLite and of the C runtime's codec.

Beside them the loopback's counterpart, the same generated stub on a grpclib channel. Run in a process of their own.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import time
from contextlib import closing
from itertools import count
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import messages
from benchmarks.load import WARM_UP_S, Sample
from stigmer import rpc
from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import (
    ExecutionContext,
    ExecutionContextCommandControllerStub,
    ExecutionContextId,
    ExecutionContextQueryControllerStub,
)
from stigmer.app import assembly
from stigmer.store.sqlite import CACHE_BYTES, SqliteStore
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from benchmarks.servers import Running

SCHEMA = "CREATE TABLE IF NOT EXISTS rows (sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, data BLOB NOT NULL)"


def loopback(directory: Path, operation: str, seconds: float) -> Sample:
    """`get` (of one row, cached), `get uncached` or `create`, by one caller."""
    return asyncio.run(_loopback(directory, operation, seconds))


async def _loopback(directory: Path, operation: str, seconds: float) -> Sample:
    async with SqliteStore(directory, cache_bytes=0 if operation == "get uncached" else CACHE_BYTES) as store:
        channel: Any = assembly.assemble(store).loopback
        create = _creating(channel)
        if operation == "create":
            return await repeat(create, seconds)
        return await repeat(getting(channel, (await create()).metadata.id), seconds)


def stub(server: Running, operation: str, seconds: float) -> Sample:
    """`get` or `create` over TCP by the same generated stub on a grpclib channel, by one caller."""
    return asyncio.run(_stub(server, operation, seconds))


async def _stub(server: Running, operation: str, seconds: float) -> Sample:
    async with rpc.channel(f"127.0.0.1:{server.address[1]}") as channel:
        create = _creating(channel)
        if operation == "create":
            return await repeat(create, seconds)
        return await repeat(getting(channel, (await create()).metadata.id), seconds)


def _creating(channel: Any) -> Callable[[], Awaitable[Any]]:
    """Creates, each with a name of its own."""
    commands: Any = ExecutionContextCommandControllerStub(channel)
    names = (f"b{secrets.token_hex(4)}-{number:08}" for number in count())
    request: Any = codec.from_wire(messages.context(next(names)))

    def create() -> Awaitable[Any]:
        request.metadata.name = next(names)
        return commands.create(request)  # type: ignore[no-any-return]  # a generated stub

    return create


def getting(channel: Any, id_: str) -> Callable[[], Awaitable[Any]]:
    """Gets of one context by a stub on the channel."""
    queries: Any = ExecutionContextQueryControllerStub(channel)
    return lambda: queries.get(ExecutionContextId(value=id_))


async def repeat(work: Callable[[], Awaitable[Any]], seconds: float) -> Sample:
    """The work again and again, by one caller."""
    end = time.perf_counter() + min(WARM_UP_S, seconds)
    while time.perf_counter() < end:
        await work()
    took: list[float] = []
    first = now = time.perf_counter()
    while now < first + seconds:
        await work()
        took.append(-now + (now := time.perf_counter()))
    return Sample(len(took) / (now - first), median(took) * 1000)


def commits(directory: Path, rows: int, seconds: float) -> Sample:
    """Rows of a context's size into a plain table, so many a commit: WAL, synchronous=FULL."""
    data = messages.context("x" * 20).SerializeToString()
    with closing(_opened(directory)) as connection:
        number = connection.execute("SELECT coalesce(max(sequence), 0) FROM rows").fetchone()[0]
        written, first = 0, time.perf_counter()
        while not written or time.perf_counter() < first + seconds:
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(rows):
                number += 1
                connection.execute("INSERT INTO rows (id, data) VALUES (?, ?)", (f"exec-{number:026}", data))
            connection.execute("COMMIT")
            written += rows
        elapsed = time.perf_counter() - first
        connection.execute("DELETE FROM rows")
    return Sample(written / elapsed, elapsed / written * 1000)


def _opened(directory: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(directory / "floor.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(SCHEMA)
    return connection


def conversions(seconds: float) -> dict[str, Sample]:
    """One message to and from bytes: by the C runtime alone, and by the bridge, in turns."""
    data = _stored()
    wire = messages.parsed(messages.CONTEXT, data)
    message = codec.decode(ExecutionContext, data)
    works: dict[str, Callable[[], object]] = {
        "floor decode": lambda: messages.parsed(messages.CONTEXT, data),
        "decode": lambda: codec.decode(ExecutionContext, data),
        "floor encode": lambda: wire.SerializeToString(deterministic=True),
        "encode": lambda: codec.encode(message),
    }
    return {name: _spin(work, seconds) for name, work in works.items()}


def _stored() -> bytes:
    """A context as the store keeps it."""
    message = messages.context("x" * 20)
    message.metadata.id = "exec-01jd0000000000000000000000"
    message.metadata.slug = message.metadata.name
    message.metadata.version.id = "ver-01jd0000000000000000000000"
    for audit in (message.status.audit.spec_audit, message.status.audit.status_audit):
        audit.created_by.id = audit.updated_by.id = "local"
        audit.created_at.GetCurrentTime()
        audit.updated_at.GetCurrentTime()
        audit.event = "created"
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _spin(work: Callable[[], object], seconds: float) -> Sample:
    work()
    done, first = 0, time.perf_counter()
    while not done or time.perf_counter() < first + seconds:
        for _ in range(50):
            work()
        done += 50
    elapsed = time.perf_counter() - first
    return Sample(done / elapsed, elapsed / done * 1000)
