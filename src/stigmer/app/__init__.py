"""The composition root: a plane, its store, its ports, its end. `assembly` wires the services on a store.

It decides nothing. `stigmer` re-exports what hosts need of it.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Self

from stigmer.access import setup
from stigmer.access.gate import Gate
from stigmer.access.principal import checked
from stigmer.access.quotas import Quota
from stigmer.access.threads import on_thread
from stigmer.address import address_of
from stigmer.app.assembly import Own, assemble
from stigmer.app.background import Background
from stigmer.app.keys import keyring_path
from stigmer.client import Client
from stigmer.edge.network import Network
from stigmer.errors import Code
from stigmer.pipeline.first_sealing import seal_stored
from stigmer.pipeline.runtime import Sizes
from stigmer.secrets.key_service import ServiceKeys
from stigmer.secrets.keyring import Keyring
from stigmer.settings import Settings
from stigmer.store.lifetime import Grace
from stigmer.store.memory import MemoryStore
from stigmer.store.sqlite import SqliteStore
from stigmer.telemetry.exposition import exposing
from stigmer.telemetry.logs import get_logger
from stigmer.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from os import PathLike

    from grpclib._typing import IServable

    from stigmer.access.authorizer import Authorizer
    from stigmer.access.credentials import Authenticator
    from stigmer.access.principal import Principal
    from stigmer.edge.interceptors import Interceptor
    from stigmer.edge.loopback import LoopbackChannel
    from stigmer.secrets.key_service import KeyService
    from stigmer.server.server import Server

MEMORY = ":memory:"
"""In place of a data directory: everything is in this process, and gone when it ends."""
STORE_S = 1.0
"""Of the grace, or an eighth of it where that is less: for the store to close."""

log = get_logger("stigmer.app")


class Plane:
    """A control plane in this process: an async context manager, open while it is entered. `embedded` makes one.

    Args:
        settings: the data directory or MEMORY, the limits, and what `listen` takes where it is told nothing else.
        own: what its host adds.
        grace: for its end, in place of the settings' `grace_s`.

    Attributes:
        channel: for every stub of `stigmer.rpc`: a call on it stays in this process and passes the same interceptors as
            one from the network. A unary call made inside another one joins its transaction.
        client: the same as an object for each kind; nothing is repeated here, where no connection is lost.
        metrics: a prometheus_client registry of its own, to be mounted where the host likes.
    """

    def __init__(self, settings: Settings, own: Own | None = None, *, grace: Grace | None = None) -> None:
        own = own or Own()
        self._settings = settings
        self._grace = grace or Grace(settings.grace_s)
        self.metrics = Metrics()
        self._store = _store(settings, self._grace, self.metrics)
        sizes = Sizes(settings.max_message_parts, settings.max_message_bytes, settings.max_resource_bytes)
        self._authenticators = setup.authenticators(settings)
        gate = Gate([*own.authenticators, *self._authenticators], anonymous=settings.insecure_allow_anonymous)
        features = [*(["tls"] if settings.tls_cert else []), *(f"credentials: {sort}" for sort in gate.takes)]
        quota = Quota(
            settings.max_calls_per_principal,
            settings.max_subscriptions_per_principal,
            settings.max_writes_per_principal_s,
        )
        keys = ServiceKeys(own.key_service) if own.key_service is not None else _keyring(settings)
        self._app = assemble(
            self._store,
            own,
            sizes,
            self.metrics,
            keys=keys,
            gate=gate,
            quota=quota,
            features=features,
            context_ttl_s=settings.context_ttl,
        )
        self._background = Background(self._app.trail, self._app.expiry, settings, self._grace)
        self._resources = AsyncExitStack()
        self.channel = self._app.loopback
        self.client = Client(self.channel, max_retries=0)
        self._servers: set[Server] = set()
        self._state, self._closing = "new", asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Plane on {self._store!r}, {self._state}>"

    async def __aenter__(self) -> Self:
        """Open it.

        Raises:
            StartupError: the database, a file that the settings name or a key of the secrets cannot be opened.
            RuntimeError: it has been opened before; make another one.
        """
        if self._state != "new":
            raise RuntimeError(f"{self!r} cannot be opened again")
        async with AsyncExitStack() as opened:  # what is open is closed again where the rest cannot be opened
            for authenticator in self._authenticators:
                await opened.enter_async_context(authenticator)
            await opened.enter_async_context(self._store)
            await self._app.sealing.open()
            await seal_stored(self._app.sealing, self._app.older)
            await opened.enter_async_context(self._background)
            self._resources = opened.pop_all()
        self._state = "open"
        self.metrics.loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    @asynccontextmanager
    async def listen(self, address: str | None = None) -> AsyncGenerator[Server]:
        """Listen while the block runs: the kinds' services, health and reflection, with the settings' TLS and limits.

        On leaving it, open streams end at once, UNAVAILABLE, and running unary calls get the settings' `grace_s`.

        Args:
            address: HOST:PORT, [IPV6]:PORT or unix:PATH, a port of 0 takes a free one; the settings' own where None.

        Raises:
            ValueError: the address is none.
            StartupError: a TLS file cannot be read, or the address not bound.
        """
        settings = self._settings
        if address is not None:
            settings = settings.model_copy(update={"listen": (str(address_of(address)),)})
        async with self.port(settings, Grace(settings.grace_s)) as server:
            yield server

    def channel_as(self, principal: Principal) -> LoopbackChannel:
        """A channel as `channel`, whose calls are the principal's; those on `channel` itself are `local`'s.

        Raises:
            ValueError: its name is reserved or empty, or its role or an organization is none.
        """
        return self._app.edge.channel(as_=checked(principal))

    def services(self) -> list[IServable]:
        """The kinds' services, for a grpclib server of the host's own.

        Give that server `rpc.Codec()` and grpclib's ProtoStatusDetailsCodec(); it has none of stigmer's limits, nor
        compression. The calls that come by it end when the plane does.
        """
        return Network(self._app.edge, self._app.edge.running).handlers()

    async def close(self, grace_s: float | None = None) -> None:
        """End it, where that has not been done.

        Servers drain, open streams end, running calls may finish, then the database is closed.

        Args:
            grace_s: seconds that all of it may take, whatever clients and the disk do; the settings' own where None.

        Raises:
            StoreUnavailableError: the grace is over and the disk does not answer. Nothing acknowledged is lost.
        """
        async with self._closing:
            if self._state != "open":
                return
            if grace_s is not None:
                self._grace.total_s = grace_s
            async with self._resources:
                await self._settled()
            self._state = "closed"

    @asynccontextmanager
    async def port(self, settings: Settings, grace: Grace) -> AsyncGenerator[Server]:
        """As `listen` where the settings say, with as much grace for its end as is left, less what the store needs."""
        await on_thread(lambda: import_module("stigmer.server.listening"))  # it takes 0.1 s
        from stigmer.server.listening import listening  # noqa: PLC0415 - HTTP/2, not wanted without a port

        door = Network(self._app.edge)
        async with (
            listening(door, settings, self._store.probe, refused=self._refused) as server,
            self.metrics.of_port(server),
        ):
            self._servers.add(server)
            try:
                yield server
            finally:
                self._servers.discard(server)
                await _drained(server, grace)

    def _refused(self, code: str, path: str, address: str) -> None:
        """A call ended before any service saw it."""
        self.metrics.refused(code)
        if code == Code.UNAUTHENTICATED.name:
            self._app.trail.unauthenticated(path, address)

    async def _settled(self) -> None:
        """End what runs, within the part of the grace that the store does not need."""
        await asyncio.gather(*(_drained(server, self._grace) for server in self._servers))
        calls = self._app.edge.running
        calls.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace.left_s() / 2):  # the store is to close in the other half
                await calls.settled()
                await self._app.unit_of_work.settled()
        calls.cut()


def embedded(
    where: str | PathLike[str] | Settings,
    interceptors: Sequence[Interceptor] = (),
    *,
    authenticators: Sequence[Authenticator] = (),
    authorizer: Authorizer | None = None,
    key_service: KeyService | None = None,
) -> Plane:
    """A control plane in this process, to be entered with `async with`.

    Args:
        where: a data directory, made where it is missing, or ":memory:" to keep nothing when the plane is closed; or
            settings with all that can be set, whose data directory is one of both.
        interceptors: the host's own; they run inside the built-in ones.
        authenticators: the host's own; they are asked before those of the settings.
        authorizer: the host's own; it narrows what callers may do.
        key_service: the host's own; it wraps the keys of secrets, in place of a keyring in a file.

    Raises:
        ValueError: the headers of one of the authenticators are no tuple of names in lower case.
    """
    settings = where if isinstance(where, Settings) else Settings(data_dir=Path(where))
    return Plane(settings, Own(interceptors, authenticators, authorizer, key_service))


async def serve(
    settings: Settings,
    interceptors: Sequence[Interceptor] = (),
    *,
    authenticators: Sequence[Authenticator] = (),
    authorizer: Authorizer | None = None,
    key_service: KeyService | None = None,
) -> None:
    """Serve until this coroutine is cancelled, then drain within the settings' `grace_s`.

    It takes no signals and changes nothing of the process; the command line does both.

    Raises:
        StartupError: the database cannot be opened, a TLS file not read, or the address not bound.
        StoreUnavailableError: the grace is over and the disk does not answer.
    """
    async with serving(settings, Own(interceptors, authenticators, authorizer, key_service)):
        await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def serving(settings: Settings, own: Own | None = None, *, grace: Grace | None = None) -> AsyncGenerator[Server]:
    """A control plane that listens while the block runs; one grace for the end of both."""
    grace = grace or Grace(settings.grace_s)
    async with (
        Plane(settings, own, grace=grace) as plane,
        exposing(plane.metrics, settings.metrics),
        plane.port(settings, grace) as server,
    ):
        yield server


def _keyring(settings: Settings) -> Keyring:
    return Keyring(None if settings.data_dir.name == MEMORY else keyring_path(settings))


def _store(settings: Settings, grace: Grace, metrics: Metrics) -> MemoryStore | SqliteStore:
    most = settings.max_subscriptions
    if settings.data_dir.name == MEMORY:
        return MemoryStore(max_subscriptions=most, observe=metrics.commit)
    return SqliteStore(settings.data_dir, max_subscriptions=most, grace=grace, observe=metrics.commit)


async def _drained(server: Server, grace: Grace) -> None:
    """Drain the server where that has not been done, and leave the store its part of the grace."""
    if not server.is_drained:
        grace_s = grace.left_s()
        left = await server.drain(grace_s - min(STORE_S, grace_s / 8))
        log.info("stigmer stops", cancelled_calls=left)
