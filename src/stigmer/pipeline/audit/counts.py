"""Calls that are counted, not recorded one by one: reads that showed the mark, and calls without good credentials.

They are counted a minute for each caller, or peer, and resource, in memory: what was counted since the last minute is
lost where the process is killed. Neither shows anybody anything.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from stigmer.secrets.audit import LOG, Event, Op
from stigmer.store.changes import Append, Changes

if TYPE_CHECKING:
    from stigmer.store.contract import Store

MOST = 10_000
"""So many callers and resources are told apart, at most; what is beyond that counts together."""
PIECE = 500
"""So many records are written in one transaction."""
MINUTE_MS = 60_000


class Counted(NamedTuple):
    """What is counted together.

    Attributes:
        op: what was done.
        actor: who did it; empty where nobody knows.
        peer: the address, of IPv6 the network; empty where the actor is known.
        kind: of the resource; with `id` empty where it is beyond MOST.
        id: of the resource, where the call named one.
        minute: since 1970.
    """

    op: Op
    actor: str
    peer: str
    kind: str
    id: str
    minute: int


class Counts:
    """Counts calls, until it writes what it has.

    Args:
        store: where the records go.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: Counter[Counted] = Counter()

    def __repr__(self) -> str:
        return f"<Counts of {len(self._counts)} callers and resources>"

    def add(self, op: Op, kind: str, id_: str, *, actor: str = "", peer: str = "") -> None:
        """Count a call."""
        counted = Counted(op, actor, peer, kind, id_, time.time_ns() // 1_000_000 // MINUTE_MS)
        if counted not in self._counts and len(self._counts) >= MOST:
            counted = Counted(op, "", "", kind, "", counted.minute)
        self._counts[counted] += 1

    async def write(self) -> None:
        """Write a record for each count; what cannot be written is kept for the next time. Raises StoreError."""
        while self._counts:
            piece = dict(list(self._counts.items())[:PIECE])
            await self._store.commit(Changes(appends=[Append(LOG, _event(*one).encoded()) for one in piece.items()]))
            self._counts.subtract(piece)
            self._counts = +self._counts


def _event(counted: Counted, count: int) -> Event:
    op, actor, peer, kind, id_, minute = counted
    code = "UNAUTHENTICATED" if op is Op.UNAUTHENTICATED else "OK"
    return Event(op, actor, peer=peer, kind=kind, id=id_, code=code, count=count, at_ms=minute * MINUTE_MS)
