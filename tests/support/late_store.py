"""A store whose change feed is late, as one is that others write to as well: nothing may rely on it being early."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stigmer.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stigmer.store.changes import Change


class LateStore(MemoryStore):
    """Its feed tells of a commit some time after that was acknowledged, as one does that others write to as well."""

    def _publish(self, changes: Sequence[Change]) -> None:
        asyncio.get_running_loop().call_later(0.001, self._tell, changes)

    def _tell(self, changes: Sequence[Change]) -> None:
        if self._open:
            super()._publish(changes)
