"""The calls of a network, on their way through the door: what a server serves, stigmer's own or a host's.

`server` has asked who calls when the headers came; of a host's own server it is asked here.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from grpclib import const

from stigmer.access.credentials import NOBODY, Credentials, Identity
from stigmer.access.rules import decision_of
from stigmer.edge.chain import Exchange, unary_chain
from stigmer.edge.door import as_status
from stigmer.edge.incoming import incoming
from stigmer.edge.interceptors.deadline import within
from stigmer.edge.interceptors.tracing import NOTHING
from stigmer.edge.running import RunningCalls
from stigmer.errors import DeadlineExceeded, InvalidArgument, StigmerError, Unauthenticated
from stigmer.pipeline.call import CURRENT, Call
from stigmer.wire.descriptors import Method

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from grpclib._typing import IServable
    from grpclib.server import Stream

    from stigmer.edge.chain import Route
    from stigmer.edge.door import Edge
    from stigmer.edge.incoming import Incoming
    from stigmer.pipeline.context import Reply


class Network:
    """The way in for the calls of one server.

    Args:
        edge: the door.
        running: the calls that end together; this server's own where None.

    Attributes:
        gate: the door's, for a server that asks it before the calls come here.
        running: for the server's drain.
    """

    def __init__(self, edge: Edge, running: RunningCalls | None = None) -> None:
        self._edge, self.gate = edge, edge.gate
        self.running = running or RunningCalls(edge.recheck)

    def __repr__(self) -> str:
        return f"<Network to {self._edge!r}, {self.running!r}>"

    def handlers(self) -> list[IServable]:
        """What a grpclib server with `rpc.Codec` serves; requests stay bytes, which their routes parse in slices."""
        services: defaultdict[str, dict[str, const.Handler]] = defaultdict(dict)
        for path, route in self._edge.routes.items():
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
                with as_status(call), self.running.run(call):
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
        self._edge.decisions[path] = decision = decision_of(method)

        async def func(stream: Stream[Any, Any]) -> None:
            call = self._call(incoming(stream), method)

            async def end(_call: Call, _request: object) -> Any:  # noqa: ANN401 - there is no reply to pass on
                if streaming:
                    self.running.refuse_if_draining()
                await serve(stream)

            chain = unary_chain(self._edge.own, end)
            with as_status(call), self.running.run(call), self._edge.built_in.around(call):
                decision.check(call.principal)
                counts = self._edge.runtime.quotas.limits and call.identity is not NOBODY
                with self._edge.runtime.quotas.around(call.principal) if counts else NOTHING:
                    await within(call, partial(chain, call, None))

        return const.Handler(func, cardinality, *types)

    def _call(self, served: Incoming, method: Method) -> Call:
        """The call, current from now on: the task is its own."""
        call = Call(method, served.metadata, served.deadline_s, served.peer, self._edge.runtime.store)
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
                self._edge.runtime.trail.unauthenticated(call.method.path, served.client.address)
            with self._edge.built_in.around(call):
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
            self._edge.decisions[call.method.path].check(principal)


class _Mapped:
    """What grpclib takes for a service."""

    def __init__(self, mapping: Mapping[str, const.Handler]) -> None:
        self._mapping = mapping

    def __mapping__(self) -> Mapping[str, const.Handler]:
        return self._mapping


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
