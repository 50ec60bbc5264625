"""A layer: what one task staged within a transaction. `transaction` stacks them and folds them into one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from stigmer.store.base import ABSENT, Cascade, Changes, Page, Put, Remove, Require

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence

    from stigmer.store.base import Row, Window

Key: TypeAlias = tuple[str, str]
"""A row's kind and id."""


@dataclass(slots=True)
class Layer:
    """Staged writes of one task, in a form that can be laid over others.

    `removes` maps to the revision expected; None for any; ABSENT takes back a creation staged in a layer below.
    """

    task: asyncio.Task[object] | None = None
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

    def lost_to(self, faster: Layer) -> Key | None:
        """What of this layer does not stand once one that did not see it is laid below; None where all does."""
        changed, mine = faster.puts.keys() | faster.removes.keys(), self.puts.keys() | self.removes.keys()
        over = (changed & mine) | (self.requires.keys() & faster.removes.keys() - faster.puts.keys())
        over |= faster.requires.keys() & self.removes.keys() - self.puts.keys()
        slugs = faster.slugs()
        return next(iter((*over, *(key for name, key in self.slugs().items() if name in slugs))), None)

    def slugs(self) -> dict[tuple[str, str, str], Key]:
        """The slugs of the rows created here."""
        rows = [put.row for put in self.puts.values() if put.expected == ABSENT]
        return {(row.kind, row.slug, row.namespace): (row.kind, row.id) for row in rows if row.slug is not None}

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


def cut(rows: Sequence[Row], window: Window) -> Page:
    """The window of rows that are all at hand."""
    older = [row for row in rows if window.before is None or row.sequence < window.before][window.skip :]
    taken: list[Row] = []
    size = 0
    for row in older[: window.limit]:
        size += len(row.data) + window.overhead_bytes
        if taken and window.budget_bytes is not None and size > window.budget_bytes:
            break
        taken.append(row)
    return Page(taken, more=len(taken) < len(older), total=len(rows))
