"""The one door: every call, from the network or the loopback, passes here, through one interceptor chain to one handler.

The network and the loopback differ only in how a message comes in. grpclib's errors are raised here and nowhere else.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from multidict import MultiDict

from stigmer import codec
from stigmer.call import CURRENT, Call
from stigmer.descriptors import Method
from stigmer.errors import Code, DeadlineExceeded, InvalidArgument, Relayed, StigmerError, Unavailable, Unimplemented
from stigmer.http2 import CompressionUnsupported, deadline_of
from stigmer.interceptors import Interceptor, built_in
from stigmer.interceptors.deadline import until
from stigmer.interceptors.error_mapping import mapped
from stigmer.message_types import object_class
from stigmer.pipeline import decoded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence

    import betterproto2
    from google.protobuf.message import Message
    from grpclib._typing import IServable
    from grpclib.server import Stream

    from stigmer.handler import Service
    from stigmer.ids import IdSource
    from stigmer.interceptors import StreamNext, UnaryNext
    from stigmer.pipeline import Endpoint, Reply

DRAINING = "the server is stopping: call another one, or this one again when it is back"


class Route:
    """One RPC: what the protos say of it, and its chains of interceptors.

    Attributes:
        method: as the protos describe it.
        unary: the chain of a unary RPC, down to the handler.
        stream: the chain of a streaming RPC.
        refuse: a chain of the built-in interceptors that ends in a refusal, for what never reaches the handler.
    """

    def __init__(self, endpoint: Endpoint, method: Method, outer: Sequence[Interceptor], own: Sequence[Interceptor]) -> None:
        self.method = method
        self.trusts_wire = not own
        self.unary = _unary_chain(outer, _relaying(_unary_chain(own, _unary_end(endpoint, plain=not own))))
        self.stream = _stream_chain(outer, _relaying_stream(_stream_chain(own, _stream_end(endpoint, plain=not own))))
        self.refuse = _unary_chain(outer, _refusal)
        self._strip = _stripper(object_class(method.request).__name__, method)

    def arrive(self, call: Call, wire: Message) -> betterproto2.Message:
        """The request as interceptors and handlers see it; what only the server may set is taken out of the message.

        Raises:
            InvalidArgument: Python cannot hold a value.
        """
        self._strip(wire)
        call.wire = wire if self.trusts_wire else None
        return codec.from_wire(wire)


class Edge:
    """The door to a set of services.

    Args:
        services: the kinds' services, bound to a runtime.
        ids: names calls.
        interceptors: the host's own; they run inside the built-in ones.
    """

    def __init__(self, services: Iterable[Service], ids: IdSource, interceptors: Sequence[Interceptor] = ()) -> None:
        self._outer = built_in(ids)
        self._own = tuple(interceptors)
        self._services = tuple(services)
        self._routes = {
            path: Route(service.endpoints[path], method, self._outer, self._own)
            for service in self._services
            for path, method in service.methods.items()
        }
        self._open_streams: dict[asyncio.Task[Any], Call] = {}
        self._draining = False

    def __repr__(self) -> str:
        state = "draining" if self._draining else "open"
        return f"<Edge {state}, {len(self._routes)} RPCs, {len(self._open_streams)} open streams>"

    # From the network.

    def handlers(self) -> list[IServable]:
        """What a grpclib server serves, with `EdgeCodec` or a codec like it."""
        return [_Mapped({path: self._served(path, shape) for path, shape in service.servicer.__mapping__().items()})
                for service in self._services]

    def foreign(self, servable: IServable) -> IServable:
        """A service that is not stigmer's, such as health, behind the same interceptors; they see no messages."""
        return _Mapped({path: self._served_raw(path, shape) for path, shape in servable.__mapping__().items()})

    def drain(self) -> None:
        """Refuse new calls, and end the open streams with UNAVAILABLE; running unary calls go on."""
        self._draining = True
        for task, call in self._open_streams.items():
            call.drained = True
            task.cancel()

    def _served(self, path: str, shape: Handler) -> Handler:
        route = self._routes[path]
        serve = self._serve_stream if shape.cardinality.server_streaming else self._serve_unary

        async def func(stream: Stream[Any, Any]) -> None:
            call = _call_of(stream, route.method)
            with _as_status():
                await serve(stream, route, call)

        return Handler(_with_encodings(func), shape.cardinality, shape.request_type, shape.reply_type)

    def _served_raw(self, path: str, shape: Handler) -> Handler:
        _, service, name = path.split("/")
        method = Method(path, service, name, "", "", shape.cardinality.server_streaming, None, None, False, True)

        async def func(stream: Stream[Any, Any]) -> None:
            call = _call_of(stream, method)

            async def end(_call: Call, _request: object) -> Any:  # noqa: ANN401 - there is no reply to pass on
                await shape.func(stream)

            chain = _unary_chain(self._outer, _relaying(_unary_chain(self._own, end)))
            with _as_status():
                await self._until_drained(call, chain(call, None))

        return Handler(_with_encodings(func), shape.cardinality, shape.request_type, shape.reply_type)

    async def _serve_unary(self, stream: Stream[Any, Any], route: Route, call: Call) -> None:
        request = await self._receive(stream, route, call)
        token = CURRENT.set(call)
        try:
            reply = await route.unary(call, request)
        finally:
            CURRENT.reset(token)
        await stream.send_message(reply)

    async def _serve_stream(self, stream: Stream[Any, Any], route: Route, call: Call) -> None:
        request = await self._receive(stream, route, call)
        await self._until_drained(call, _pump(stream, route, call, request))

    async def _receive(self, stream: Stream[Any, Any], route: Route, call: Call) -> betterproto2.Message:
        """The request; what is wrong with it is a call too, refused through the interceptors."""
        try:
            if self._draining:
                raise Unavailable(DRAINING)
            wire = await stream.recv_message()
            if wire is None:
                raise InvalidArgument.of("", "the call has no request message")
            return route.arrive(call, wire)
        except StigmerError as error:
            await route.refuse(call, error)
            raise

    async def _until_drained(self, call: Call, work: Awaitable[Any]) -> None:
        """Do the work of a call that may last; end it with UNAVAILABLE when the server stops."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call is served in a task")
        self._open_streams[task] = call
        try:
            await work
        except asyncio.CancelledError:
            if not call.drained:
                raise
            task.uncancel()
            raise Unavailable(DRAINING) from None
        finally:
            del self._open_streams[task]

    # From the loopback.

    async def unary(
        self, path: str, request: betterproto2.Message, metadata: MultiDict[str | bytes], deadline_s: float | None
    ) -> betterproto2.Message:
        """A call made in this process; the caller's message is not touched, and the reply is its own.

        Raises:
            GRPCError: as over the network.
        """
        with _as_status():
            route, call = self._local(path, metadata, deadline_s)
            arrived = await self._arrive(route, call, request)
            token = CURRENT.set(call)
            try:
                return decoded(await route.unary(call, arrived))
            finally:
                CURRENT.reset(token)

    async def stream(
        self, path: str, request: betterproto2.Message, metadata: MultiDict[str | bytes], deadline_s: float | None
    ) -> AsyncGenerator[betterproto2.Message, None]:
        """A streaming call made in this process.

        Raises:
            GRPCError: as over the network.
        """
        with _as_status():
            route, call = self._local(path, metadata, deadline_s)
            arrived = await self._arrive(route, call, request)
            async with aclosing(route.stream(call, arrived)) as replies:
                async for reply in replies:
                    yield decoded(reply)

    def _local(self, path: str, metadata: MultiDict[str | bytes], deadline_s: float | None) -> tuple[Route, Call]:
        route = self._routes.get(path)
        if route is None:
            raise Unimplemented(f"no such method: {path}")
        call = Call(route.method, metadata, deadline_s, parent=CURRENT.get())
        if call.parent is not None:
            call.caller = call.parent.caller
            call.deadline_s = _sooner(deadline_s, call.parent.deadline_s)
        return route, call

    async def _arrive(self, route: Route, call: Call, request: betterproto2.Message) -> betterproto2.Message:
        try:
            return route.arrive(call, codec.to_wire(request))
        except StigmerError as error:
            await route.refuse(call, error)
            raise


class EdgeCodec(CodecBase):
    """grpclib's codec for `Edge.handlers`: requests stay as the C runtime parsed them, replies may be bytes already."""

    @property
    def __content_subtype__(self) -> str:
        return "proto"

    def encode(self, message: Reply, message_type: type[betterproto2.Message]) -> bytes:
        """The bytes to send."""
        del message_type  # the handlers are the project's own
        return message.data if isinstance(message, codec.Encoded) else codec.encode(message)

    def decode(self, data: bytes, message_type: type[betterproto2.Message]) -> Message:
        """The request; raises InvalidArgument where the bytes are no such message."""
        return codec.parse(message_type, data)


class _Mapped:
    """What grpclib takes for a service."""

    def __init__(self, mapping: Mapping[str, Handler]) -> None:
        self._mapping = dict(mapping)

    def __mapping__(self) -> dict[str, Handler]:
        return self._mapping


# Chains.


def _unary_chain(interceptors: Sequence[Interceptor], end: UnaryNext) -> UnaryNext:
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


def _relaying(proceed: UnaryNext) -> UnaryNext:
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
    return Relayed(Code(error.status.value), error.message or "", error.details or ())


async def _refusal(_call: Call, error: StigmerError) -> Reply:
    raise error


# Arrival.


def _call_of(stream: Stream[Any, Any], method: Method) -> Call:
    deadline = deadline_of(stream)
    deadline_s = time.monotonic() + deadline.time_remaining() if deadline is not None else None
    return Call(method, stream.metadata or MultiDict(), deadline_s, _peer(stream))


def _peer(stream: Stream[Any, Any]) -> str:
    address = stream.peer.addr()
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address or "")


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _stripper(_name: str, method: Method) -> Callable[[Message], None]:
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


async def _pump(stream: Stream[Any, Any], route: Route, call: Call, request: betterproto2.Message) -> None:
    """Send what the handler gives, until the deadline passes, the reader's slowness included."""
    scope = asyncio.timeout(None) if call.deadline_s is None else until(call.deadline_s)
    try:
        async with scope, aclosing(route.stream(call, request)) as replies:
            async for reply in replies:
                await stream.send_message(reply)
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed before the stream ended") from None


# Errors.


class _as_status:  # noqa: N801 - a context manager, used like a function
    """Raise a failure as the gRPC status that it is."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, StigmerError):
            raise GRPCError(Status(int(error.code)), error.message, list(error.details) or None) from error


def _with_encodings(func: Callable[[Stream[Any, Any]], Awaitable[None]]) -> Callable[[Stream[Any, Any]], Awaitable[None]]:
    """Tell a caller that compressed its request what is taken."""

    async def serve(stream: Stream[Any, Any]) -> None:
        try:
            await func(stream)
        except GRPCError as error:
            if not isinstance(error.__cause__, CompressionUnsupported):
                raise
            accepted = {"grpc-accept-encoding": "identity"}
            await stream.send_trailing_metadata(status=error.status, status_message=error.message, metadata=accepted)

    return serve
