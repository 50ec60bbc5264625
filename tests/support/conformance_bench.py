"""A bench for one step: contexts built by hand on a store, and resources put there as an earlier call left them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from samples import unique

from stigmer._gen.ai.stigmer.commons.apiresource import (
    ApiResourceAudit,
    ApiResourceAuditActor,
    ApiResourceAuditInfo,
    ApiResourceMetadataVersion,
)
from stigmer.access.principal import Principal
from stigmer.handlers import HANDLERS
from stigmer.pipeline.call import Call
from stigmer.pipeline.context import AnyContext, Context
from stigmer.pipeline.ids import IdSource
from stigmer.pipeline.runtime import Runtime
from stigmer.pipeline.sealing_keys import SealingKeys
from stigmer.pipeline.unit_of_work import UnitOfWork
from stigmer.store.changes import Changes, Put
from stigmer.store.transaction import Transaction
from stigmer.wire import codec, descriptors

if TYPE_CHECKING:
    from stigmer.access.principal import Owner
    from stigmer.pipeline.kind import Kind
    from stigmer.store.rows import Row
    from stigmer.store.sqlite import SqliteStore

ONCE = dt.datetime(2026, 1, 18, tzinfo=dt.UTC)
ACTOR = "ida-tester"
MAKER = Principal("ida-maker", "editor", frozenset({"*"}))


class Client:
    """A downstream client that notes what it was asked."""

    def __init__(self, *, in_process: bool = True) -> None:
        self.in_process = in_process
        self.there: dict[str, Any] = {}
        self.made: list[Any] = []
        self.deleted: list[str] = []
        self.refusals: list[Exception] = []

    async def get(self, id_: str) -> Any:
        return self.there.get(id_)

    async def create(self, resource: Any) -> Any:
        if self.refusals:
            raise self.refusals.pop(0)
        self.made.append(resource)
        resource.metadata.id = resource.metadata.id or f"made-{len(self.made)}"
        return resource

    async def delete(self, id_: str) -> None:
        self.deleted.append(id_)


class Bench:
    """Makes contexts, and looks at what a step staged in them."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.kinds = {handler.kind.name: handler.kind for handler in HANDLERS}
        self.downstream: dict[str, Any] = {}
        self.runtime = Runtime(
            store, UnitOfWork(store), self.kinds, IdSource(), self.downstream, SealingKeys(store, self.kinds)
        )

    def context(self, kind: str, rpc: str, request: Any, resource_id: str = "", **fields: Any) -> AnyContext:
        """A context as it is when the pipeline of an RPC begins."""
        method = next(
            one
            for one in descriptors.methods().values()
            if one.name == rpc and one.kind is not None and one.kind.name == kind
        )
        call = Call(method, principal=Principal(ACTOR, "editor", frozenset({"*"})), resource_id=resource_id)
        call.transaction = transaction = Transaction(self.store)
        handler = next(handler for handler in HANDLERS if handler.kind.name == kind)
        wire = codec.to_wire(request)
        return Context(call, self.runtime, self.kinds[kind], request, wire, transaction, handler.pipelines, **fields)

    async def keep(self, resource: Any, **status: Any) -> Row:
        """Put a resource into the store as an earlier call would have left it; gives its row as it is read back."""
        kind, metadata = self.kinds[resource.kind], resource.metadata
        metadata.id = metadata.id or self.runtime.ids.new(kind.meta.id_prefix)
        metadata.slug = metadata.slug or metadata.name or unique("slug")
        metadata.version = ApiResourceMetadataVersion(id="ver-1", message="made")
        resource.status = kind.new_status(ApiResourceAudit(spec_audit=_info(), status_audit=_info()))
        for name, value in status.items():
            setattr(resource.status, name, value)
        row = kind.row_of(resource, await self._owner_of(kind, resource), created_by="ida-maker")
        await self.store.commit(Changes(puts=[Put(row, 0)]))
        kept = await self.store.get(kind.name, metadata.id)
        assert kept is not None
        return kept

    async def _owner_of(self, kind: Kind[Any], resource: Any) -> Owner:
        """As the maker's calls would have found it."""
        parent = kind.belongs_to
        row = await self.store.get(parent.kind, parent.value_in(resource)) if parent is not None else None
        return kind.owner_of(resource.metadata, MAKER, row.owner if row is not None else None)

    def resource(self, row: Row) -> Any:
        return self.kinds[row.kind].resource_of(row)


def staged(ctx: AnyContext) -> Changes:
    """What the steps staged in the context; ends its transaction."""
    ctx.tx.end()
    return ctx.tx.staged.changes()


def required(changes: Changes) -> set[tuple[str, str]]:
    return {(one.kind, one.id) for one in changes.requires}


def is_idle(ctx: AnyContext) -> bool:
    """Whether nothing was staged, and nothing is relied on."""
    ctx.tx.end()
    return not ctx.tx.staged


def _info() -> ApiResourceAuditInfo:
    maker = ApiResourceAuditActor(id="ida-maker")
    return ApiResourceAuditInfo(created_by=maker, created_at=ONCE, updated_by=maker, updated_at=ONCE, event="created")
