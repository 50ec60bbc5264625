"""`stigmer health`: the standard gRPC health check, for people and for a container's HEALTHCHECK."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from stigmer.cli import INTERRUPTED, interrupts_raise
from stigmer.cli.calling import Callee, on_server
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from stigmer.cli.target import Target

_STATUS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVING = 1


@on_server
def health(
    callee: Callee,
    *,
    timeout_s: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How long to wait.")] = 3.0,
) -> None:
    """Ask a running server whether it serves.

    Prints SERVING and exits with 0, or says why not and exits with 1. Without --server it asks the server that this
    environment's settings describe, at the first of its addresses, over TLS if they say so, trusting the very
    certificate that they name.
    """
    target = callee.target()
    interrupts_raise()
    try:
        status = asyncio.run(_check(target, timeout_s))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if status != _SERVING:
        raise StartupError(f"{target.address}: {_STATUS.get(status, status)}")
    typer.echo(_STATUS[status])


async def _check(target: Target, timeout_s: float) -> int:
    """The status number that the server answers. Raises StartupError where no answer comes.

    The messages have one field each, number 1: a wrapper of the same type is the same on the wire, and registers no
    second copy of the health package in this process.
    """
    from google.protobuf.wrappers_pb2 import Int32Value, StringValue  # noqa: PLC0415  # not for help
    from grpclib.client import UnaryUnaryMethod  # noqa: PLC0415  # as above

    try:
        async with asyncio.timeout(timeout_s), target.channel() as channel:
            check = UnaryUnaryMethod(channel, "/grpc.health.v1.Health/Check", StringValue, Int32Value)
            return int((await check(StringValue())).value)
    except TimeoutError:
        raise StartupError(f"{target.address}: no answer within {timeout_s:g} s") from None
