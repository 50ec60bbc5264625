"""The audit's records of calls: what was written, shown, and denied.

`vault` and `showing` tell of what goes in and comes out, in the call's own transaction: where its record cannot be
written, nothing is shown. `edge` tells of calls that were denied.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from stigmer.access.peers import UNIX, network_of
from stigmer.access.principal import organization_of
from stigmer.errors import Code
from stigmer.pipeline.audit.counts import Counts
from stigmer.pipeline.audit.keys import AuditKeys
from stigmer.secrets.audit import LOG, Event, Op, hashed
from stigmer.store.changes import Append, Changes
from stigmer.store.errors import StoreError
from stigmer.telemetry.logs import get_logger
from stigmer.wire.descriptors import methods

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stigmer.pipeline.call import Call
    from stigmer.pipeline.sealing_keys import SealingKeys
    from stigmer.secrets.fields import Place
    from stigmer.store.rows import Row
    from stigmer.store.transaction import Transaction
    from stigmer.wire.descriptors import Method

KEYS = "Key"
"""In place of a kind, where a call is about the keys themselves."""
_ADMIN = "ai.stigmer.admin."
DENIED_S = 5.0
"""How long a denied caller waits for its record."""
_NO_KEYS: Mapping[str, str] = MappingProxyType({})

log = get_logger("stigmer.pipeline.audit")


class Trail:
    """Makes the records.

    Args:
        sealing: the keys of the database, and its store.

    Attributes:
        store: the same one.
        keys: what values are hashed with.
        counts: counts what has no record of its own.
    """

    def __init__(self, sealing: SealingKeys) -> None:
        self.store, self._kinds = sealing.store, sealing.kinds
        self.keys, self.counts = AuditKeys(sealing), Counts(sealing.store)

    def __repr__(self) -> str:
        return f"<Trail in {self.store!r}>"

    def wrote(self, call: Call, tx: Transaction, row: Row, keys: Mapping[str, str], *, is_new: bool) -> None:
        """A resource is saved that has secrets, or had some.

        Args:
            call: saves it.
            tx: its transaction.
            row: as it will be.
            keys: the hashes of the values that it did not have; empty ones of those that it keeps.
            is_new: whether it was not there.
        """
        op = Op.CREATE if is_new else Op.ROTATE if call.method.name == "rotate" else Op.UPDATE
        tx.tell(event(call, op, row, keys))

    def opened(self, call: Call, tx: Transaction, row: Row, keys: Mapping[str, str], *, is_shown: bool) -> None:
        """The values of a resource are opened for a call's work, or to be shown to its caller.

        Args:
            call: asks for it.
            tx: its transaction.
            row: of the resource.
            keys: the hashes of the values.
            is_shown: whether the caller will see them; this server, which calls for somebody, only uses them.
        """
        is_shown = is_shown and call.principal.on_behalf_of is None
        tx.tell(event(call, Op.READ if is_shown else Op.USE, row, keys, is_shown=is_shown))

    async def hashes(self, values: Mapping[Place, bytes]) -> dict[str, str]:
        """The keyed hashes of values, by where these stand, in words. Raises as `AuditKeys.get`."""
        return hashed((await self.keys.get()).hashing, values) if values else {}

    async def denied(self, call: Call) -> None:
        """A call on resources of a kind that may have secrets is denied; the record has a commit of its own."""
        kind = self._concerned(call.method)
        if kind is None or not call.is_first_of_its_principal:
            return
        told = replace(event(call, Op.DENIED), kind=kind, id=call.resource_id, code=Code.PERMISSION_DENIED.name)
        try:
            async with asyncio.timeout(DENIED_S):
                await self.append(told)
        except (StoreError, TimeoutError) as failure:  # it is denied, whatever becomes of the record
            log.error("A denied call is not in the audit", request_id=call.request_id, error=str(failure))  # noqa: TRY400 - no traceback says more

    def redacted(self, call: Call, row: Row) -> None:
        """A caller is shown the mark."""
        self.counts.add(Op.REDACTED, row.kind, row.id, actor=call.actor)

    def unauthenticated(self, path: str, address: str) -> None:
        """A call of that method came from an address without good credentials."""
        method = methods().get(path)
        if method is not None and (kind := self._concerned(method)) is not None:
            peer = network_of(address) if address != UNIX else address
            self.counts.add(Op.UNAUTHENTICATED, kind, "", peer=peer)

    async def append(self, *events: Event) -> None:
        """Write records of what is not part of a transaction. Raises StoreError."""
        await self.store.commit(Changes(appends=[Append(LOG, one.encoded()) for one in events]))

    def _concerned(self, method: Method) -> str | None:
        """What a method is about that may have secrets: the name of a kind, or KEYS; None for all others."""
        if method.service.startswith(_ADMIN):
            return KEYS
        kind = self._kinds.get(method.kind.name) if method.kind is not None else None
        return kind.name if kind is not None and kind.may_hold_secrets else None


def event(
    call: Call, op: Op, row: Row | None = None, keys: Mapping[str, str] = _NO_KEYS, *, is_shown: bool = False
) -> Event:
    """Who does what, and in which call; of which row, where that is known already."""
    principal = call.principal
    on_behalf_of = principal.on_behalf_of.name if principal.on_behalf_of is not None else ""
    of_row = (row.kind, row.id, organization_of(row.owner)) if row is not None else ("", "", "")
    who = principal.name, on_behalf_of, call.request_id, call.outermost.peer, call.method.path
    return Event(op, *who, *of_row, keys, is_shown)
