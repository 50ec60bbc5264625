"""The standard health service (grpc.health.v1), over a probe that is run again and again.

`app` gives the probe (the store answers), `listening` serves the monitor beside the kinds; `server` has it drain first.
grpclib's own `Health` is not used: it answers UNKNOWN until told otherwise, and fails on a call without a request.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Self

import anyio
from grpclib.const import Cardinality, Handler

from stigmer.errors import InvalidArgument, NotFound
from stigmer.telemetry.logs import get_logger
from stigmer.wire.descriptors import message_class

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType

    from google.protobuf.message import Message
    from grpclib.server import Stream

log = get_logger("stigmer.server.health")

NAME = "grpc.health.v1.Health"
OVERALL = ""


class Status(IntEnum):
    """ServingStatus of the protos."""

    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class Monitor:
    """The health of the server and of each of its services: one state, for one probe tells about them all.

    An async context manager: the first probe is over when it is entered, and the polling when it is left.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]],
        services: Iterable[str] = (),
        *,
        interval_s: float = 1.0,
        timeout_s: float = 2.0,
    ) -> None:
        """Keep the settings.

        Args:
            probe: returns when all is well, raises when not; one that takes longer than `timeout_s` is cancelled.
            services: full names that clients may ask for, beside the empty name of the whole server.
            interval_s: the pause between two probes.
            timeout_s: how long a probe may take.
        """
        self._probe = probe
        self._services = frozenset((OVERALL, NAME, *services))
        self._interval_s, self._timeout_s = interval_s, timeout_s
        self._serving = False
        self._draining = self._failed = False
        self._changed = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Monitor {'draining' if self._draining else 'serving' if self._serving else 'not serving'}>"

    async def __aenter__(self) -> Self:
        await self._poll_once()
        self._polling = asyncio.create_task(self._poll(), name="health")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drain()
        if self._polling is not None:
            await asyncio.wait([self._polling])

    def drain(self) -> None:
        """Answer NOT_SERVING from now on, and probe no more."""
        self._draining = True
        self._set(serving=False)
        if self._polling is not None:
            self._polling.cancel()

    def __mapping__(self) -> dict[str, Handler]:
        """What grpclib serves."""
        asked, told = (message_class(f"grpc.health.v1.HealthCheck{what}") for what in ("Request", "Response"))
        return {
            f"/{NAME}/Check": Handler(self.check, Cardinality.UNARY_UNARY, asked, told),
            f"/{NAME}/Watch": Handler(self.watch, Cardinality.UNARY_STREAM, asked, told),
        }

    async def check(self, stream: Stream[Any, Any]) -> None:
        """Answer the state of one service.

        Raises:
            NotFound: no such service.
            InvalidArgument: the call has no request.
        """
        name = await _asked(stream)
        if name not in self._services:
            raise NotFound("service", name)
        await stream.send_message(_response(self._status(name)))

    async def watch(self, stream: Stream[Any, Any]) -> None:
        """Send the state of one service, then every later one; SERVICE_UNKNOWN of a service that is not there.

        A slow reader gets the newest state. Ends only when the caller or the server ends it.

        Raises:
            InvalidArgument: the call has no request.
        """
        name = await _asked(stream)
        sent: Status | None = None
        while True:
            changed = self._changed
            status = self._status(name)
            if status != sent:
                await stream.send_message(_response(status))
                sent = status
            await changed.wait()

    def _status(self, name: str) -> Status:
        if name not in self._services:
            return Status.SERVICE_UNKNOWN
        return Status.SERVING if self._serving else Status.NOT_SERVING

    def _set(self, *, serving: bool) -> None:
        if serving != self._serving:
            self._serving = serving
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    async def _poll(self) -> None:
        while True:
            await anyio.sleep(self._interval_s)
            await self._poll_once()

    async def _poll_once(self) -> None:
        try:
            with anyio.fail_after(self._timeout_s):
                await self._probe()
        except Exception as error:  # noqa: BLE001  # whatever a probe raises means that the server does not serve
            if not self._failed:
                log.warning("Not serving", error=repr(error))
            self._set(serving=False)
            self._failed = True
        else:
            if self._failed:
                log.info("Serving again")
            self._failed = False
            self._set(serving=not self._draining)


async def _asked(stream: Stream[Any, Any]) -> str:
    request = await stream.recv_message()
    if request is None:
        raise InvalidArgument.of("", "the call has no request message")
    return str(request.service)


def _response(status: Status) -> Message:
    return message_class("grpc.health.v1.HealthCheckResponse")(status=status)
