"""The audit as people and programs read it: its last records, or all of them, one JSON object a line.

`stigmer audit` reads a database's file by it, the admin service a running server's store.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from stigmer.secrets.audit import LOG

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from stigmer.store.rows import LogEntry

PIECE = 500
"""So many records are read at once."""


class Entries(Protocol):
    """Where the audit's log is read: a store, or a database's file."""

    async def log(self, name: str, after: int = 0, limit: int = 1000) -> Sequence[LogEntry]:
        """As of `Store`."""
        ...

    async def last_entry(self, name: str) -> LogEntry | None:
        """As of `Store`."""
        ...


async def pages(source: Entries, after: int = 0) -> AsyncGenerator[Sequence[LogEntry]]:
    """All records whose numbers are greater than `after`, some at a time. Raises DamagedError where a link is wrong."""
    while page := await source.log(LOG, after, PIECE):
        yield page
        after = page[-1].number


async def tail(source: Entries, count: int) -> list[LogEntry]:
    """The last records, at most so many, the oldest first. Raises DamagedError where a link is wrong."""
    last = await source.last_entry(LOG)
    after = max(0, last.number - count) if last is not None else 0
    return [entry async for page in pages(source, after) for entry in page][-count:] if count else []


def line_of(entry: LogEntry) -> str:
    """A record as JSON: its number, its fields, and the link of its entry in hexadecimal digits.

    One that is none, which `verify` tells of, is given as what it holds, in hexadecimal digits.
    """
    try:
        told: dict[str, Any] = {"number": entry.number, "record": json.loads(entry.value)}
    except ValueError:
        told = {"number": entry.number, "damaged": entry.value.hex()}
    return json.dumps({**told, "link": entry.link.hex()}, separators=(",", ":"))
