"""What the steps of one run share, and the one way from resources to rows and from rows to replies.

Steps never build rows or replies themselves: `Context.load`, `save` and `answer` do, for every kind. What is to happen
to each resource on its way into the store, or out of it, has its place there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, cast

from stigmer.pipeline.kind import Resource
from stigmer.wire import codec
from stigmer.wire.lazy import class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import betterproto2
    from google.protobuf.message import Message

    from stigmer.errors import Violation
    from stigmer.pipeline.call import Call
    from stigmer.pipeline.kind import Kind
    from stigmer.pipeline.runtime import Runtime
    from stigmer.store.rows import Row
    from stigmer.store.transaction import Transaction

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
        new_state: the resource as it will be.
        reply: what the caller gets.
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
    new_state: R_co | None = None
    reply: Reply | None = None

    @property
    def kind(self) -> Kind[Any]:
        """The kind that the RPC is about; raises TypeError where its service is about none."""
        if self.service_kind is None:
            raise TypeError(f"{self.call.method.path} is about no kind")
        return self.service_kind

    async def load(self, row: Row) -> Any:  # noqa: ANN401 - of the row's kind
        """The resource that a row of any kind keeps, filled in when it is touched; each call gives a new one."""
        return self.runtime.kinds[row.kind].resource_of(row)

    async def save(self, resource: Resource, *, over: Row | None = None) -> Row:
        """Stage the row of a resource of any kind; gives it.

        Args:
            resource: of one of the runtime's kinds.
            over: the row that it replaces; None for a new resource, which the caller then has created.
        """
        kind = self.runtime.kinds[class_of(cast("betterproto2.Message", resource)).__name__]
        row = kind.row_of(resource, based_on=over, created_by=self.call.actor)
        (self.tx.create if over is None else self.tx.update)(row)
        self.found.pop((row.kind, row.id), None)
        return row

    async def answer(self, row: Row) -> codec.Encoded[Any]:
        """The reply, or part of a reply, that shows a row of any kind to the caller: its stored bytes."""
        return codec.Encoded(self.runtime.kinds[row.kind].generated, row.data)


AnyContext: TypeAlias = "Context[Any, Any]"
"""The context of whatever pipeline runs."""
Rule: TypeAlias = "Callable[[AnyContext], list[Violation]]"
"""What a step would refuse for the request's sake alone: its method `violations`, where it has one."""
