"""What the steps of one run share, and the one way from resources to rows and from rows to replies.

Steps never read or write rows, or build replies, themselves: `Context` does, for every kind. What is to happen to each
resource on its way into the store, or out of it, has its place there. What is not the caller's stops there as well: a
row of somebody else's takes the path of one that is not there, so that not even time tells of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, cast

from stigmer.access.principal import identity
from stigmer.errors import FailedPrecondition
from stigmer.pipeline.kind import Resource, required
from stigmer.pipeline.ownership import check_write
from stigmer.store.errors import DamagedError
from stigmer.store.rows import Query, Window
from stigmer.wire import codec
from stigmer.wire.lazy import class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import betterproto2
    from google.protobuf.message import Message

    from stigmer.access.principal import Owner
    from stigmer.errors import Violation
    from stigmer.pipeline.call import Call
    from stigmer.pipeline.kind import Kind, Reference
    from stigmer.pipeline.runtime import Runtime
    from stigmer.store.rows import Page, Row
    from stigmer.store.transaction import Transaction

SECRETS = "x-secrets"
"""The metadata, of whatever value, by which a caller asks for marks in place of the secrets that it may see."""
_SHOWN_TO = frozenset({"runner", "admin"})

Reply: TypeAlias = "betterproto2.Message | codec.Encoded[Any]"
"""What a pipeline answers; stored resources go out as their stored bytes."""

# What a step reads of a request, and the resource it works on. A context of a more special request or kind is one of a
# more general: both are given when it is made, and steps replace `new_state` by resources of the kind alone.
Q_co = TypeVar("Q_co", covariant=True)
R_co = TypeVar("R_co", bound=Resource, covariant=True)


def decoded(reply: Reply) -> betterproto2.Message:
    """A reply as an object of its own, filled in when it is touched; what is done to it shows nowhere else."""
    if isinstance(reply, codec.Encoded):
        return cast("betterproto2.Message", reply.decode())
    return codec.lazily(class_of(reply), codec.encode(reply))


class Runs(Protocol):
    """What runs steps on a context: a pipeline, for the steps that hand over to another one of their kind."""

    async def run(self, ctx: AnyContext, /) -> None:
        """Run the steps in order; raises a StigmerError where one refuses the call."""
        ...


@dataclass(slots=True, eq=False)
class Context(Generic[Q_co, R_co]):
    """What the steps of one run share. A step's docstring says what it reads and writes.

    `Context[AgentId, Agent]` is that of an RPC that takes an AgentId and is about an Agent.

    Attributes:
        call: the call that runs.
        runtime: what steps work with.
        service_kind: the kind that the RPC is about; None where its service is about none.
        request: the request, filled in when it is touched; each run has a copy of its own.
        wire: the request as the C runtime has it; not to be changed.
        tx: reads and staged writes of this run.
        pipelines: the handler's other pipelines, by RPC name.
        rules: what the running pipeline's steps would refuse for the request's sake alone.
        applying: whether apply runs this as its create or update.
        slug: the slug that the request names or its name gives.
        row: the row that was loaded.
        unchanged: of a report, by the lists of its transcript: with how many first entries it repeats the row's.
        stored: of a long report, the row as the C runtime has it, to be changed.
        found: what steps have read of other kinds, by kind and id; not to be changed.
        parents: the rows that resources belong to, by kind and id; None where there is none.
        new_state: the resource as it will be.
        reply: what the caller gets.
        saved: the row that was saved last, and its resource as bytes with all of its secret values, where it has some.
    """

    call: Call
    runtime: Runtime
    service_kind: Kind[Any] | None
    request: Q_co
    wire: Message
    tx: Transaction
    pipelines: Mapping[str, Runs]
    rules: tuple[Rule, ...] = ()
    applying: bool = False
    slug: str = ""
    row: Row | None = None
    unchanged: Mapping[str, int] = field(default_factory=dict[str, int])
    stored: Any = None
    found: dict[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])
    parents: dict[tuple[str, str], Row | None] = field(default_factory=dict[tuple[str, str], "Row | None"])
    new_state: R_co | None = None
    reply: Reply | None = None
    saved: tuple[Row, bytes] | None = None

    @property
    def kind(self) -> Kind[Any]:
        """The kind that the RPC is about; raises TypeError where its service is about none."""
        if self.service_kind is None:
            raise TypeError(f"{self.call.method.path} is about no kind")
        return self.service_kind

    @property
    def shows_secrets(self) -> bool:
        """Whether the caller is shown secret values, where the RPC shows them at all: no stream does, and no dry run.

        What a dry run asks of other kinds is for its own work.
        """
        call = self.call
        if call.method.server_streaming or (call.dry_run and not (call.parent and call.parent.dry_run)):
            return False
        return call.principal.role in _SHOWN_TO and SECRETS not in call.metadata

    async def load(self, row: Row, *, with_secrets: bool = False) -> Any:  # noqa: ANN401 - of the row's kind
        """The resource that a row of any kind keeps, filled in when it is touched; each call gives a new one.

        It has the mark in place of secret values, so that they stay where it is saved again; the values themselves only
        for who asks for them, and must not answer or log them.
        """
        kind = self.runtime.kinds[row.kind]
        if row.sealed:
            vault = self.runtime.vault
            data = await (vault.opened if with_secrets else vault.marked)(self.tx, kind, row)
            row = replace(row, data=data)
        return kind.resource_of(row)

    async def answer(self, row: Row) -> codec.Encoded[Any]:
        """The reply that shows a row of any kind to the caller: its stored bytes.

        Where it has secret values, it is with them for who may see them, and with the mark for all others.
        """
        kind = self.runtime.kinds[row.kind]
        if not row.sealed:
            return codec.Encoded(kind.generated, row.data)
        if self.shows_secrets:
            known = self.saved[1] if self.saved is not None and self.saved[0] is row else None
            return codec.Encoded(kind.generated, known or await self.runtime.vault.opened(self.tx, kind, row))
        return await self.overview(row)

    async def overview(self, row: Row) -> codec.Encoded[Any]:
        """As `answer`, with the mark for everybody: for parts of a list, states of a stream, replies to reports."""
        kind = self.runtime.kinds[row.kind]
        data = row.data if not row.sealed else await self.runtime.vault.marked(self.tx, kind, row)
        return codec.Encoded(kind.generated, data)

    # What is there for the caller; for the server's own calls, what is there for whom they are made.

    async def find(self, kind: str, id_: str) -> Row | None:
        """The row of any kind with that id."""
        return await self.tx.get(kind, id_, self.call.principal.owners)

    async def by_slug(self, kind: str, slug: str, namespace: str) -> Row | None:
        """The row of any kind that holds the slug in the namespace."""
        return await self.tx.by_slug(kind, slug, namespace, self.call.principal.owners)

    async def by_slug_anywhere(self, kind: str, slug: str, *, own: bool = False) -> Sequence[Row]:
        """At most two rows that hold the slug, of any namespace; the one in the empty namespace comes first.

        With `own` only those that belong to the caller alone.
        """
        principal = self.call.principal
        owners = (identity(principal.caller.name),) if own else principal.owners
        return await self.tx.by_slug_anywhere(kind, slug, owners)

    async def page(self, query: Query, window: Window) -> Page:
        """The query's rows within the window."""
        return await self.tx.page(replace(query, owners=self.call.principal.owners), window)

    async def newest(self, kind: str, path: str, value: str) -> Row | None:
        """The newest row of the kind whose field at `path` holds the value."""
        if self.call.principal.owners is None:
            return await self.tx.newest(kind, path, value)
        rows = (await self.page(Query(kind, ((path, value),)), Window(1))).rows
        return rows[0] if rows else None

    # What is taken, whoever has it.

    async def has_id(self, kind: str, id_: str) -> bool:
        """Whether there is a resource with that id, anybody's, damaged or not: who brings an id is told no more."""
        try:
            return await self.tx.get(kind, id_) is not None
        except DamagedError:
            return True

    async def holder(self, kind: str, slug: str, namespace: str) -> str | None:
        """The id of what holds a slug, empty where that is not there for the caller; None where the slug is free.

        Only for who may create in that namespace.
        """
        row = await self.tx.by_slug(kind, slug, namespace)
        return None if row is None else row.id if self.call.principal.sees(row.owner) else ""

    # What is the caller's to write.

    async def owner_of(self, resource: Resource) -> Owner:
        """Who will own a resource of any kind that the caller makes."""
        kind = self._kind_of(resource)
        parent = await self._parent_owner(kind.belongs_to, resource) if kind.belongs_to is not None else None
        return kind.owner_of(required(resource.metadata), self.call.principal, parent)

    async def namespace_of(self, resource: Resource) -> str:
        """Where the slug of a resource of any kind is unique that the caller makes."""
        return self._kind_of(resource).namespace_of(required(resource.metadata).org, await self.owner_of(resource))

    async def refuse_foreign(self, resource: Resource) -> None:
        """Refuse early a new resource of any kind that `save` would refuse.

        Raises:
            PermissionDenied: it is not the caller's to make.
        """
        check_write(self.call, await self.owner_of(resource), required(resource.metadata).org)

    async def save(
        self, resource: Resource, *, over: Row | None = None, by_server: bool = False, keeps: bool = False
    ) -> Row:
        """Stage the row of a resource of any kind, its secret values sealed beside it; gives it.

        Args:
            resource: of one of the runtime's kinds.
            over: the row that it replaces; None for a new resource, which the caller then has created.
            by_server: whether the server makes it for the caller, as it does in its own calls.
            keeps: whether secret values stay that the resource neither has nor marks, as for a report.

        Raises:
            PermissionDenied: it is not the caller's to write.
            InvalidArgument: a mark where no secret value is kept, or a kept one that is to be shown from now on.
        """
        kind = self._kind_of(resource)
        owner = over.owner if over is not None else await self.owner_of(resource)
        org = required(resource.metadata).org if over is None else ""
        check_write(self.call, owner, org, by_server=by_server)
        if over is None and kind.belongs_to is not None and (parent := await self._parent(kind.belongs_to, resource)):
            self._rely_on(parent)
        wire, data = codec.wire_and_bytes(cast("betterproto2.Message", resource))
        row = kind.row_of_wire(wire, data, owner, based_on=over, created_by=self.call.actor)
        if kind.may_hold_secrets:
            row, has_all = await self.runtime.vault.put(self.tx, row, wire, over, keeps=keeps)
            self.saved = (row, data) if has_all else None
        (self.tx.create if over is None else self.tx.update)(row)
        self.found.pop((row.kind, row.id), None)
        return row

    def note(self, table: str, id_: str, value: bytes) -> None:
        """Stage a record beside the resource `id_`; it goes with that, where the kind's `records` name the table."""
        self.tx.put_record(table, id_, value)

    async def delete(self, row: Row) -> None:
        """Stage the deletion of a row that was read here, and of its dependents, whoever owns them.

        Raises:
            PermissionDenied: it is not the caller's to delete.
        """
        check_write(self.call, row.owner)
        self.tx.delete(row)
        await self._delete_what_goes_with(row.kind, row.id)

    async def discard(self, kind: str, id_: str, owner: Owner) -> None:
        """Stage the deletion of what goes with a deleted row, where its owner has it, and of its dependents.

        Somebody else may have taken the id of one that was deleted before.
        """
        row = await self.tx.get(kind, id_)
        if row is not None and row.owner == owner:
            self.tx.delete(row)
            await self._delete_what_goes_with(kind, id_)

    async def delete_dependents(self, kind: str, id_: str) -> None:
        """Stage the deletion of the dependents of a row that stays, whoever owns them; looked up again at commit."""
        await self.tx.delete_dependents(self.runtime.kinds[kind].dependents, id_)

    async def _delete_what_goes_with(self, kind: str, id_: str) -> None:
        for table in self.runtime.kinds[kind].records:
            self.tx.remove_record(table, id_)
        await self.delete_dependents(kind, id_)

    async def _parent_owner(self, reference: Reference, resource: Resource) -> Owner | None:
        """The owner of what a resource belongs to; None where it is not known."""
        parent = await self._parent(reference, resource)
        return parent.owner if parent is not None else None

    async def _parent(self, reference: Reference, resource: Resource) -> Row | None:
        key = reference.kind, str(reference.value_in(resource))
        if key not in self.parents:
            self.parents[key] = await self.find(*key)
        return self.parents[key]

    def _rely_on(self, parent: Row) -> None:
        """What something belongs to must be there at commit, and not have ended."""
        kind = self.runtime.kinds[parent.kind]
        if kind.ending is None:
            self.tx.require(parent.kind, parent.id)
            return
        if ended := kind.ended_with(parent):
            message = f"{parent.kind} {parent.id} has ended with {ended}: nothing more can be made that belongs to it"
            raise FailedPrecondition(message, type_="TERMINAL_PHASE", subject=parent.id)
        self.tx.require_unchanged(parent)

    def _kind_of(self, resource: Resource) -> Kind[Any]:
        return self.runtime.kinds[class_of(cast("betterproto2.Message", resource)).__name__]


AnyContext: TypeAlias = "Context[Any, Any]"
"""The context of whatever pipeline runs."""
Rule: TypeAlias = "Callable[[AnyContext], list[Violation]]"
"""What a step would refuse for the request's sake alone: its method `violations`, where it has one."""
