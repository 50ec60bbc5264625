"""The audit of a plane, as tests look at it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stigmer.secrets.audit import LOG, Event

if TYPE_CHECKING:
    from stigmer.store.contract import Store


async def events(store: Store, after: int = 0) -> list[Event]:
    """The records after that number, each read as it is stored."""
    return [Event.of(entry.value) for entry in await store.log(LOG, after)]


async def count(store: Store) -> int:
    """The number of the last record."""
    last = await store.last_entry(LOG)
    return last.number if last is not None else 0


async def lines(store: Store) -> list[dict[str, Any]]:
    return [json.loads(entry.value) for entry in await store.log(LOG)]
