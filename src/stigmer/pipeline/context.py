"""What the steps of one run share, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from stigmer.wire import codec
from stigmer.wire.lazy import class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import betterproto2
    from google.protobuf.message import Message

    from stigmer.errors import Violation
    from stigmer.pipeline.call import Call
    from stigmer.pipeline.kind import Kind, Resource
    from stigmer.pipeline.runtime import Runtime
    from stigmer.store.base import Row
    from stigmer.store.transaction import Transaction

Reply: TypeAlias = "betterproto2.Message | codec.Encoded[Any]"
"""What a pipeline answers; stored resources go out as their stored bytes."""


def decoded(reply: Reply) -> betterproto2.Message:
    """A reply as an object of its own, filled in when it is touched; what is done to it shows nowhere else."""
    if isinstance(reply, codec.Encoded):
        return cast("betterproto2.Message", reply.decode())
    return codec.lazily(class_of(reply), codec.encode(reply))


class Runs(Protocol):
    """What runs steps on a context: a pipeline, for the steps that hand over to another one of their kind."""

    async def run(self, ctx: Context, /) -> None:
        """Run the steps in order; raises a StigmerError where one refuses the call."""
        ...


@dataclass(slots=True, eq=False)
class Context:
    """What the steps of one run share. A step's docstring says what it reads and writes.

    Attributes:
        call: the call that runs.
        runtime: what steps work with.
        kind: the kind that the RPC is about.
        request: the request, filled in when it is touched; each run has a copy of its own.
        wire: the request as the C runtime has it; not to be changed.
        tx: reads and staged writes of this run.
        pipelines: the handler's other pipelines, by RPC name.
        rules: what the running pipeline's steps would refuse for the request's sake alone.
        applying: whether apply runs this as its create or update.
        slug: the slug that the request names or its name gives.
        resource_id: the id of the resource concerned.
        row: the row that was loaded, and `existing` the resource in it.
        new_state: the resource as it will be.
        reply: what the caller gets.
    """

    call: Call
    runtime: Runtime
    kind: Kind
    request: Any
    wire: Message
    tx: Transaction
    pipelines: Mapping[str, Runs]
    rules: tuple[Rule, ...] = ()
    applying: bool = False
    slug: str = ""
    resource_id: str = ""
    row: Row | None = None
    existing: Resource | None = None
    new_state: Resource | None = None
    reply: Reply | None = None


Rule: TypeAlias = "Callable[[Context], list[Violation]]"
"""What a step would refuse for the request's sake alone: its method `violations`, where it has one."""
