"""Rows with sealed values on their way out: with the values for who may see them, with the mark for all others.

`context` alone uses it; this is the one place where a secret value leaves the store. What is sealed on its way in is
the `vault`'s.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from stigmer.pipeline.openings import Openings
from stigmer.secrets import fields
from stigmer.secrets.fields import MARKED
from stigmer.secrets.sealing import places_of
from stigmer.store.rows import sealed_key
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from stigmer.pipeline.audit.trail import Trail
    from stigmer.pipeline.call import Call
    from stigmer.pipeline.kind import Kind
    from stigmer.pipeline.vault import Vault
    from stigmer.secrets.fields import Place
    from stigmer.store.rows import Row
    from stigmer.store.transaction import Transaction

SECRETS = "x-secrets"
"""The metadata, of whatever value, by which a caller asks for marks in place of the secrets that it may see."""
SHOWN_TO = frozenset({"runner", "admin"})
"""The roles that are shown secret values."""
MARKED_BYTES = 32 * 2**20
"""How much is remembered of rows with marks in them, so that the followers of one share its bytes."""


class Showing:
    """Shows sealed rows.

    Args:
        vault: has their values.
        trail: told what is shown, and to whom.
    """

    def __init__(self, vault: Vault, trail: Trail) -> None:
        self._vault, self._sealing, self._trail = vault, vault.sealing, trail
        self._openings = Openings(vault.sealing, trail)
        self._marked: OrderedDict[int, bytes] = OrderedDict()  # by the row's revision
        self._marked_bytes = 0

    def __repr__(self) -> str:
        return f"<Showing of {self._vault!r}>"

    async def shown(self, call: Call, tx: Transaction, row: Row, known: bytes | None = None) -> bytes:
        """The resource of a sealed row, as the call's caller is answered it.

        Args:
            call: asks for it.
            tx: its transaction.
            row: one that is sealed.
            known: the resource with all of its values, where the call itself has just written it.

        Raises:
            DataLoss, ConflictError: as `opened`.
        """
        if not may_be_shown(call):
            tx.after_commit(partial(self._trail.redacted, call, row))  # a run that is lost shows nobody anything
            return await self.marked(tx, row)
        if known is None:
            return await self.opened(call, tx, row, is_shown=True)
        self._trail.opened(call, tx, row, {}, is_shown=True)  # that it was written has the hashes
        return known

    async def opened(self, call: Call, tx: Transaction, row: Row, *, is_shown: bool = False) -> bytes:
        """The resource of a sealed row, with its secret values: to be shown, or for the server's own work.

        Raises:
            DataLoss: they do not open.
            ConflictError: the row was changed meanwhile.
        """
        record = await self._vault.record(tx, row)
        data, hashes = await self._openings.whole(row, record.value)
        self._trail.opened(call, tx, row, hashes, is_shown=is_shown)
        return data

    async def marked(self, tx: Transaction, row: Row) -> bytes:
        """The resource of a sealed row, with the mark in place of each secret value."""
        kind = self._kind_of(row)
        is_staged, value = tx.staged.record(sealed_key(row.kind, row.id))
        if is_staged or tx.staged.row((row.kind, row.id))[0]:  # its revision is not its own yet
            record = value if is_staged else await self._value(row)
            return _with_marks(kind, row, record)
        known = self._marked.get(row.revision)
        if known is None:
            known = _with_marks(kind, row, await self._value(row))
            self._keep(row.revision, known)
        return known

    def _kind_of(self, row: Row) -> Kind[Any]:
        return self._sealing.kinds[row.kind]

    async def _value(self, row: Row) -> bytes | None:
        """What the record of a row holds just now."""
        record = await self._sealing.store.record(*sealed_key(row.kind, row.id))
        return record.value if record is not None else None

    def _keep(self, revision: int, data: bytes) -> None:
        if len(data) > MARKED_BYTES:
            return
        if revision not in self._marked:
            self._marked[revision] = data
            self._marked_bytes += len(data)
        while self._marked_bytes > MARKED_BYTES:
            _, oldest = self._marked.popitem(last=False)
            self._marked_bytes -= len(oldest)


def may_be_shown(call: Call) -> bool:
    """Whether the call's caller is shown secret values.

    No stream shows them, and no dry run. What that asks of other kinds is for its own work.
    """
    if call.method.server_streaming or (call.dry_run and not (call.parent and call.parent.dry_run)):
        return False
    return call.principal.role in SHOWN_TO and SECRETS not in call.metadata


def _with_marks(kind: Kind[Any], row: Row, record: bytes | None) -> bytes:
    """The row's resource with the mark where values are sealed, as far as it has such places.

    A record that is gone meanwhile, or is damaged, hides as much as there can be: nothing is opened here.
    """
    places: Collection[Place] | None
    try:
        places = places_of(record) if record is not None else None
    except ValueError:
        places = None
    if places is not None and all(_is_single(place) for place in places):
        return row.data + _overlay(kind, places)
    wire = kind.wire_of(row)
    for entry in fields.entries(wire):
        if entry.is_secret and not entry.read() and (places is None or entry.place in places):
            entry.write(MARKED)
    return codec.serialized(wire)


def _is_single(place: Place) -> bool:
    """Whether it is the place of a callback_token, in a message that stands alone."""
    return not place.key and "[" not in place.path and place.path.endswith("callback_token")


def _overlay(kind: Kind[Any], places: Iterable[Place]) -> bytes:
    """A resource with nothing but marks: behind the bytes of another one it adds them, and a transcript is not read."""
    wire = codec.parse(kind.generated, b"")
    for place in places:
        parents, _, name = place.path.rpartition(".")
        setattr(attrgetter(parents)(wire) if parents else wire, name, MARKED)
    return codec.serialized(wire)
