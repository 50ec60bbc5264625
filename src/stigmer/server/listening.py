"""What listens: a server of a door's services, beside them health and reflection, as the settings say.

`app` enters it for each port; importing this module brings HTTP/2 along.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Protocol

from stigmer.access.threads import on_thread
from stigmer.server import health, reflection, tls
from stigmer.server.limits import Limits
from stigmer.server.server import Server
from stigmer.telemetry.logs import get_logger
from stigmer.wire import descriptors

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from grpclib._typing import IServable

    from stigmer.access.gate import Gate
    from stigmer.server.server import Calls
    from stigmer.settings import Settings

log = get_logger("stigmer.server")


class Services(Protocol):
    """Where the services come from: `edge.network.Network`."""

    @property
    def gate(self) -> Gate:
        """Knows who calls."""
        ...

    @property
    def running(self) -> Calls:
        """The calls that come by the server."""
        ...

    def handlers(self) -> list[IServable]:
        """The kinds' services."""
        ...

    def intercepted(self, servable: IServable, /) -> IServable:
        """Another service, behind the same interceptors."""
        ...


@asynccontextmanager
async def listening(
    source: Services,
    settings: Settings,
    probe: Callable[[], Awaitable[None]],
    *,
    refused: Callable[[str, str, str], None],
) -> AsyncGenerator[Server]:
    """A server that listens as the settings say: the source's services, health by the probe, reflection.

    Raises:
        StartupError: a TLS file cannot be read, an address not bound, or other machines could reach one and must not.
    """
    others = settings.certificates_file is not None and len(source.gate.takes) > 1  # ways to show who one is
    security = await on_thread(lambda: _security(settings, required=not others))
    _warn_of(settings)
    names = sorted({method.service for method in descriptors.methods().values()})
    async with health.Monitor(probe, names) as monitor:
        standard: list[IServable] = [monitor, *reflection.services([*names, health.NAME])]
        server = Server(
            [*source.handlers(), *map(source.intercepted, standard)],
            listen=settings.addresses,
            ssl=security,
            only_here=_only_here(settings, asks=source.gate.asks),
            limits=Limits(**settings.model_dump(include={field.name for field in fields(Limits)})),
            calls=source.running,
            draining=monitor.drain,
            gate=source.gate,
            refused=refused,
        )
        async with server:
            listen, call = ",".join(map(str, server.addresses)), settings.how_to_call(server.addresses[0])
            log.info("stigmer serves", listen=listen, data_dir=str(settings.data_dir), call=call)
            yield server


def _only_here(settings: Settings, *, asks: bool) -> str | None:
    """Why other machines must not reach the server, and what to do about that; None where they may.

    Args:
        settings: those of the server.
        asks: whether it asks callers for credentials.
    """
    if not asks and not settings.insecure_allow_anonymous:
        return (
            "nobody is asked who they are: set tokens_file, jwt_issuer or certificates_file, "
            "listen on 127.0.0.1 or unix:PATH, or accept it with insecure_allow_anonymous"
        )
    if asks and settings.tls_cert is None and not settings.insecure_allow_plaintext:
        return (
            "credentials would cross the network in clear: set tls_cert and tls_key, "
            "listen on 127.0.0.1 or unix:PATH, or accept it with insecure_allow_plaintext"
        )
    return None


def _warn_of(settings: Settings) -> None:
    if settings.insecure_allow_plaintext:
        log.warning("insecure_allow_plaintext is set: credentials may cross the network in clear")
    if settings.insecure_allow_anonymous:
        log.warning(
            "insecure_allow_anonymous is set: where no credentials are asked for, whoever calls may do anything"
        )


def _security(settings: Settings, *, required: bool) -> ssl.SSLContext | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return tls.server_context(settings.tls_cert, settings.tls_key, settings.tls_client_ca, required=required)
