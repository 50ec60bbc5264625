"""`stigmer health`: the standard gRPC health check, for people and for a container's HEALTHCHECK."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from stigmer.address import UnixAddress, address_of
from stigmer.cli import INTERRUPTED, interrupts_raise
from stigmer.cli.flags import loaded
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from stigmer.address import Address
    from stigmer.settings import Settings

_STATUS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVING = 1


def health(  # noqa: PLR0913  # one flag each
    *,
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Server to ask. [the one that the settings describe]")
    ] = None,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="TOML file with the server's settings.")] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM file of the authorities to trust; turns TLS on.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file of the client's certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file of its private key.")] = None,
    timeout_s: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How long to wait.")] = 3.0,
) -> None:
    """Ask a running server whether it serves.

    Prints SERVING and exits with 0, or says why not and exits with 1. Without --address it asks the server that this
    environment's settings describe, at the first of its addresses, over TLS if they say so, trusting the very
    certificate that they name.
    """
    settings = loaded(config=config) if address is None else None
    target = settings.addresses[0].dialled if settings else _target(str(address))
    context = None if isinstance(target, UnixAddress) else _tls(settings, tls_ca, tls_cert, tls_key)
    interrupts_raise()
    try:
        status = asyncio.run(_check(target, context, timeout_s))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if status != _SERVING:
        raise StartupError(f"{target}: {_STATUS.get(status, status)}")
    typer.echo(_STATUS[status])


def _tls(settings: Settings | None, ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """The client's side of TLS; None for plain text. Raises StartupError for files that cannot be used."""
    pinned = settings.tls_cert if settings and ca is None else None
    if ca is None and pinned is None and cert is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca or pinned)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as error:  # ssl.SSLError is one
        raise StartupError(f"--tls-ca, --tls-cert or --tls-key: {error}; give PEM files that belong together") from None
    if pinned is not None:  # our own server's certificate, dialled by whatever address
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    return context


def _target(address: str) -> Address:
    try:
        return address_of(address)
    except ValueError as error:
        raise StartupError(f"--address: {address!r}: {error}") from None


async def _check(target: Address, context: ssl.SSLContext | None, timeout_s: float) -> int:
    """The status number that the server answers. Raises StartupError where no answer comes."""
    try:
        async with asyncio.timeout(timeout_s):
            if isinstance(target, UnixAddress):
                return await _ask(Channel(path=target.path))
            return await _ask(Channel(target.host, target.port, ssl=context))
    except TimeoutError:
        raise StartupError(f"{target}: no answer within {timeout_s:g} s") from None
    except ssl.SSLError as error:
        raise StartupError(f"{target}: TLS failed ({error}); check --tls-ca, --tls-cert and --tls-key") from None
    except OSError as error:
        raise StartupError(f"{target}: {_reason(error)}; start a server with `stigmer serve`") from None
    except GRPCError as error:
        raise StartupError(f"{target}: {error.status.name}: {error.message or 'no message'}") from None
    except (StreamTerminatedError, ProtocolError) as error:
        wanted = "TLS (--tls-ca)" if context is None else "a client certificate (--tls-cert, --tls-key)"
        raise StartupError(f"{target}: {error}; is it a gRPC server, and does it want {wanted}?") from None


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


async def _ask(channel: Channel) -> int:
    """One Check of the whole server.

    The messages have one field each, number 1: a wrapper of the same type is the same on the wire, and registers no
    second copy of the health package in this process.
    """
    async with channel:
        check = UnaryUnaryMethod(channel, "/grpc.health.v1.Health/Check", StringValue, Int32Value)
        reply = await check(StringValue())
        _hang_up(channel)
        return int(reply.value)


def _hang_up(channel: Channel) -> None:
    """Drop the connection at once: over TLS grpclib's close leaves a farewell behind that nobody would wait for."""
    protocol = channel._protocol  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public way to the transport
    if protocol is not None:
        protocol.connection._transport.abort()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as above
