"""A client that speaks HTTP/2 frame by frame, to send what no gRPC library would."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset, TrailersReceived, WindowUpdated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from hyperframe.frame import Frame, GoAwayFrame


HEADERS = {
    ":method": "POST",
    ":scheme": "http",
    ":authority": "x",
    "te": "trailers",
    "content-type": "application/grpc",
}


def message(body: bytes, *, size: int | None = None, compressed: bool = False) -> bytes:
    """A gRPC message; a `size` other than the body's own tells a lie."""
    return bytes([compressed]) + (len(body) if size is None else size).to_bytes(4, "big") + body


class Patient(H2Connection):
    """Goes on after a GOAWAY, as gRPC's clients do; h2 would refuse every later frame, grpclib hangs up."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        taken = super()._receive_goaway_frame(frame)
        self.state_machine.state = ConnectionState.CLIENT_OPEN
        return taken


def _is_window(event: Event) -> bool:
    return isinstance(event, WindowUpdated)


class Wire:
    """One connection; `reader` and `writer` are the raw socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        config = H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = Patient(config)
        self.events: list[Event] = []

    def hello(self) -> None:
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def request(
        self,
        body: bytes = b"",
        *,
        path: str = "/t.T/Echo",
        headers: Mapping[str, str | None] | None = None,
        end: bool = True,
        flush: bool = True,
    ) -> int:
        """Open a stream; None leaves a header out."""
        fields = [(k, v) for k, v in {**HEADERS, ":path": path, **(headers or {})}.items() if v is not None]
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, fields, end_stream=end and not body)
        if body:
            self.h2.send_data(stream_id, body, end_stream=end)
        if flush:
            self.flush()
        return stream_id

    async def large_request(self, body: bytes, *, path: str = "/t.T/Echo", headers: Mapping[str, str | None]) -> int:
        """Open a stream and send as the windows let it, to the end or until it is answered."""
        stream_id = self.request(path=path, headers=headers, end=False)
        for at in range(0, len(body), self.h2.max_outbound_frame_size):
            part = body[at : at + self.h2.max_outbound_frame_size]
            while not self._answered(stream_id) and self.h2.local_flow_control_window(stream_id) < len(part):
                assert await self.read(), "the connection ended"
            if self._answered(stream_id):
                return stream_id
            self.h2.send_data(stream_id, part)
            self.flush()
            await self.writer.drain()
        self.h2.end_stream(stream_id)
        self.flush()
        return stream_id

    def _answered(self, stream_id: int) -> bool:
        return any(getattr(event, "stream_id", None) == stream_id for event in self.events if not _is_window(event))

    async def read(self) -> bool:
        """Take in what comes next; false at the end of the connection."""
        data = await asyncio.wait_for(self.reader.read(65536), 60)
        for event in self.h2.receive_data(data) if data else []:
            if isinstance(event, DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.events.append(event)
        if data:
            self.flush()
        return bool(data)

    async def status(self, stream_id: int) -> str:
        """The status of a call, when it is over; the number of a reset where it has none."""
        while True:
            for event in [e for e in self.events if getattr(e, "stream_id", None) == stream_id]:
                headers: dict[Any, Any] = dict(getattr(event, "headers", None) or [])
                if isinstance(event, (ResponseReceived, TrailersReceived)) and "grpc-status" in headers:
                    return f"{headers['grpc-status']} {headers.get('grpc-message', '')}".strip()
                if isinstance(event, (StreamReset, StreamEnded)):
                    return f"ended {getattr(event, 'error_code', '')!s}"
            assert await self.read(), "the connection ended"

    def data(self, stream_id: int) -> bytes:
        """What has come of a call's messages."""
        return b"".join(e.data for e in self.events if isinstance(e, DataReceived) and e.stream_id == stream_id)

    def headers(self, stream_id: int) -> dict[str, str]:
        """What came before them."""
        (headers,) = [e.headers for e in self.events if isinstance(e, ResponseReceived) and e.stream_id == stream_id]
        answer: dict[Any, Any] = dict(headers)
        return answer

    def trailers(self, stream_id: int) -> dict[str, str]:
        """What came with the status of a call that is over."""
        ends = [e for e in self.events if isinstance(e, (ResponseReceived, TrailersReceived))]
        headers: dict[Any, Any] = dict(next(e.headers for e in reversed(ends) if e.stream_id == stream_id))
        return headers

    async def ended(self) -> bool:
        """Read to the end of the connection."""
        try:
            while await asyncio.wait_for(self.reader.read(65536), 60):
                pass
        except ConnectionResetError:
            pass
        return True


class Addressed(Protocol):
    """What can be connected to: a Server, or one in another process."""

    @property
    def address(self) -> tuple[str, int]: ...


@asynccontextmanager
async def connect(server: Addressed, *, hello: bool = True) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(*server.address)
    wire = Wire(reader, writer)
    if hello:
        wire.hello()
    try:
        yield wire
    finally:
        writer.transport.abort()
