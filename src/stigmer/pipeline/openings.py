"""The sealed resources that were opened last, so that the next read of one only decrypts its values.

`showing` opens through it. What is held is ciphertexts, data keys and keyed hashes, in this process's memory alone; no
value is. What belongs to a resource goes from here when that is changed or deleted.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from stigmer.secrets import fields, template
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stigmer.pipeline.audit.trail import Trail
    from stigmer.pipeline.sealing_keys import SealingKeys
    from stigmer.secrets.sealing import Opening
    from stigmer.secrets.template import Template
    from stigmer.store.changes import Change
    from stigmer.store.rows import Key, Row

HELD_BYTES = 16 * 2**20
"""How much is held, by the length of rows and records."""
OVERHEAD_BYTES = 2_000
"""What one of them costs beside that."""


class _Held:
    """A resource that was opened: its row and record as they were then, and what opens them again."""

    __slots__ = ("hashes", "opening", "record", "row", "template")

    def __init__(self, row: Row, record: bytes, opening: Opening, hashes: Mapping[str, str]) -> None:
        self.row, self.record, self.opening, self.hashes = row, record, opening, hashes
        self.template: Template | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.row.data) + len(self.record) + OVERHEAD_BYTES

    def is_of(self, row: Row, record: bytes) -> bool:
        """Whether it is what that row and record are opened to."""
        same_row = self.row is row or (self.row.data == row.data and self.row.owner == row.owner)
        return same_row and self.record == record


class Openings:
    """Opens sealed resources.

    Args:
        sealing: the keys of the database, and its store.
        trail: hashes the values.
    """

    def __init__(self, sealing: SealingKeys, trail: Trail) -> None:
        self._sealing, self._trail = sealing, trail
        self._held: OrderedDict[Key, _Held] = OrderedDict()
        self._bytes = 0
        sealing.store.feed.listen(self._note)

    def __repr__(self) -> str:
        return f"<Openings of {len(self._held)} resources, {self._bytes} bytes>"

    async def whole(self, row: Row, record: bytes) -> tuple[bytes, Mapping[str, str]]:
        """A resource with its secret values, and their keyed hashes.

        Args:
            row: of the resource.
            record: what is sealed beside it.

        Raises:
            DataLoss: the record does not open in that row.
            Unavailable: the key service does not answer.
        """
        key = row.kind, row.id
        held = self._held.get(key)
        if held is not None and held.is_of(row, record):
            self._held.move_to_end(key)
            return self._again(held), held.hashes
        wire = self._sealing.kinds[row.kind].wire_of(row)
        opening = await self._sealing.sealer.opening(self._sealing.binding(row, wire), record)
        values = opening.values()
        fields.put(wire, values)
        hashes = await self._trail.hashes(values)
        self._hold(key, _Held(row, record, opening, hashes))
        return codec.serialized(wire), hashes

    def _again(self, held: _Held) -> bytes:
        values = held.opening.values()
        if held.template is not None:
            return held.template.filled(values)
        wire_of = self._sealing.kinds[held.row.kind].wire_of
        wire = wire_of(held.row)
        fields.put(wire, values)
        whole = codec.serialized(wire)
        held.template = template.made(wire_of(held.row), values, whole)
        return whole

    def _hold(self, key: Key, held: _Held) -> None:
        self._drop(key)
        self._held[key] = held
        self._bytes += held.size_bytes
        while self._bytes > HELD_BYTES:
            self._drop(next(iter(self._held)))

    def _drop(self, key: Key) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._bytes -= held.size_bytes

    def _note(self, change: Change) -> None:
        self._drop((change.kind, change.id))
