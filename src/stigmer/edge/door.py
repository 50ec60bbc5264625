"""The one door: every call, from the network or the loopback, passes one interceptor chain on its way to one handler.

The network and the loopback differ only in how a message comes in. grpclib's errors are raised here and nowhere else.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import aclosing
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from grpclib import const
from grpclib.exceptions import GRPCError

from stigmer.access.credentials import NOBODY, Credentials, Identity
from stigmer.access.gate import Gate
from stigmer.access.rules import decision_of
from stigmer.edge.chain import Exchange, Route, of_ring, unary_chain
from stigmer.edge.incoming import incoming
from stigmer.edge.interceptors.built_in import BuiltIn
from stigmer.edge.interceptors.deadline import within
from stigmer.edge.interceptors.error_mapping import mapped
from stigmer.edge.interceptors.tracing import NOTHING
from stigmer.edge.loopback import LoopbackChannel
from stigmer.edge.recheck import Recheck
from stigmer.edge.running import RunningCalls
from stigmer.errors import DeadlineExceeded, InvalidArgument, StigmerError, Unauthenticated, Unimplemented
from stigmer.pipeline.call import CURRENT, Call, working_on
from stigmer.pipeline.context import decoded
from stigmer.wire import codec
from stigmer.wire.descriptors import Method
from stigmer.wire.status_details import details_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

    import betterproto2
    from google.protobuf.message import Message
    from grpclib._typing import IServable
    from grpclib.server import Stream

    from stigmer.access.principal import Principal
    from stigmer.edge.incoming import Incoming
    from stigmer.edge.interceptors import Interceptor
    from stigmer.pipeline.call import Terms
    from stigmer.pipeline.context import Reply
    from stigmer.pipeline.ids import IdSource
    from stigmer.pipeline.pipeline import Endpoint


class Edge:
    """The door to the kinds' services.

    Args:
        endpoints: the kinds' RPCs, bound to a runtime.
        ids: names calls.
        interceptors: the host's own, within the built-in ones; those around a run within the transaction as well.
        gate: knows who calls; None lets those in that are on this machine.
        observe: told of each call that ended; see `BuiltIn`.

    Raises:
        TypeError: the protos do not say of a method who may call it.

    Attributes:
        decisions: who may call each method, by its path.
        gate: for a server that asks it before the calls come here.
        running: the calls of the network; for the server's drain.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        ids: IdSource,
        interceptors: Sequence[Interceptor] = (),
        observe: Callable[[str, str, float], None] = lambda _method, _code, _duration_s: None,
        gate: Gate | None = None,
    ) -> None:
        self._built_in = ours = BuiltIn(ids, observe)
        self._own = of_ring("call", interceptors)
        by_path = {endpoint.method.path: endpoint for endpoint in endpoints}
        runtime = next(iter(by_path.values())).runtime
        self._store, self._quotas, self._trail = runtime.store, runtime.quotas, runtime.trail
        self._routes = {path: Route(endpoint, ours, interceptors) for path, endpoint in by_path.items()}
        self.decisions = {path: route.decision for path, route in self._routes.items()}
        self.gate = gate or Gate()
        self._recheck = Recheck(self.gate, self.decisions)
        self.running = RunningCalls(self._recheck)

    def __repr__(self) -> str:
        return f"<Edge {len(self._routes)} RPCs, {self.running!r}>"

    # From the network.

    def for_server(self) -> Edge:
        """The same door for one more server: the calls that come by it are its own, and end with it."""
        other = copy(self)
        other.running = RunningCalls(self._recheck)
        return other

    def handlers(self) -> list[IServable]:
        """What a grpclib server with `rpc.Codec` serves; requests stay bytes, which their routes parse in slices."""
        services: defaultdict[str, dict[str, const.Handler]] = defaultdict(dict)
        for path, route in self._routes.items():
            services[route.method.service][path] = self._served(route)
        return [_Mapped(served) for served in services.values()]

    def intercepted(self, servable: IServable) -> IServable:
        """A service that no kind declares, such as health, behind the same interceptors; they see no messages."""
        return _Mapped({path: self._served_raw(path, one) for path, one in servable.__mapping__().items()})

    def _served(self, route: Route) -> const.Handler:
        streams = route.method.server_streaming

        async def func(stream: Stream[Any, Any]) -> None:
            served = incoming(stream)
            call = self._call(served, route.method)
            call.room = served
            request = partial(self._receive, served, call)
            try:
                with _as_status(call), self.running.run(call):
                    if served.identity is None:
                        await self._identify(served, call)
                    if streams:
                        await _pump(served, route.stream(call, request), call)
                    else:
                        await route.unary(call, Exchange(request, served.send))
            finally:
                served.done()

        cardinality = const.Cardinality.UNARY_STREAM if streams else const.Cardinality.UNARY_UNARY
        return const.Handler(func, cardinality, bytes, route.reply)

    def _served_raw(self, path: str, handler: const.Handler) -> const.Handler:
        _, service, name = path.split("/")
        serve, cardinality, *types = cast("tuple[Any, ...]", handler)
        streaming = bool(cardinality.server_streaming)
        method = Method(path, service, name, "", "", streaming, None, None, is_public=False, skip_authorization=True)
        self.decisions[path] = decision = decision_of(method)

        async def func(stream: Stream[Any, Any]) -> None:
            call = self._call(incoming(stream), method)

            async def end(_call: Call, _request: object) -> Any:  # noqa: ANN401 - there is no reply to pass on
                if streaming:
                    self.running.refuse_if_draining()
                await serve(stream)

            chain = unary_chain(self._own, end)
            with _as_status(call), self.running.run(call), self._built_in.around(call):
                decision.check(call.principal)
                counts = self._quotas.limits and call.identity is not NOBODY
                with self._quotas.around(call.principal) if counts else NOTHING:
                    await within(call, partial(chain, call, None))

        return const.Handler(func, cardinality, *types)

    def _call(self, served: Incoming, method: Method) -> Call:
        """The call, current from now on: the task is its own."""
        call = Call(method, served.metadata, served.deadline_s, served.peer, self._store)
        call.identity = served.identity or NOBODY
        call.principal = call.identity.principal
        CURRENT.set(call)
        return call

    async def _identify(self, served: Incoming, call: Call) -> None:
        """Ask who calls, before any of the request is read; a call that is refused has its span and log line."""
        try:
            call.identity = await self.gate.admit(Credentials(served.metadata, served.client))
        except BaseException as error:
            if isinstance(error, Unauthenticated):
                self._trail.unauthenticated(call.method.path, served.client.address)
            with self._built_in.around(call):
                raise
        call.principal = call.identity.principal

    async def _receive(self, served: Incoming, call: Call) -> bytes:
        self.running.refuse_if_draining()
        data = await served.receive()
        self.running.refuse_if_draining()
        if data is None:
            raise InvalidArgument.of("", "the call has no request message")
        self._look_again(call)
        if not call.method.server_streaming:
            self.running.may_finish(call)
        await served.start()
        return data

    def _look_again(self, call: Call) -> None:
        """Refuse a call whose credential has ended, or lost its role, while the request came: it may take hours."""
        identity = call.identity or NOBODY
        principal = self.gate.still(identity)
        if isinstance(principal, StigmerError):
            raise principal
        if principal != call.principal:
            call.identity, call.principal = Identity(principal, identity.still), principal
            self.decisions[call.method.path].check(principal)

    # From the loopback.

    def channel(self, as_: Principal | None = None) -> LoopbackChannel:
        """A channel that generated stubs accept, whose calls stay in this process.

        Args:
            as_: who calls. Without one it is the caller of the call within which a call is made, else `local`.
        """
        return LoopbackChannel(self, as_)

    async def unary(self, path: str, request: betterproto2.Message, terms: Terms) -> betterproto2.Message:
        """A call made in this process; the caller's message is not touched, and the reply is its own.

        Raises:
            GRPCError: as over the network.
        """
        route, call = self._local(path, request, terms)
        with _as_status(call):
            if call.parent is not None:
                return await self._answer(route, call, request)
            self.running.refuse_if_draining()
            with self.running.run(call):
                self.running.may_finish(call)
                return await self._answer(route, call, request)

    async def _answer(self, route: Route, call: Call, request: betterproto2.Message) -> betterproto2.Message:
        with working_on(call):
            return decoded(await route.unary(call, Exchange(partial(_converted, request), _returned)))

    async def stream(
        self, path: str, request: betterproto2.Message, terms: Terms
    ) -> AsyncGenerator[betterproto2.Message, None]:
        """A streaming call made in this process.

        Raises:
            GRPCError: as over the network.
        """
        route, call = self._local(path, request, terms)
        with _as_status(call):
            async with aclosing(route.stream(call, partial(_converted, request))) as replies:
                while True:
                    with working_on(call):  # not across the yield: the reader has the context then
                        reply = await anext(replies, None)
                    if reply is None:
                        return
                    yield decoded(reply)

    def _local(self, path: str, request: betterproto2.Message, terms: Terms) -> tuple[Route, Call]:
        route = self._routes.get(path)
        if route is None:
            raise _status(Unimplemented(f"unknown method {path}"))
        if not isinstance(request, route.request):
            raise TypeError(f"{path} wants {route.request.__qualname__}, not {type(request).__qualname__}")
        return route, Call.within(CURRENT.get(), self._store, route.method, terms)


class _Mapped:
    """What grpclib takes for a service."""

    def __init__(self, mapping: Mapping[str, const.Handler]) -> None:
        self._mapping = mapping

    def __mapping__(self) -> Mapping[str, const.Handler]:
        return self._mapping


async def _converted(request: betterproto2.Message) -> Message:
    """A wire message of its own, so that the caller's is never touched."""
    return codec.to_wire(request)


async def _returned(_reply: Reply) -> None:
    """Where a reply goes whose caller gets what the chain returns."""


async def _pump(served: Incoming, work: AsyncGenerator[Reply, None], call: Call) -> None:
    """Send what the handler gives, until the deadline passes, the reader's slowness included."""
    limit = None if call.deadline_s is None else max(0.0, call.deadline_s - time.monotonic())
    try:
        async with NOTHING if limit is None else asyncio.timeout(limit), aclosing(work) as replies:
            async for reply in replies:
                await served.send(reply)
                del reply  # it may be long until the next
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed before the stream ended") from None


class _as_status:  # noqa: N801 - a context manager, used like a function
    """Raise a failure as the gRPC status that it is; also one of the interceptors themselves, unforeseen."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, StigmerError):
            raise _status(error) from error
        if isinstance(error, Exception):
            raise _status(mapped(error, self._call)) from error


def _status(error: StigmerError) -> GRPCError:
    return GRPCError(const.Status(int(error.code)), error.message, list(details_of(error)) or None)
