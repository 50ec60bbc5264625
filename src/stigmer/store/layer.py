"""What one call staged within a transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from stigmer.store.base import ABSENT, Cascade, Changes, Put, Remove, Require, Window

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stigmer.store.base import Row

Key: TypeAlias = tuple[str, str]
"""A row's kind and id."""


PIECE = Window(1000, budget_bytes=3 * 2**20)
"""How much of the committed rows is looked at in one go."""
LEFT_OUT = bytes(bytearray(8))
"""In place of a committed row's data; known by what it is, not by what is in it."""


@dataclass(slots=True)
class Layer:
    """Staged writes of one call, in a form that can be laid over others.

    `removes` maps to the revision expected; None for any; ABSENT takes back a creation staged in a layer below.
    """

    puts: dict[Key, Put] = field(default_factory=dict)
    removes: dict[Key, int | None] = field(default_factory=dict)
    cascades: list[Cascade] = field(default_factory=list)
    requires: dict[Key, Require] = field(default_factory=dict)
    after_commit: list[Callable[[], None]] = field(default_factory=list)
    undo: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    def lay(self, upper: Layer) -> None:
        """Take in the writes of a layer above this one."""
        for key, expected in upper.removes.items():
            self.remove(key, expected)
        self.puts.update(upper.puts)
        self.cascades.extend(upper.cascades)
        self.requires.update(upper.requires)
        self.after_commit.extend(upper.after_commit)
        self.undo.extend(upper.undo)

    def remove(self, key: Key, expected: int | None) -> None:
        """Take a row out of this layer, and out of those below; nothing here relies on it any more."""
        self.puts.pop(key, None)
        self.requires.pop(key, None)
        if expected == ABSENT:
            self.removes.setdefault(key, ABSENT)
        else:
            self.removes[key] = expected

    def changes(self) -> Changes:
        """What a store has to write."""
        return Changes(
            removes=[Remove(*key, expected) for key, expected in self.removes.items() if expected != ABSENT],
            cascades=self.cascades,
            puts=list(self.puts.values()),
            requires=list(self.requires.values()),
        )


def newest_first(row: Row) -> int:
    """For sorting."""
    return -row.sequence


class Taken:
    """The rows of a window, taken one after another."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._size = 0
        self.rows: list[Row] = []

    def take(self, row: Row) -> bool:
        """Take a row, where the budget has room for it; one always is."""
        budget = self._window.budget_bytes
        self._size += len(row.data) + self._window.overhead_bytes
        if self.rows and budget is not None and self._size > budget:
            return False
        self.rows.append(row)
        return True
