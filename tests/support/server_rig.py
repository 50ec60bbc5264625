"""What the server's tests serve and whom they serve it to."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf.message import Message
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from server_wire import message

from stigmer import errors
from stigmer.edge.running import RunningCalls
from stigmer.pipeline.call import Call
from stigmer.rpc import Codec
from stigmer.wire.descriptors import Method
from stigmer.wire.status_details import details_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from child_process import Child
    from server_wire import Wire

    from stigmer.server.limits import Limits
    from stigmer.server.server import Server


PEER = str(Path(__file__).with_name("server_peer.py"))


class BytesCodec(Codec):
    """Messages that are bytes already, but for those of google.protobuf."""

    def encode(self, message: Any, message_type: Any) -> bytes:
        return super().encode(message, message_type) if isinstance(message, Message) else bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return super().decode(data, message_type) if issubclass(message_type, Message) else data


METHOD = Method("/t.T/M", "t.T", "M", "", "", False, None, None, is_public=False, skip_authorization=True)


class Door:
    """Stands in for the edge: notes the calls that run, and our errors become gRPC's."""

    def __init__(self, servable: Any, calls: RunningCalls | None = None) -> None:
        self._servable, self._calls = servable, calls or RunningCalls()

    def __mapping__(self) -> dict[str, Handler]:
        return {
            path: handler._replace(func=self._wrap(handler.func, lasts=handler.cardinality.server_streaming))
            for path, handler in self._servable.__mapping__().items()
        }

    def _wrap(self, func: Callable[[Any], Awaitable[None]], *, lasts: bool) -> Callable[[Any], Awaitable[None]]:
        async def serve(stream: Any) -> None:
            call = Call(METHOD)
            if not lasts:
                self._calls.may_finish(call)
            try:
                with self._calls.run(call):
                    await func(stream)
            except errors.StigmerError as error:
                raise GRPCError(Status(error.code.value), error.message, list(details_of(error)) or None) from error

        return serve


class Service:
    """Echo, a stream that stays open, a call that waits to be let go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = asyncio.Event()

    def __mapping__(self) -> dict[str, Handler]:
        unary, stream = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        return {
            "/t.T/Echo": Handler(self.echo, unary, bytes, bytes),
            "/t.T/Wait": Handler(self.wait, unary, bytes, bytes),
            "/t.T/Deadline": Handler(self.deadline, unary, bytes, bytes),
            "/t.T/Subscribe": Handler(self.subscribe, stream, bytes, bytes),
            "/t.T/Flood": Handler(self.flood, stream, bytes, bytes),
        }

    async def echo(self, stream: Any) -> None:
        await stream.send_message((await stream.recv_message())[:64])

    async def deadline(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(b"x" * round(stream.deadline_s - time.monotonic() if stream.deadline_s else 0))

    async def wait(self, stream: Any) -> None:
        await stream.recv_message()
        with self._running():
            await self.go.wait()
        await stream.send_message(b"done")

    async def subscribe(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(b"first")
        with self._running():
            await asyncio.get_running_loop().create_future()

    async def flood(self, stream: Any) -> None:
        await stream.recv_message()
        with self._running():
            while True:
                await stream.send_message(b"x" * 16_000)

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        self.entered.set()
        try:
            yield
        finally:
            self.ended.set()


class Start(Protocol):
    """Starts a peer with a job; see server_peer.py."""

    async def __call__(self, job: str, server: Server, argument: str = "") -> Child: ...


class Serve(Protocol):
    """Makes a server of the service, and of `more`, to be entered; settings go to Server."""

    def __call__(self, *more: Any, limits: Limits | None = None, **settings: Any) -> Server: ...


async def open_unread_stream(wire: Wire, server: Server, service: Service) -> None:
    """A stream of replies without end, whose client reads nothing: back when the server's socket takes no more."""
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    wire.h2.increment_flow_control_window(2**30)
    stream_id = wire.request(message(b""), end=False, path="/t.T/Flood")
    wire.h2.increment_flow_control_window(2**30, stream_id)
    wire.flush()
    await service.entered.wait()
    (live,) = server.shared.live
    while live.connection.write_ready.is_set():  # noqa: ASYNC110  # there is no event for the other way round
        await asyncio.sleep(0)
