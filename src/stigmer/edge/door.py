"""The one door: every call, from the network or the loopback, passes one interceptor chain on its way to one handler.

The network (`network`) and the loopback differ only in how a message comes in. grpclib's errors are raised here and
nowhere else.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from grpclib import const
from grpclib.exceptions import GRPCError

from stigmer.access.gate import Gate
from stigmer.edge.chain import Exchange, Route, of_ring
from stigmer.edge.interceptors.built_in import BuiltIn
from stigmer.edge.interceptors.error_mapping import mapped
from stigmer.edge.loopback import LoopbackChannel
from stigmer.edge.recheck import Recheck
from stigmer.edge.running import RunningCalls
from stigmer.errors import StigmerError, Unimplemented
from stigmer.pipeline.call import CURRENT, Call, working_on
from stigmer.pipeline.context import decoded
from stigmer.wire import codec
from stigmer.wire.status_details import details_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    import betterproto2
    from google.protobuf.message import Message

    from stigmer.access.principal import Principal
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
        built_in: the interceptors around each call.
        own: the host's own around a call.
        runtime: what the endpoints are bound to.
        routes: the RPCs, by their paths.
        decisions: who may call each method, by its path.
        gate: knows who calls.
        recheck: looks at open streams again.
        running: the calls that end with the door, those of this process among them.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        ids: IdSource,
        interceptors: Sequence[Interceptor] = (),
        observe: Callable[[str, str, float], None] = lambda _method, _code, _duration_s: None,
        gate: Gate | None = None,
    ) -> None:
        self.built_in, self.own = BuiltIn(ids, observe), of_ring("call", interceptors)
        by_path = {endpoint.method.path: endpoint for endpoint in endpoints}
        self.runtime = next(iter(by_path.values())).runtime
        self.routes = {path: Route(endpoint, self.built_in, interceptors) for path, endpoint in by_path.items()}
        self.decisions = {path: route.decision for path, route in self.routes.items()}
        self.gate = gate or Gate()
        self.recheck = Recheck(self.gate, self.decisions)
        self.running = RunningCalls(self.recheck)

    def __repr__(self) -> str:
        return f"<Edge {len(self.routes)} RPCs, {self.running!r}>"

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
        with as_status(call):
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
        with as_status(call):
            async with aclosing(route.stream(call, partial(_converted, request))) as replies:
                while True:
                    with working_on(call):  # not across the yield: the reader has the context then
                        reply = await anext(replies, None)
                    if reply is None:
                        return
                    yield decoded(reply)

    def _local(self, path: str, request: betterproto2.Message, terms: Terms) -> tuple[Route, Call]:
        route = self.routes.get(path)
        if route is None:
            raise _status(Unimplemented(f"unknown method {path}"))
        if not isinstance(request, route.request):
            raise TypeError(f"{path} wants {route.request.__qualname__}, not {type(request).__qualname__}")
        return route, Call.within(CURRENT.get(), self.runtime.store, route.method, terms)


async def _converted(request: betterproto2.Message) -> Message:
    """A wire message of its own, so that the caller's is never touched."""
    return codec.to_wire(request)


async def _returned(_reply: Reply) -> None:
    """Where a reply goes whose caller gets what the chain returns."""


class as_status:  # noqa: N801 - a context manager, used like a function
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
