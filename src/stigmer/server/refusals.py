"""Calls that are answered without a handler: with a status alone, at once, or after a while where somebody tries keys.

`dispatch` has one of these for each connection.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from stigmer.errors import Cancelled
from stigmer.server.headers import note, reply_fields, status_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.server.connection import Connection
    from stigmer.server.headers import Refusal


class Refusals:
    """The refusals of one connection: those that are held back keep their stream open, and hold no more than a timer.

    Args:
        connection: whose.
        refused: told of each: its code, its path, and the peer's address.

    Attributes:
        hold_back: whether any are; not once the server stops.
    """

    def __init__(self, connection: Connection, refused: Callable[[str, str, str], None]) -> None:
        self._connection, self._refused = connection, refused
        self._loop = asyncio.get_running_loop()
        self.hold_back = True
        self._held_back: dict[int, tuple[asyncio.TimerHandle, Refusal]] = {}

    def __len__(self) -> int:
        return len(self._held_back)

    @property
    def take_half(self) -> bool:
        """Whether those held back have half of the connection's streams: the rest is for callers who are known."""
        return 2 * len(self) > self._connection.limits.max_streams

    def __repr__(self) -> str:
        return f"<Refusals, {len(self)} held back>"

    def refuse(self, number: int, path: str, refusal: Refusal, delay_s: float = 0.0) -> None:
        """Note the refusal of a call, and answer with it, now or in `delay_s`."""
        note(path, refusal, self._connection.peer)
        self._refused(refusal.status.name, path, self._connection.client.address)
        if delay_s and self.hold_back:
            self._held_back[number] = self._loop.call_later(delay_s, self._late, number), refusal
        else:
            self._answer(number, refusal)

    def reset(self, number: int) -> None:
        """The client gave a call up."""
        if number in self._held_back:
            timer, _ = self._held_back.pop(number)
            timer.cancel()
            self._connection.forget(number)

    def answer_all(self) -> None:
        """Hold none back any longer."""
        for number, (timer, refusal) in self._taken():
            timer.cancel()
            self._answer(number, refusal)

    def clear(self) -> None:
        """Nobody waits for an answer any more."""
        for _, (timer, _) in self._taken():
            timer.cancel()

    def _taken(self) -> list[tuple[int, tuple[asyncio.TimerHandle, Refusal]]]:
        taken = list(self._held_back.items())
        self._held_back.clear()
        return taken

    def _late(self, number: int) -> None:
        _, refusal = self._held_back.pop(number)
        self._answer(number, refusal)

    def _answer(self, number: int, refusal: Refusal) -> None:
        """Send a status alone; one who does not read answers is told no more than that the call is over."""
        connection = self._connection
        if not connection.write_ready.is_set():
            connection.refuse(number)
            return
        fields = status_fields(refusal.status, refusal.message, refusal.details)
        with suppress(Cancelled):
            connection.send_headers(
                number, [*reply_fields(http=refusal.http, more=refusal.more), *fields], end_stream=True
            )
        connection.forget(number)
