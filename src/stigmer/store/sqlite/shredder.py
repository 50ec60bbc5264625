"""Has the write-ahead log cut off soon after what was sealed is gone, so that it stands in no file any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stigmer.store.errors import StoreUnavailableError
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SHRED_S = 0.25
"""How long what was sealed and is gone may stand in the write-ahead log, unless reads keep that from being cut off."""
RETRY_S = 0.05
"""How soon it is tried again then."""

log = get_logger("stigmer.store.sqlite.shredder")


class Shredder:
    """Cuts the log off once for all that goes within SHRED_S.

    Args:
        cut: cuts it off; gives whether it could. Raises StoreUnavailableError.

    Attributes:
        done: of how many commits that took away what was sealed nothing is left.
    """

    def __init__(self, cut: Callable[[], Awaitable[bool]]) -> None:
        self._cut = cut
        self._gone = self.done = 0
        self._waiting: asyncio.Handle | asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Shredder, {self._gone - self.done} to be cut off>"

    def note(self, gone: int) -> None:
        """So many commits, more than are `done`, have taken away what was sealed since the store was opened."""
        self._gone = gone
        if self._waiting is None:
            self._run_in(SHRED_S)

    def stop(self) -> None:
        """Cut nothing off any more."""
        if self._waiting is not None:
            self._waiting.cancel()

    def _run_in(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()

        def run() -> None:
            self._waiting = loop.create_task(self._run())

        self._waiting = loop.call_later(wait_s, run)

    async def _run(self) -> None:
        """Cut it off, and again while something stands there that is to be gone."""
        gone = self._gone
        try:
            is_cut = await self._cut()
        except StoreUnavailableError as error:  # the next commit meets what is wrong, and then it is tried again
            log.warning("The write-ahead log could not be cut off after a deletion of secrets", error=str(error))
            return
        finally:
            self._waiting = None
        self.done = gone if is_cut else self.done
        if self._gone != self.done:
            self._run_in(SHRED_S if is_cut else RETRY_S)
