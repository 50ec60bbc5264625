"""Secret values of resources on their way into the store: taken out of the rows, and sealed in records beside them.

`context` alone uses it; `showing` has the way out. The row of a resource keeps what is no secret, and names, flags and
descriptions of what is; its record in SEALED keeps the values (`secrets.sealing`). Both are of one transaction.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from stigmer.errors import DataLoss, InvalidArgument, Violation
from stigmer.secrets import fields
from stigmer.secrets.audit import named
from stigmer.secrets.fields import MARK, MARKED, Place
from stigmer.secrets.sealing import key_id_of, places_of
from stigmer.store.errors import ConflictError
from stigmer.store.rows import sealed_key
from stigmer.telemetry.logs import get_logger
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from google.protobuf.message import Message

    from stigmer.pipeline.audit.trail import Trail
    from stigmer.pipeline.call import Call
    from stigmer.pipeline.sealing_keys import SealingKeys
    from stigmer.store.rows import Record, Row
    from stigmer.store.transaction import Transaction

_MARKS = frozenset({MARK, MARKED})
_FOREIGN = "enc:v1:"
_FOREIGNS = frozenset({_FOREIGN, _FOREIGN.encode()})
_NOT_KEPT = f"is {MARK}, but no secret value is kept there: send the value itself"
_NOT_TAKEN = "looks like another server's ciphertext (enc:v1:), which opens here for nobody: send the value itself"
_UNFLAGGED = "is kept as a secret, and is_secret is false: send a new value with it, for the secret one is not shown"

log = get_logger("stigmer.pipeline.vault")


def foreign_values(wire: Message) -> list[Violation]:
    """What of a request looks like another server's ciphertext, where the protos say that values stand."""
    found = fields.where(wire, lambda _is_secret, value: value[: len(_FOREIGN)] in _FOREIGNS)
    return [Violation(path, _NOT_TAKEN) for path in found]


def new_value(path: str, value: str) -> list[Violation]:
    """Why a value cannot stand in the place of a kept one, at that path of a request: it is the mark, or foreign."""
    if value == MARK:
        return [Violation(path, f"is {MARK}, which stands for a value that is not shown: send the new value")]
    return [Violation(path, _NOT_TAKEN)] if value.startswith(_FOREIGN) else []


def marks(wire: Message) -> list[Violation]:
    """The marks of a request to create, where nothing is kept yet."""
    found = fields.where(wire, lambda is_secret, value: is_secret and value in _MARKS)
    return [Violation(path, _NOT_KEPT) for path in found]


class Vault:
    """Seals the secret values of resources.

    Args:
        sealing: the keys of the database, and its store.
        trail: told what is sealed.

    Attributes:
        sealing: the same.
    """

    def __init__(self, sealing: SealingKeys, trail: Trail) -> None:
        self.sealing, self._trail = sealing, trail

    def __repr__(self) -> str:
        return f"<Vault under {self.sealing!r}>"

    async def put(  # noqa: PLR0913 - what is saved, and in which call
        self, call: Call, tx: Transaction, row: Row, wire: Message, over: Row | None, *, keeps: bool
    ) -> tuple[Row, bool]:
        """Stage the record of a resource's secret values; gives the row without them, to be staged beside it.

        Args:
            call: saves it.
            tx: its transaction.
            row: as the resource came.
            wire: the same as the C runtime has it; it is not changed.
            over: the row that it replaces; None for a new one.
            keeps: whether values stay that the resource does not have, as for a report on an execution.

        Returns:
            the row, and whether it is sealed and the resource had all of its values.

        Raises:
            InvalidArgument: a mark where no value is kept, or a kept one that is to be shown from now on.
            DataLoss: what is to be kept does not open.
        """
        was_sealed = over is not None and over.sealed
        if fields.is_bare(wire):
            if not was_sealed:
                return row, False
            if keeps:
                return replace(row, sealed=True), False
        wire = _copied(wire)
        values, dropped = fields.take(wire)
        if dropped:
            log.info("Unknown fields within secret values were dropped", kind=row.kind, id=row.id, fields=dropped)
        before = await self.record(tx, over) if over is not None and was_sealed else None
        places = _places(over, before) if over is not None and before is not None else frozenset[Place]()
        kept = _kept(wire, values, places, keeps=keeps)
        new = {place: value for place, value in values.items() if place not in kept}
        _assert_bare(row, wire)
        row = replace(row, data=codec.serialized(wire), sealed=bool(new or kept))
        if new or kept != places:
            await self._stage(tx, row, wire, before, new, kept)
        hashes = {**named(kept), **await self._trail.hashes(new)}
        self._trail.wrote(call, tx, row, hashes, is_new=over is None)
        return row, bool(new) and not kept and not dropped

    async def record(self, tx: Transaction, row: Row) -> Record:
        """The record that belongs to a row, both of one commit.

        Raises:
            DataLoss: there is none.
            ConflictError: the row was changed meanwhile.
        """
        record = await tx.record(*sealed_key(row.kind, row.id))
        again = await tx.get(row.kind, row.id)
        if again is None or again.revision != row.revision:
            raise ConflictError((row.kind, row.id))
        if record is None:
            raise DataLoss(row.kind, row.id)
        return record

    async def _stage(  # noqa: PLR0913, PLR0917 - what is saved, in each form that it has by now
        self,
        tx: Transaction,
        row: Row,
        wire: Message,
        before: Record | None,
        new: Mapping[Place, bytes],
        kept: Collection[Place],
    ) -> None:
        """Stage the record that a row has from now on, if any."""
        key, expected = sealed_key(row.kind, row.id), before.revision if before is not None else None
        if not row.sealed:
            tx.remove_record(*key, expected)
            return
        value, binding = before.value if before is not None else None, self.sealing.binding(row, wire)
        record = await self.sealing.sealer.seal(binding, new, value, kept)
        tx.put_record(*key, record, expected)
        await self.sealing.require(tx, key_id_of(record))


def _kept(wire: Message, values: Mapping[Place, bytes], places: Collection[Place], *, keeps: bool) -> frozenset[Place]:
    """The places whose values stay: those with the mark; with `keeps` also those that have nothing.

    Raises:
        InvalidArgument: as of `Vault.put`.
    """
    if not places and MARKED not in values.values():
        return frozenset()
    violations: list[Violation] = []
    kept: set[Place] = set()
    for entry in fields.entries(wire):
        value = values.get(entry.place)
        if not entry.is_secret:
            if entry.place in places and entry.read() in {b"", MARKED}:
                violations.append(Violation(entry.path, _UNFLAGGED))
        elif value == MARKED and entry.place not in places:
            violations.append(Violation(entry.path, _NOT_KEPT))
        elif value == MARKED or (keeps and value is None and entry.place in places):
            kept.add(entry.place)
    if violations:
        raise InvalidArgument(*violations)
    return frozenset(kept)


def _places(row: Row, record: Record) -> frozenset[Place]:
    try:
        return places_of(record.value)
    except ValueError:
        raise DataLoss(row.kind, row.id) from None


def _copied(wire: Message) -> Message:
    copy = type(wire)()
    copy.CopyFrom(wire)
    return copy


def _assert_bare(row: Row, wire: Message) -> None:
    """No row with a secret value in it goes into the store; `fields.put` sees that none comes out of it."""
    if fields.secret_values(wire):
        log.error("A row holds a secret value", kind=row.kind, id=row.id)
        raise DataLoss(row.kind, row.id)
