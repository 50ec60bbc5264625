"""The composition root: wires everything, decides nothing."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from stigmer import reflection
from stigmer.downstream import ResourceClient, SessionClient
from stigmer.edge.door import Edge
from stigmer.handlers import HANDLERS
from stigmer.health import NAME as HEALTH
from stigmer.health import Monitor
from stigmer.pipeline import rules
from stigmer.pipeline.call import INTERNAL
from stigmer.pipeline.ids import IdSource
from stigmer.pipeline.runtime import Downstream, Runtime, Sizes
from stigmer.pipeline.unit_of_work import UnitOfWork
from stigmer.server import Server, stop_signals
from stigmer.store.errors import StoreUnavailableError
from stigmer.store.lifetime import Grace, on_thread, outlast
from stigmer.store.sqlite import SqliteStore
from stigmer.telemetry.logs import get_logger
from stigmer.transport import tls
from stigmer.transport.connection import printed
from stigmer.transport.limits import Limits
from stigmer.wire import codec, descriptors

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Coroutine, Sequence

    from grpclib._typing import IServable

    from stigmer.edge.interceptors import Interceptor
    from stigmer.edge.loopback import LoopbackChannel
    from stigmer.settings import Settings
    from stigmer.store.contract import Store

T = TypeVar("T")

EXIT_S = 0.1
"""Of the grace, or a twentieth of it where that is less: for the process to end."""
STORE_S = 1.0
"""Of the grace, or an eighth of it where that is less: for the store to close."""

log = get_logger("stigmer.app")

GC_THRESHOLDS = (2_000, 10, 500)
"""How seldom the collector looks at all objects: with 8,000 calls open it takes a second, and finds nothing.

Calls and connections leave no cycles behind, so that their memory does not wait for it.
"""
SWITCH_S = 0.0005
"""How long a thread of the store waits until a busy loop gives Python's lock up, which it needs for each row."""

_M_MMAP_THRESHOLD = -3  # of mallopt: see malloc.h
_LARGE_BYTES = 256 * 1024


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
    edge = Edge((endpoint for handler in HANDLERS for endpoint in handler.bind(runtime)), ids, interceptors)
    internal = edge.channel(INTERNAL)
    downstream.clients["Session"] = SessionClient(internal)
    for kind in ("Agent", "AgentInstance"):
        downstream.clients[kind] = ResourceClient[Any](kind, internal)
    return App(store, edge, edge.channel(), runtime.unit_of_work)


@asynccontextmanager
async def running(
    settings: Settings, interceptors: Sequence[Interceptor] = (), *, grace: Grace | None = None
) -> AsyncGenerator[App]:
    """A control plane on the settings' data directory.

    Args:
        settings: the directory and the limits; it may take `grace_s` to end, whatever the disk does.
        interceptors: the host's own.
        grace: in place of `grace_s`, where the end begins with something else.

    Raises:
        StartupError: the database cannot be opened.
        StoreUnavailableError: at the end; see `SqliteStore`.
    """
    grace = grace or Grace(settings.grace_s)
    store = SqliteStore(settings.data_dir, max_subscriptions=settings.max_subscriptions, grace=grace)
    async with store:
        sizes = Sizes(settings.max_message_parts, settings.max_message_bytes, settings.max_resource_bytes)
        app = assemble(store, interceptors, sizes)
        try:
            yield app
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace.left_s() / 2):  # the store is to close in the other half
                    await app.unit_of_work.settled()


@asynccontextmanager
async def listening(
    settings: Settings, interceptors: Sequence[Interceptor] = (), *, grace: Grace | None = None
) -> AsyncGenerator[tuple[Server, Monitor]]:
    """A control plane with its port: the kinds' services, health and reflection; arguments and end as of `running`.

    Raises:
        StartupError: the database cannot be opened, a TLS file not read, or the address not bound.
    """
    async with AsyncExitStack() as stack:
        security = await on_thread(lambda _: _security(settings), undo=lambda _: None)
        app = await stack.enter_async_context(running(settings, interceptors, grace=grace))
        _warm_up()
        names = sorted({method.service for method in descriptors.methods().values()})
        monitor = await stack.enter_async_context(Monitor(app.store.probe, names))
        server = Server(
            [*app.edge.handlers(), *(app.edge.intercepted(one) for one in _standard(monitor, names))],
            host=settings.host,
            port=settings.port,
            ssl=security,
            limits=_limits(settings),
            calls=app.edge.calls,
        )
        yield await stack.enter_async_context(server), monitor


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; also where the signal came before there was anything to drain.

    Raises:
        StartupError: see `listening`.
        StoreUnavailableError: the grace is over and the disk does not answer.
    """
    grace = Grace(settings.grace_s - min(EXIT_S, settings.grace_s / 20))
    with stop_signals() as stop:
        if not settings.is_local:
            log.warning("Listening beyond this machine with no authentication: whoever reaches it may do anything")
        async with AsyncExitStack() as stack:
            plane = await _started(stack.enter_async_context(listening(settings, grace=grace)), stop, grace)
            if plane is not None:
                await _serve(*plane, settings, stop, grace)


async def _started(starting: Coroutine[Any, Any, T], stop: asyncio.Future[int], grace: Grace) -> T | None:
    """What starts; after a signal it has half of the grace to come so far, then it is given up: None.

    Raises:
        StoreUnavailableError: it does not even end, because the disk does not answer.
    """
    start, over = asyncio.ensure_future(starting), asyncio.Event()
    start.add_done_callback(lambda _: over.set())
    try:
        await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            await asyncio.wait((start,), timeout=grace.left_s() / 2)
    finally:
        if not start.done():
            start.cancel()
            await outlast(over, grace.closing_s())
    if not start.done():
        raise StoreUnavailableError("the start was given up, and the disk does not answer")
    if start.cancelled():
        log.info("stigmer stops before it serves")
        return None
    return start.result()


async def _serve(server: Server, monitor: Monitor, settings: Settings, stop: asyncio.Future[int], grace: Grace) -> None:
    gc.collect()
    gc.freeze()  # what is there now stays: the collector need not look at it again
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)
    _return_memory()
    address, how = printed(server.address), settings.how_to_call(server.address[1])
    log.info("stigmer serves", listen=address, data_dir=str(settings.data_dir), call=how)

    def draining() -> None:
        grace.left_s()  # it begins
        monitor.drain()

    grace_s = grace.left_s() if stop.done() else grace.total_s
    left = await server.serve_until_signal(stop, grace_s - min(STORE_S, grace_s / 8), draining=draining)
    log.info("stigmer stops", cancelled_calls=left)


def _standard(monitor: Monitor, names: list[str]) -> list[IServable]:
    """The services that every gRPC server has."""
    return [monitor, *reflection.services([*names, HEALTH])]


def _security(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return tls.server_context(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


def _limits(settings: Settings) -> Limits:
    return Limits(**settings.model_dump(include={field.name for field in fields(Limits)}))


def _return_memory() -> None:
    """Have large blocks returned to the system when they are freed; glibc would soon keep them for the next ones."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def _warm_up() -> None:
    """Build what the first calls would else wait for."""
    codec.warm_up(descriptors.message_names())
    rules.warm_up({method.request for method in descriptors.methods().values()})
