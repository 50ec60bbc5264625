"""One RPC's way in: what its request is stripped of, and its chains of interceptors down to the handler.

`edge` makes a route of each RPC and sends every call along it.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from grpclib.exceptions import GRPCError

from stigmer import codec
from stigmer.errors import Code, Relayed
from stigmer.message_types import object_class
from stigmer.pipeline import decoded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    import betterproto2
    from google.protobuf.message import Message

    from stigmer.call import Call
    from stigmer.descriptors import Method
    from stigmer.errors import StigmerError
    from stigmer.interceptors import Interceptor, StreamNext, UnaryNext
    from stigmer.pipeline import Endpoint, Reply


class Route:
    """One RPC: what the protos say of it, and its chains of interceptors.

    Attributes:
        method: as the protos describe it.
        unary: the chain of a unary RPC, down to the handler.
        stream: the chain of a streaming RPC.
        refuse: a chain of the built-in interceptors that ends in a refusal, for what never reaches the handler.
    """

    def __init__(
        self, endpoint: Endpoint, method: Method, outer: Sequence[Interceptor], own: Sequence[Interceptor]
    ) -> None:
        self.method = method
        self.trusts_wire = not own
        self.unary = unary_chain(outer, relaying(unary_chain(own, _unary_end(endpoint, plain=not own))))
        self.stream = _stream_chain(outer, _relaying_stream(_stream_chain(own, _stream_end(endpoint, plain=not own))))
        self.refuse = unary_chain(outer, _refusal)
        self._strip = _stripper(method)

    def arrive(self, call: Call, wire: Message) -> betterproto2.Message:
        """The request as interceptors and handlers see it; what only the server may set is taken out of the message.

        Raises:
            InvalidArgument: Python cannot hold a value.
        """
        self._strip(wire)
        call.wire = wire if self.trusts_wire else None
        return codec.from_wire(wire)


def unary_chain(interceptors: Sequence[Interceptor], end: UnaryNext) -> UnaryNext:
    """The interceptors around `end`, the first one outermost."""
    for interceptor in reversed(interceptors):
        end = _unary_link(interceptor, end)
    return end


def _unary_link(interceptor: Interceptor, proceed: UnaryNext) -> UnaryNext:
    return lambda call, request: interceptor.unary(call, request, proceed)


def _stream_chain(interceptors: Sequence[Interceptor], end: StreamNext) -> StreamNext:
    for interceptor in reversed(interceptors):
        end = _stream_link(interceptor, end)
    return end


def _stream_link(interceptor: Interceptor, proceed: StreamNext) -> StreamNext:
    return lambda call, request: interceptor.stream(call, request, proceed)


def _unary_end(endpoint: Endpoint, *, plain: bool) -> UnaryNext:
    """The handler; the host's interceptors see replies as objects, the built-in ones need not."""
    if plain:
        return endpoint.unary

    async def end(call: Call, request: betterproto2.Message) -> Reply:
        return decoded(await endpoint.unary(call, request))

    return end


def _stream_end(endpoint: Endpoint, *, plain: bool) -> StreamNext:
    if plain:
        return endpoint.stream

    async def end(call: Call, request: betterproto2.Message) -> AsyncGenerator[Reply, None]:
        async with aclosing(endpoint.stream(call, request)) as replies:
            async for reply in replies:
                yield decoded(reply)

    return end


def relaying(proceed: UnaryNext) -> UnaryNext:
    """What a host's interceptor says in gRPC's terms, in ours."""

    async def relay(call: Call, request: Any) -> Reply:  # noqa: ANN401 - any RPC's request
        try:
            return await proceed(call, request)
        except GRPCError as error:
            raise relayed(error) from error

    return relay


def _relaying_stream(proceed: StreamNext) -> StreamNext:
    async def relay(call: Call, request: Any) -> AsyncGenerator[Reply, None]:  # noqa: ANN401 - any RPC's request
        try:
            async with aclosing(proceed(call, request)) as replies:
                async for reply in replies:
                    yield reply
        except GRPCError as error:
            raise relayed(error) from error

    return relay


def relayed(error: GRPCError) -> Relayed:
    """A gRPC error as one of `errors`."""
    return Relayed(Code(error.status.value), error.message or "", tuple(error.details or ()))


async def _refusal(_call: Call, error: StigmerError) -> Reply:
    raise error


def _stripper(method: Method) -> Callable[[Message], None]:
    """Takes out of a request what only the server may set: a resource's status, a reported status's audit."""
    fields = object_class(method.request).__dataclass_fields__  # type: ignore[attr-defined]  # each is a dataclass
    if "status" not in fields:
        return lambda _wire: None
    if "spec" in fields:
        return lambda wire: wire.ClearField("status")
    return _strip_audit


def _strip_audit(wire: Message) -> None:
    if wire.HasField("status"):
        wire.status.ClearField("audit")  # type: ignore[attr-defined]  # the descriptor has it
