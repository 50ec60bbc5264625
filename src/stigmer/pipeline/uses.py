"""When resources of kinds that expire were used last: noted in the store, but not with each use.

A read is noted only where the last note is older than a part of the time to live, so that few reads become writes; what
expires is given that part in addition, so that nothing does before its time. `context` notes, `context_expiry` ends
what has expired.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stigmer.store.contract import Store
    from stigmer.store.rows import Key
    from stigmer.store.transaction import Transaction

DAY_S = 86_400.0
"""The time to live where nothing else is set."""
PARTS = 24
"""A use is noted at most once in that part of the time to live."""
REMEMBERED = 65_536
"""Of how many resources it is remembered when they were noted; the next read of another one is noted again."""


class Uses:
    """Notes uses in the store.

    Args:
        store: its clock counts.
        ttl_s: how long a resource lives after its last use, at the least.
    """

    def __init__(self, store: Store, ttl_s: float = DAY_S) -> None:
        self._store = store
        self._ttl_ms = round(ttl_s * 1000)
        self._part_ms = self._ttl_ms // PARTS
        self._noted: OrderedDict[Key, int] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Uses, {self._ttl_ms} ms to live, {len(self._noted)} remembered>"

    async def note(self, tx: Transaction, kind: str, id_: str, *, always: bool = False) -> None:
        """Stage the note that a resource is used now, where that is due; with `always` in any case.

        The resource must be there at commit: who reads one that ends just then is told that it is gone.
        """
        now_ms, key = await self._store.now_ms(), (kind, id_)
        if always or now_ms - self._noted.get(key, 0) >= self._part_ms:
            tx.use(kind, id_, now_ms)
            tx.require(kind, id_)
            tx.after_commit(partial(self._remember, key, now_ms))

    async def expired_ms(self) -> int:
        """What was used then for the last time, or before, has expired by now."""
        return await self._store.now_ms() - self._ttl_ms - self._part_ms

    def _remember(self, key: Key, now_ms: int) -> None:
        self._noted[key] = now_ms
        self._noted.move_to_end(key)
        if len(self._noted) > REMEMBERED:
            self._noted.popitem(last=False)
