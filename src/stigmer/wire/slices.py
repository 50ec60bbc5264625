"""Long work on the event loop, done in slices, so that no request holds up the others.

The C runtime and the rules engine keep Python's one lock while they work, so a thread would not help. Work is given as
an iterator that gives None at each point where it could be left for a moment.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SLICE_S = 0.0005
"""How long work goes on before the event loop has its turn."""

T = TypeVar("T")


class Slices:
    """Runs the long work of all calls of a control plane, one after another: a turn of the loop sees one slice."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Slices, {'busy' if self._turn.locked() else 'idle'}>"

    async def run(self, work: Iterable[T | None]) -> list[T]:
        """What the work gives, without the None; work that is done within one slice waits for nobody.

        Raises:
            Exception: whatever the work raises.
        """
        steps = iter(work)
        found: list[T] = []
        if not _go_on(steps, found):
            async with self._turn:
                done = False
                while not done:
                    await asyncio.sleep(0)
                    done = _go_on(steps, found)
        return found


def _go_on(steps: Iterator[T | None], found: list[T]) -> bool:
    """Work for a slice; whether nothing is left."""
    end = time.perf_counter() + SLICE_S
    for one in steps:
        if one is not None:
            found.append(one)
        elif time.perf_counter() > end:
            return False
    return True


def at_once(work: Iterable[T | None]) -> list[T]:
    """What the work gives, all in one go: where it is known to be short, or there is no loop to hold up."""
    return [one for one in work if one is not None]
