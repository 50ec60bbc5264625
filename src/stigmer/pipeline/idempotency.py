"""Calls with an idempotency key: done once, and answered with the first reply each time that they are repeated.

`Endpoint.run` runs such a call through here, in its transaction, and the record of its reply is committed with what it
made: there is the one exactly where there is the other, whoever races and whenever the server is killed.

A record's key begins with the number of the day that it was made on, so that a job finds those that are over. The run
that makes it does not look for it first: where it is there, the commit loses a race or the run is refused, and the next
run begins with looking.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from stigmer.errors import DataLoss, FailedPrecondition, StigmerError
from stigmer.pipeline.ownership import check_write
from stigmer.pipeline.showing import may_be_shown
from stigmer.secrets import fields
from stigmer.secrets.fields import MARK, Place
from stigmer.store.changes import Changes
from stigmer.store.errors import ConflictError
from stigmer.store.rows import ABSENT
from stigmer.wire import codec
from stigmer.wire.message_types import full_name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stigmer.access.principal import Owner
    from stigmer.pipeline.call import Once
    from stigmer.pipeline.context import AnyContext, Reply, Runs
    from stigmer.store.contract import Store
    from stigmer.store.rows import Record, Row

TABLE = "idempotency"
"""The records of replies, by `<day>/<hash of caller, method and key>`."""
KEPT_MS = 24 * 60 * 60 * 1000
"""How long a reply is given again; days are as long, counted from 1970."""
EXPIRY_S = 600.0
"""How often a job looks for records that are over."""
AT_ONCE = 16
"""How many records one transaction of the job removes: each may be as long as a resource."""

_MARK = MARK.encode()
_VERSION = 1
_HEAD = struct.Struct(
    ">BQ32sBH"
)  # version, when it was made in ms, fingerprint, whether it is sealed, bytes of the owner


class Kept(NamedTuple):
    """What a record holds.

    Attributes:
        made_ms: when it was made, by the store's clock.
        fingerprint: of the request.
        sealed: whether the resource has secret values.
        owner: of the resource.
        data: the resource without them, as it was answered.
    """

    made_ms: int
    fingerprint: bytes
    sealed: bool
    owner: Owner
    data: bytes

    def packed(self) -> bytes:
        """As the record's value."""
        owner = self.owner.encode()
        return _HEAD.pack(_VERSION, self.made_ms, self.fingerprint, self.sealed, len(owner)) + owner + self.data

    @classmethod
    def unpacked(cls, record: Record) -> Kept:
        """What a record's value holds; raises DataLoss where it is of no version that is known."""
        value = record.value
        if len(value) < _HEAD.size or value[0] != _VERSION:
            raise DataLoss(record.table, record.key)
        _, made_ms, fingerprint, sealed, length = _HEAD.unpack_from(value)
        end = _HEAD.size + length
        return cls(made_ms, fingerprint, bool(sealed), value[_HEAD.size : end].decode(), value[end:])


class _Names(NamedTuple):
    """The keys of the records that may hold a reply.

    Attributes:
        before: of the day before.
        today: of this day; it is written under this one.
        after: of the next day: the clock may have been set back.
    """

    before: str
    today: str
    after: str


async def run_once(ctx: AnyContext, once: Once, pipeline: Runs) -> Reply | None:
    """Run the pipeline, and stage the record of its reply; or give the reply of the call that this one repeats.

    Raises:
        FailedPrecondition: the key was used for another request.
        PermissionDenied: what was made is not the caller's to write any more.
        ConflictError: the call repeats another one; the next run gives its reply.
        StigmerError: the call is refused.
    """
    once = once._replace(fingerprint=await _untryable(ctx, once.fingerprint))
    now_ms = await ctx.runtime.store.now_ms()
    names, over = _names(ctx, once, now_ms), dict[str, int]()
    if ctx.call.attempt > 1 or _makes_elsewhere(ctx):
        kept = await _kept(ctx, names, now_ms, over)
        if kept is not None:
            return _reply(ctx, once, kept)
    try:
        await pipeline.run(ctx)
    except StigmerError:
        if await _kept(ctx, names, now_ms, over) is not None:
            raise ConflictError((TABLE, names.today)) from None
        raise
    _stage(ctx, once, names, now_ms, over)
    return ctx.reply


async def expire(store: Store) -> None:
    """Remove the records that are over, oldest first, AT_ONCE in a transaction."""
    first = f"{_day(await store.now_ms()) - 1:08}"
    while True:
        records = await store.records(TABLE, limit=AT_ONCE)
        gone = [record for record in records if record.key < first]
        if gone:
            await store.commit(Changes(records={(TABLE, record.key): None for record in gone}))
        if len(gone) < AT_ONCE:
            return


async def _untryable(ctx: AnyContext, fingerprint: bytes) -> bytes:
    """The fingerprint as it is kept: under the audit's sealed key where the request may have secret values.

    The store's own secrets stand in the database, so that who has that, or a backup, could try values out. Raises as
    `AuditKeys.get`.
    """
    if not ctx.kind.may_hold_secrets:
        return fingerprint
    hashing = (await ctx.runtime.trail.keys.get()).hashing
    return hashlib.blake2b(fingerprint, key=hashing, digest_size=32, person=b"idempotency").digest()


def _day(now_ms: int) -> int:
    return now_ms // KEPT_MS


def _names(ctx: AnyContext, once: Once, now_ms: int) -> _Names:
    day = _day(now_ms)
    text = f"{ctx.call.principal.caller.name}\n{ctx.call.method.path}\n{once.key}"  # all of them can be printed
    name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return _Names(*(f"{one:08}/{name}" for one in (day - 1, day, day + 1)))


def _makes_elsewhere(ctx: AnyContext) -> bool:
    """Whether a run may make something on another server, which is better not made than undone."""
    return not all(client.in_process for client in ctx.runtime.downstream.values())


async def _kept(ctx: AnyContext, names: _Names, now_ms: int, over: dict[str, int]) -> Kept | None:
    """The reply that is kept; notes in `over` the revisions of records that are too old."""
    for name in names:
        record = await ctx.tx.record(TABLE, name)
        if record is None:
            continue
        kept = Kept.unpacked(record)
        if now_ms - kept.made_ms < KEPT_MS:
            return kept
        over[name] = record.revision
    return None


def _stage(ctx: AnyContext, once: Once, names: _Names, now_ms: int, over: Mapping[str, int]) -> None:
    """Stage the record of the resource that the run has made or changed; none of them may be there at commit."""
    row = _made(ctx)
    kept = Kept(now_ms, once.fingerprint, row.sealed, row.owner, row.data)
    for name in names:
        if name == names.today:
            ctx.tx.put_record(TABLE, name, kept.packed(), over.get(name, ABSENT))
        elif name in over:
            ctx.tx.remove_record(TABLE, name, over[name])
        else:
            ctx.tx.require_record(TABLE, name, ABSENT)


def _made(ctx: AnyContext) -> Row:
    _, row = ctx.tx.staged.row((ctx.kind.name, ctx.call.resource_id))
    if row is None:
        raise TypeError(f"{ctx.call.method.path} takes an idempotency key and stages no resource")
    return row


def _reply(ctx: AnyContext, once: Once, kept: Kept) -> Reply:
    """The first reply; secret values come from this call's own request, all others are marks."""
    if kept.fingerprint != once.fingerprint:
        message = (
            f"the idempotency key '{once.key}' was used within 24 hours for another request to {ctx.call.method.name}:"
            " send a new key with a new request"
        )
        raise FailedPrecondition(message, reason="IDEMPOTENCY_KEY_REUSED", subject=once.key)
    check_write(ctx.call, kept.owner)
    wire = codec.parse(ctx.kind.generated, kept.data)
    ctx.call.resource_id = cast("Any", wire).metadata.id
    if not kept.sealed:
        return codec.Encoded(ctx.kind.generated, kept.data)
    (values, others), shown = _values(ctx), may_be_shown(ctx.call)
    for entry in fields.entries(wire):
        if entry.is_secret and (value := values.get(entry.place, others)):
            entry.write(value if shown else _MARK)
    return codec.Encoded(ctx.kind.generated, codec.serialized(wire))


def _values(ctx: AnyContext) -> tuple[Mapping[Place, bytes], bytes]:
    """The secret values of the request, and what all others are.

    A resource brings all of its own; where rotate gives one anew, the others are marks.
    """
    wire: Any = ctx.wire
    if wire.DESCRIPTOR.full_name == full_name_of(ctx.kind.generated):
        return {entry.place: entry.read() for entry in fields.entries(wire) if entry.is_secret}, b""
    return {Place("spec.data", wire.key): wire.value.encode()}, _MARK
