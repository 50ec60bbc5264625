"""The call that the running task works on, as far as those below `pipeline.call` know it: log lines and the store."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol


class Room(Protocol):
    """What a call asks before it reads rows for a reply, so that no client has the server hold too much."""

    @property
    def may_read(self) -> bool:
        """Whether it may now."""
        ...

    def read(self, size: int) -> None:
        """It has read so many bytes."""
        ...

    async def start(self) -> None:
        """Wait until it may; raises ResourceExhausted where it might not for too long."""
        ...


class Named(Protocol):
    """What a call's log lines bear, and whose call it is."""

    request_id: str
    attempt: int
    peer: str
    room: Room | None

    @property
    def outermost(self) -> Named:
        """The call that caused it, directly or not; itself, where none did."""
        ...


CURRENT: ContextVar[Named | None] = ContextVar("stigmer_call", default=None)
"""The call that the running task works on; see `pipeline.call`."""
