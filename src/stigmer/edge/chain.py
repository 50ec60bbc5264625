"""One RPC's way in: what its request is stripped of, and its chains of interceptors down to the handler.

`door` makes a route of each RPC and sends every call along it.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from grpclib.exceptions import GRPCError

from stigmer.access.rules import decision_of, is_of_organization
from stigmer.edge import terms
from stigmer.edge.interceptors.deadline import within
from stigmer.edge.interceptors.tracing import NOTHING, within_span
from stigmer.errors import Code, InvalidArgument, StigmerError
from stigmer.pipeline.context import decoded
from stigmer.wire import bounds, codec
from stigmer.wire.descriptors import descriptor
from stigmer.wire.faults import is_fallible, wire_faults
from stigmer.wire.lazy import class_of
from stigmer.wire.message_types import object_class
from stigmer.wire.scan import scan, surely_fits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from contextlib import AbstractContextManager

    import betterproto2
    from google.protobuf.message import Message

    from stigmer.edge.interceptors import Interceptor, StreamNext, UnaryNext
    from stigmer.edge.interceptors.built_in import BuiltIn
    from stigmer.pipeline.call import Call
    from stigmer.pipeline.context import Reply
    from stigmer.pipeline.pipeline import Endpoint
    from stigmer.wire.descriptors import Method


Source: TypeAlias = "Callable[[], Awaitable[Message | bytes]]"
"""Where a request comes from: bytes from the network, a message of its own from a caller in this process.

Raises a StigmerError where there is none.
"""
Sink: TypeAlias = "Callable[[Reply], Awaitable[None]]"
"""Where a reply goes; returns when it has been handed over, which may take as long as its caller does not read."""


Answer: TypeAlias = "Callable[[Call, Message], Awaitable[Reply]]"
"""Answers a request, which it never changes."""
Open: TypeAlias = "Callable[[Call, Message], Awaitable[AsyncGenerator[Reply, None]]]"
"""Opens a stream of replies, to be closed by who reads them."""


class Exchange(NamedTuple):
    """Both ends of a unary call."""

    receive: Source
    send: Sink


class Route:
    """One RPC: what the protos say of it, and its chains of interceptors.

    What is wrong with a request is met within the built-in interceptors, so that such a call is named and logged too; a
    unary reply is handed over within them, so that its deadline counts and its log line tells of that as well. The
    host's own see requests and replies, as objects.

    Attributes:
        method: as the protos describe it.
        decision: who may call it.
        request: the class of its requests.
        reply: the class of its replies.
    """

    def __init__(self, endpoint: Endpoint, built_in: BuiltIn, own: Sequence[Interceptor]) -> None:
        self.method = method = endpoint.method
        self.decision = decision_of(method)
        self.request, self.reply = object_class(method.request), object_class(method.reply)
        policy = endpoint.runtime.policy
        self._policy = policy if policy.asks_for(self.decision) else None
        quotas = endpoint.runtime.quotas
        self._quotas, self._writes = quotas if quotas.limits else None, not method.service.endswith("QueryController")
        self._slices, self._unit_of_work = endpoint.runtime.slices, endpoint.runtime.unit_of_work
        most = endpoint.runtime.sizes.max_message_parts
        self._max_parts = most if bounds.holds_transcript(method.request) else min(most, bounds.MAX_PARTS)
        self._trail = endpoint.runtime.trail
        self._strip = _stripper(method)
        self._fallible = is_fallible(descriptor(method.request))
        self._built_in = built_in
        call, run = of_ring("call", own), of_ring("run", own)
        self._answer = self._hosted(call, self._transacting(self._hosted(run, endpoint.run)))
        self._open = self._hosted_stream(call, self._hosted_stream(run, endpoint.open))

    async def unary(self, call: Call, exchange: Exchange) -> Reply:
        """The reply of a unary RPC, handed over within all built-in interceptors."""
        with self._built_in.around(call):
            try:
                self.decision.check(call.principal)
                with self._counted(call):
                    if call.deadline_s is None and call.span is None:
                        return await self._exchanged(call, exchange)
                    return await within(call, partial(self._exchanged, call, exchange))
            except (StigmerError, GRPCError) as error:
                await self._audit(call, error)
                raise

    def _counted(self, call: Call) -> AbstractContextManager[object]:
        """Around a call that counts against its principal's quota: what it makes for that one is a part of it."""
        if self._quotas is None or not call.is_first_of_its_principal:
            return NOTHING
        follows = self.method.server_streaming
        return self._quotas.around(call.principal, follows=follows, writes=self._writes)

    async def _exchanged(self, call: Call, exchange: Exchange) -> Reply:
        request = await self._request(call, exchange.receive)
        if self._writes and call.metadata:
            terms.take(call, request)
        reply = await self._unit_of_work.join(call, partial(self._answer, call, request))
        await exchange.send(reply)
        return reply

    def _transacting(self, proceed: Answer) -> Answer:
        """Each run starts from the request as it came."""

        async def transact(call: Call, request: Message) -> Reply:
            return await self._unit_of_work.run(call, partial(proceed, call, request))

        return transact

    async def stream(self, call: Call, source: Source) -> AsyncGenerator[Reply, None]:
        """The replies of a streaming RPC, within all built-in interceptors.

        This is the one generator between the last step's and the caller, so that a reply costs little and a stream that
        waits is small.
        """
        with self._built_in.around(call):
            try:
                self.decision.check(call.principal)
                with self._counted(call):
                    replies = await within(call, partial(self._opened, call, source))
                    try:
                        following = partial(anext, replies, None)
                        if call.deadline_s is not None or call.span is not None:
                            following = partial(within, call, following)
                        while (reply := await following()) is not None:
                            call.sent += 1
                            yield reply
                            del reply  # it may be long until the next, and large: nobody holds the last one meanwhile
                    finally:
                        with within_span(call):
                            await replies.aclose()
            except (StigmerError, GRPCError) as error:
                await self._audit(call, error)
                raise

    async def _audit(self, call: Call, error: StigmerError | GRPCError) -> None:
        """Have the audit know of a call that is denied, by this server or by a host's interceptor."""
        code = error.status.value if isinstance(error, GRPCError) else error.code
        if code == Code.PERMISSION_DENIED:
            await self._trail.denied(call)

    async def _opened(self, call: Call, source: Source) -> AsyncGenerator[Reply, None]:
        return await self._open(call, await self._request(call, source))

    async def _request(self, call: Call, source: Source) -> Message:
        """The request as handlers see it, without what only the server may set, once the host's policy allows it."""
        arrived = await source()
        if isinstance(arrived, bytes):
            call.request_bytes, wire = len(arrived), await self._parsed(arrived)
        else:
            call.request_bytes, wire = arrived.ByteSize(), arrived
        self._strip(wire)
        if self._fallible and (faults := await self._slices.run(wire_faults(wire))):
            raise InvalidArgument(*faults)
        if self._policy is not None and call.is_first_of_its_principal:
            asked = self.decision.id_in(wire, call.principal)
            call.resource_id = "" if is_of_organization(self.decision.permission, self.decision.kind) else asked or ""
            await self._policy.check(call.principal, self.decision, asked)
        return wire

    async def _parsed(self, data: bytes) -> Message:
        if surely_fits(self.method.request, data, self._max_parts):
            wire = codec.parse(self.request, data)
            if len(data) <= 2 * self._max_parts or _knows_all(wire, data):
                return wire
        await self._slices.run(scan(self.method.request, data, self._max_parts))
        wire = codec.parse(self.request, data)
        await asyncio.sleep(0)  # to have read and parsed 10 MiB takes some 6 ms
        return wire

    def _hosted(self, own: Sequence[Interceptor], proceed: Answer) -> Answer:
        """The host's interceptors around `proceed`, which give and get requests and replies as objects."""
        if not own:
            return proceed

        async def end(call: Call, request: betterproto2.Message) -> Reply:
            return decoded(await proceed(call, codec.wire_of(request)))

        chain = unary_chain(own, end)

        async def answer(call: Call, request: Message) -> Reply:
            return _encoded(await chain(call, codec.lazily(self.request, request)), self.reply)

        return answer

    def _hosted_stream(self, own: Sequence[Interceptor], proceed: Open) -> Open:
        if not own:
            return proceed

        async def end(call: Call, request: betterproto2.Message) -> AsyncGenerator[Reply, None]:
            async with aclosing(await proceed(call, codec.wire_of(request))) as replies:
                async for reply in replies:
                    yield decoded(reply)
                    del reply

        chain = stream_chain(own, end)

        async def opened(call: Call, request: Message) -> AsyncGenerator[Reply, None]:
            replies = chain(call, codec.lazily(self.request, request))
            return _each(partial(_encoded, kind=self.reply), replies)

        return opened


def of_ring(ring: str, interceptors: Sequence[Interceptor]) -> list[Interceptor]:
    """Those around a "call", or around a "run"."""
    return [one for one in interceptors if one.around == ring]


def _knows_all(wire: Message, data: bytes) -> bool:
    """Whether nothing in the message is unknown to the protos; what is has left it then."""
    wire.DiscardUnknownFields()
    return wire.ByteSize() == len(data)


def unary_chain(interceptors: Sequence[Interceptor], end: UnaryNext) -> UnaryNext:
    """The interceptors around `end`, the first one outermost."""
    for interceptor in reversed(interceptors):
        end = _unary_link(interceptor, end)
    return end


def stream_chain(interceptors: Sequence[Interceptor], end: StreamNext) -> StreamNext:
    """The interceptors around `end`, the first one outermost."""
    for interceptor in reversed(interceptors):
        end = _stream_link(interceptor, end)
    return end


def _unary_link(interceptor: Interceptor, proceed: UnaryNext) -> UnaryNext:
    return lambda call, request: interceptor.unary(call, request, proceed)


def _stream_link(interceptor: Interceptor, proceed: StreamNext) -> StreamNext:
    return lambda call, request: interceptor.stream(call, request, proceed)


async def _each(change: Callable[[Reply], Reply], replies: AsyncGenerator[Reply, None]) -> AsyncGenerator[Reply, None]:
    async with aclosing(replies):
        async for reply in replies:
            yield change(reply)
            del reply


def _encoded(reply: Reply, kind: type[betterproto2.Message]) -> Reply:
    """The reply, ready to be sent.

    Raises:
        TypeError: a host's interceptor answers what is no reply of this RPC.
    """
    if isinstance(reply, codec.Encoded) or class_of(reply) is not kind:
        raise TypeError(f"an interceptor answers {type(reply).__name__} in place of {kind.__name__}")
    try:
        return codec.Encoded(kind, codec.encode(reply))
    except InvalidArgument as error:
        raise TypeError(f"an interceptor answers a {kind.__name__} that cannot be sent: {error}") from error


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
