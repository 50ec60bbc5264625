"""Data to measure on, written through the store rather than by calls: 100,000 rows take seconds so."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks import messages
from stigmer.access.principal import organization
from stigmer.handlers import HANDLERS
from stigmer.pipeline.first_sealing import DONE, KEY, TABLE
from stigmer.pipeline.ids import IdSource
from stigmer.store.changes import Changes, Put
from stigmer.store.rows import ABSENT
from stigmer.store.sqlite import SqliteStore
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stigmer.pipeline.kind import Kind
    from stigmer.store.rows import Row

ROWS_A_COMMIT = 1000


def slug(number: int) -> str:
    """The slug of the context of that number."""
    return f"filled-{number:06}"


def organization_of(number: int) -> str:
    """The organization of that number."""
    return f"org-{number:02}"


def fill(directory: Path, *, contexts: int, sessions: int = 0, organizations: int = 0) -> list[str]:
    """Write contexts and sessions to a new database, in turn to so many organizations; the ids of the contexts."""
    return asyncio.run(_fill(directory, contexts, sessions, [*map(organization_of, range(organizations))]))


async def _fill(directory: Path, contexts: int, sessions: int, organizations: list[str]) -> list[str]:
    ids = IdSource()
    filled: list[str] = []
    async with SqliteStore(directory, cache_bytes=0) as store:
        for make, count in ((messages.context, contexts), (messages.session, sessions)):
            rows = list(_rows(ids, make, count, organizations))
            filled += [row.id for row in rows if row.kind == "ExecutionContext"]
            for start in range(0, len(rows), ROWS_A_COMMIT):
                await store.commit(Changes(puts=[Put(row, ABSENT) for row in rows[start : start + ROWS_A_COMMIT]]))
        await store.commit(Changes(records={(TABLE, KEY): DONE}))
    return filled


def _rows(ids: IdSource, make: Callable[[str], Any], count: int, organizations: list[str]) -> Iterator[Row]:
    """Rows that differ in name, slug, id and organization alone."""
    message = make(slug(0))
    kind = _kind(message.kind)
    message.metadata.id, message.metadata.slug = ids.new(kind.meta.id_prefix), slug(0)
    resource: Any = codec.from_wire(message)
    template = kind.row_of(resource, organization(""), created_by="local")
    for number in range(count):
        metadata = message.metadata
        metadata.name = metadata.slug = slug(number)
        metadata.id = ids.new(kind.meta.id_prefix)
        if organizations:
            metadata.org = organizations[number % len(organizations)]
            template = replace(template, namespace=metadata.org, owner=organization(metadata.org))
        yield replace(template, id=metadata.id, slug=metadata.slug, data=message.SerializeToString(deterministic=True))


def _kind(name: str) -> Kind[Any]:
    return next(handler.kind for handler in HANDLERS if handler.kind.name == name)
