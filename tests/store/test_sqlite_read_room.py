"""Reads for a client that reads no replies: they wait, and what they hold is counted as soon as it is there.

96 reads of rows of 9 MB, begun by six connections before the first reply was known to be large, held 1.1 GB.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from store_rows import row

from stigmer.errors import ResourceExhausted
from stigmer.store.changes import Changes, Put
from stigmer.store.rows import ABSENT, Query, Window
from stigmer.store.sqlite import SqliteStore, readers
from stigmer.telemetry.current import CURRENT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@dataclass
class Room:
    """Room for some bytes; a read that waits gets more, or is refused."""

    bytes: int
    more: asyncio.Event = field(default_factory=asyncio.Event)
    refuses: bool = False
    waiting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    @property
    def may_read(self) -> bool:
        return self.bytes > 0

    def read(self, size: int) -> None:
        self.bytes -= size

    async def start(self) -> None:
        self.waiting.release()
        await self.more.wait()
        if self.refuses:
            raise ResourceExhausted("full")
        self.bytes = 1


def of_a_call(room: Room) -> None:
    """What the running task reads is for a client with such room."""
    call: Any = SimpleNamespace(peer="client", room=room, request_id="", attempt=1)
    call.outermost = call
    CURRENT.set(call)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    async with SqliteStore(tmp_path, cache_bytes=0) as store:
        rows = [row(f"thing-{number}", data=b"d" * 1000) for number in range(20)]
        await store.commit(Changes(puts=[Put(one, ABSENT) for one in rows]))
        yield store


async def test_reads_wait_once_what_was_read_fills_the_room(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BATCH_S", 0.0)  # each read is a hop of its own, as one of a large row is
    room = Room(2500)
    of_a_call(room)
    reads = [asyncio.create_task(store.get("Thing", f"thing-{number}")) for number in range(20)]

    await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
    for _ in range(17):
        await room.waiting.acquire()
    assert sum(read.done() for read in reads) == 3
    assert room.bytes == 2500 - 3000

    room.more.set()
    found = await asyncio.gather(*reads)
    assert {one.id for one in found if one is not None} == {f"thing-{number}" for number in range(20)}


async def test_all_rows_of_a_page_count(store: SqliteStore) -> None:
    room = Room(100_000)
    of_a_call(room)

    page = await store.page(Query("Thing"), Window(limit=7))

    assert room.bytes == 100_000 - sum(len(one.data) for one in page.rows) == 93_000


async def test_a_read_for_which_there_is_never_room_is_refused(store: SqliteStore) -> None:
    room = Room(0, refuses=True)
    room.more.set()
    of_a_call(room)

    with pytest.raises(ResourceExhausted):
        await store.get("Thing", "thing-1")


async def test_another_clients_reads_do_not_wait(store: SqliteStore) -> None:
    of_a_call(Room(0))
    waiting = asyncio.create_task(store.get("Thing", "thing-1"))
    await asyncio.sleep(0)
    of_a_call(Room(10_000))

    assert await store.get("Thing", "thing-2") is not None
    assert not waiting.done()
    waiting.cancel()
