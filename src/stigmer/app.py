"""The composition root: wires everything, decides nothing."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer import codec, descriptors, reflection, validation
from stigmer.downstream import AgentClient, AgentInstanceClient, SessionClient
from stigmer.edge import Edge, EdgeCodec
from stigmer.handlers import HANDLERS
from stigmer.health import NAME as HEALTH
from stigmer.health import Monitor
from stigmer.ids import IdSource
from stigmer.lifetime import on_thread
from stigmer.logs import get_logger
from stigmer.loopback import LoopbackChannel
from stigmer.runtime import Downstream, Runtime, Sizes
from stigmer.server import Server, stop_signals
from stigmer.store.sqlite import SqliteStore
from stigmer.transport import tls
from stigmer.transport.connection import printed
from stigmer.transport.limits import Limits
from stigmer.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Sequence

    from grpclib._typing import IServable

    from stigmer.interceptors import Interceptor
    from stigmer.settings import Settings
    from stigmer.store.base import Store

log = get_logger("stigmer.app")


@dataclass(frozen=True)
class App:
    """A control plane that runs, with no port yet.

    Attributes:
        store: its resources.
        edge: the door to its services.
        loopback: a channel for generated stubs in this process.
        unit_of_work: runs the calls; wait for it to be `settled` before the store is closed.
    """

    store: Store
    edge: Edge
    loopback: LoopbackChannel
    unit_of_work: UnitOfWork


def assemble(store: Store, interceptors: Sequence[Interceptor] = (), sizes: Sizes | None = None) -> App:
    """Wire the services on a store; `interceptors` are the host's own, next to the handlers."""
    ids, downstream = IdSource(), Downstream()
    kinds = {handler.kind.name: handler.kind for handler in HANDLERS}
    runtime = Runtime(store, UnitOfWork(store), kinds, ids, downstream, sizes or Sizes())
    edge = Edge((service for handler in HANDLERS for service in handler.bind(runtime)), ids, interceptors)
    channel = LoopbackChannel(edge)
    downstream.clients["Agent"] = AgentClient(channel)
    downstream.clients["AgentInstance"] = AgentInstanceClient(channel)
    downstream.clients["Session"] = SessionClient(channel)
    return App(store, edge, channel, runtime.unit_of_work)


@asynccontextmanager
async def running(settings: Settings, interceptors: Sequence[Interceptor] = ()) -> AsyncGenerator[App]:
    """A control plane on the settings' data directory.

    Raises:
        StartupError: the database cannot be opened.
    """
    store = SqliteStore(settings.data_dir, max_subscriptions=settings.max_subscriptions)
    async with store:
        app = assemble(store, interceptors, Sizes(settings.max_message_parts, settings.max_message_bytes))
        try:
            yield app
        finally:
            await app.unit_of_work.settled()


@asynccontextmanager
async def listening(
    settings: Settings, interceptors: Sequence[Interceptor] = ()
) -> AsyncGenerator[tuple[Server, Monitor]]:
    """A control plane with its port: the kinds' services, health and reflection.

    Raises:
        StartupError: the database cannot be opened, a TLS file not read, or the address not bound.
    """
    async with AsyncExitStack() as stack:
        security = await on_thread(lambda _: _security(settings), undo=lambda _: None)
        app = await stack.enter_async_context(running(settings, interceptors))
        _warm_up()
        names = sorted({method.service for method in descriptors.methods().values()})
        monitor = await stack.enter_async_context(Monitor(app.store.probe, names))
        server = Server(
            [*app.edge.handlers(), *(app.edge.foreign(one) for one in _standard(monitor, names))],
            host=settings.host,
            port=settings.port,
            ssl=security,
            codec=EdgeCodec(),
            limits=_limits(settings),
            calls=app.edge.calls,
        )
        yield await stack.enter_async_context(server), monitor


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; also where the signal came before there was anything to drain.

    Raises:
        StartupError: see `listening`.
    """
    with stop_signals() as stop:
        if not settings.is_local:
            log.warning("Listening beyond this machine with no authentication: whoever reaches it may do anything")
        async with listening(settings) as (server, monitor):
            gc.collect()
            gc.freeze()  # what is there now stays: the collector need not look at it again
            address, how = printed(server.address), settings.how_to_call(server.address[1])
            log.info("stigmer serves", listen=address, data_dir=str(settings.data_dir), call=how)
            left = await server.serve_until_signal(stop, settings.grace_s, draining=monitor.drain)
            log.info("stigmer stops", cancelled_calls=left)


def _standard(monitor: Monitor, names: list[str]) -> list[IServable]:
    """The services that every gRPC server has."""
    return [monitor, *reflection.services([*names, HEALTH], descriptors.POOL)]


def _security(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return tls.server_context(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_message_bytes=settings.max_message_bytes,
        max_streams=settings.max_streams,
        keepalive_s=settings.keepalive_s,
        keepalive_timeout_s=settings.keepalive_timeout_s,
    )


def _warm_up() -> None:
    """Build what the first calls would else wait for."""
    codec.warm_up(descriptors.message_names())
    validation.warm_up({method.request for method in descriptors.methods().values()})
