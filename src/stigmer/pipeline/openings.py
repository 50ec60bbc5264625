"""The sealed records that were opened last, proven and with their data keys: the next read only decrypts their values.

`showing` opens through it. What is held is ciphertexts, data keys and keyed hashes, in this process's memory alone; no
value is. What belongs to a resource goes from here when that is changed or deleted.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stigmer.pipeline.audit.trail import Trail
    from stigmer.secrets.fields import Place
    from stigmer.secrets.sealing import Binding, Opening, Sealer
    from stigmer.store.changes import Change
    from stigmer.store.feed import ChangeFeed
    from stigmer.store.rows import Key

HELD_BYTES = 16 * 2**20
"""How much is held, by the records' own length."""
OVERHEAD_BYTES = 2_000
"""What one of them costs beside that."""


class Opened(NamedTuple):
    """A record that was opened.

    Attributes:
        binding: what it is bound to.
        record: itself.
        opening: decrypts its values.
        hashes: their keyed hashes, by where they stand, in words.
    """

    binding: Binding
    record: bytes
    opening: Opening
    hashes: Mapping[str, str]


class Openings:
    """Opens records.

    Args:
        sealer: opens those that are not held.
        trail: hashes the values.
        feed: tells of resources that change or go.
    """

    def __init__(self, sealer: Sealer, trail: Trail, feed: ChangeFeed) -> None:
        self._sealer, self._trail = sealer, trail
        self._held: OrderedDict[Key, Opened] = OrderedDict()
        self._bytes = 0
        feed.listen(self._note)

    def __repr__(self) -> str:
        return f"<Openings of {len(self._held)} records, {self._bytes} bytes>"

    async def values(self, binding: Binding, record: bytes) -> tuple[dict[Place, bytes], Mapping[str, str]]:
        """The values of a record, and their keyed hashes.

        Raises:
            DataLoss: it does not open under that binding.
            Unavailable: the key service does not answer.
        """
        key = binding.kind, binding.id
        held = self._held.get(key)
        if held is not None and held.record == record and held.binding == binding:
            self._held.move_to_end(key)
            return held.opening.values(), held.hashes
        opening = await self._sealer.opening(binding, record)
        values = opening.values()
        hashes = await self._trail.hashes(values)
        self._hold(key, Opened(binding, record, opening, hashes))
        return values, hashes

    def _hold(self, key: Key, opened: Opened) -> None:
        self._drop(key)
        self._held[key] = opened
        self._bytes += _size_of(opened)
        while self._bytes > HELD_BYTES:
            self._drop(next(iter(self._held)))

    def _drop(self, key: Key) -> None:
        opened = self._held.pop(key, None)
        if opened is not None:
            self._bytes -= _size_of(opened)

    def _note(self, change: Change) -> None:
        self._drop((change.kind, change.id))


def _size_of(opened: Opened) -> int:
    return len(opened.record) + OVERHEAD_BYTES
