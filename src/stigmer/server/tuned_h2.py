"""h2, tuned for a gRPC server: frames written by hand, header blocks without state, one write in each turn of the loop.

All that is here for speed stands in this file, on h2's private parts: h2 walks over every open stream on each request,
keeps a compression table for replies whose headers are nearly always the same, and takes each frame through many layers
on its way out. `tests/server/test_h2_frames.py` compares the bytes with h2's own.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import StreamClosedError, StreamIDTooLowError
from h2.settings import SettingCodes, Settings
from h2.stream import StreamInputs, StreamState
from hpack import Encoder
from hpack.hpack import encode_integer
from hyperframe.frame import RstStreamFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from h2.events import Event
    from hyperframe.frame import AltSvcFrame, Frame, GoAwayFrame

    from stigmer.server.limits import Limits

Act: TypeAlias = "Callable[[Frame], tuple[list[Frame], list[Event]]]"
Field: TypeAlias = "tuple[str | bytes, str | bytes]"

DATA, HEADERS = 0x0, 0x1  # a frame's type (RFC 9113, 6)
END_STREAM, END_HEADERS = 0x1, 0x4  # a frame's flags
FRAME_HEADER = Struct(">HBBBL")  # length in three bytes, type, flags, stream
OK = (":status", "200")
CONFIGURATION = H2Configuration(
    client_side=False,
    header_encoding="latin-1",  # a byte that is not ASCII is one call's mistake: see `headers`
    validate_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_inbound_headers=False,
    normalize_outbound_headers=False,
)
FLUSH_BYTES = 64 * 1024  # as much as asyncio lets wait in a transport before it asks writers to pause
EARNED_AT_LEAST, EARNED_AT_MOST = 20, 200  # by a peer with each frame that it gets: see `frames`


class StatelessEncoder(Encoder):
    """HPACK without the dynamic table: a field's bytes are the same each time and so can be remembered.

    Some 40 bytes more a reply than with the table, and less than half of the work.
    """

    def encode(self, headers: Iterable[Field], huffman: bool = True) -> bytes:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]  # noqa: FBT001, FBT002  # narrower: no dict, no marked pairs
        """Encode one header block."""
        if changes := self.table_size_changes:
            # The peer changed the table's size and is told that we know, by the least size and the last (RFC 7541,
            # 4.2); hpack tells all, though it must not where the last is less, and none where it came twice.
            self.table_size_changes = list(dict.fromkeys((min(changes), changes[-1])))
            self.header_table.resized = True
            return super().encode(headers, huffman)
        return b"".join([_field(name, value) for name, value in headers])


@lru_cache(maxsize=256)
def _field(name: str | bytes, value: str | bytes) -> bytes:
    """One field as a literal without indexing (RFC 7541, 6.2.2); the usual status from the static table."""
    name, value = (part.encode() if isinstance(part, str) else part for part in (name, value))
    if (name, value) == (b":status", b"200"):
        return b"\x88"
    return b"".join((b"\x00", encode_integer(len(name), 7), name, encode_integer(len(value), 7), value))


class TunedConnection(H2Connection):
    """h2's connection; its streams are forgotten as soon as their calls end, so that their number is their count.

    Usual frames are written here: the same bytes, states and errors as h2's, for a third of its work. Headers go out as
    they are given. What is to be sent is written at the end of this turn of the loop, in one piece, or once the only
    call has ended, when a socket is attached.
    """

    encoder: StatelessEncoder
    outbound_flow_control_window: int
    MAX_CLOSED_STREAMS = 2**13  # h2 remembers 65,536, some 6 MB, for frames that come late

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.encoder = StatelessEncoder()
        self._earned = 0.0
        self._socket: asyncio.Transport | None = None
        self._unflushed_bytes = 0
        self._flush_handle: asyncio.Handle | None = None

    # Joined writes.

    def attach(self, socket: asyncio.Transport) -> None:
        """Write to `socket` from now on."""
        self._socket = socket
        self.flush()

    def detach(self) -> None:
        """The socket is closed; h2's cycle of references ends as well, so that nothing waits for the collector."""
        self._socket = None
        self._frame_dispatch_table = {}

    def flush(self) -> None:
        """Write what there is to be sent."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        self._flush_handle, self._unflushed_bytes = None, 0
        data = self.data_to_send()
        if data and self._socket is not None and not self._socket.is_closing():
            self._socket.write(data)

    def _to_be_sent(self, size: int) -> None:
        """Write at the end of this turn of the loop, or now where `size` bytes more make it much."""
        self._unflushed_bytes += size
        if self._socket is None:
            return
        if self._unflushed_bytes >= FLUSH_BYTES:
            self.flush()
        elif self._flush_handle is None:
            self._flush_handle = asyncio.get_running_loop().call_soon(self.flush)

    def _prepare_for_sending(self, frames: list[Frame]) -> None:
        super()._prepare_for_sending(frames)
        if frames:
            self._to_be_sent(0)

    # What goes out.

    def send_headers(
        self,
        stream_id: int,
        headers: Iterable[Field],
        end_stream: bool = False,  # noqa: FBT001, FBT002  # h2's signature
        *more: Any,  # noqa: ANN401  # h2's: a client's priorities
        **named: Any,  # noqa: ANN401  # likewise
    ) -> None:
        """Send headers or trailers.

        Raises:
            ProtocolError: h2's, where the stream or the connection is in no state for it.
        """
        fields = list(headers)
        block = b"" if more or named else self._usual_block(stream_id, fields, end_stream=end_stream)
        if not block:
            super().send_headers(stream_id, fields, end_stream, *more, **named)
            return
        self.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
        machine = self.streams[stream_id].state_machine
        machine.process_input(StreamInputs.SEND_HEADERS)
        if end_stream:
            machine.process_input(StreamInputs.SEND_END_STREAM)
        flags = END_HEADERS | END_STREAM if end_stream else END_HEADERS
        self._write_frame(HEADERS, flags, stream_id, block)
        if end_stream and len(self.streams) == 1 and self._socket is not None and self.streams[stream_id].closed:
            self.flush()  # nothing is to be added, neither by another call nor of this one: a reset where it goes on

    def _usual_block(self, stream_id: int, fields: Sequence[Field], *, end_stream: bool) -> bytes:
        """The header block, where it goes out in one frame and h2 has nothing to add or to refuse; else nothing."""
        stream = self.streams.get(stream_id)
        if stream is None or not fields or self.encoder.table_size_changes:
            return b""
        if stream.state_machine.headers_sent and not end_stream:  # trailers must end the stream
            return b""
        if fields[0] != OK and fields[0][0][:1] in (":", b":"):  # perhaps an interim reply
            return b""
        block = self.encoder.encode(fields)
        return block if len(block) <= self.max_outbound_frame_size else b""

    def send_data(
        self,
        stream_id: int,
        data: bytes | memoryview,
        end_stream: bool = False,  # noqa: FBT001, FBT002  # h2's signature
        pad_length: int | None = None,
    ) -> None:
        """Send one frame of data.

        Raises:
            ProtocolError: h2's, where the stream or the connection is in no state for it, or the peer takes less.
        """
        size, stream = len(data), self.streams.get(stream_id)
        if stream is None or end_stream or pad_length is not None or size > self.room(stream_id):
            super().send_data(stream_id, data, end_stream, pad_length)
            return
        self.state_machine.process_input(ConnectionInputs.SEND_DATA)
        stream.state_machine.process_input(StreamInputs.SEND_DATA)
        self.outbound_flow_control_window -= size
        stream.outbound_flow_control_window -= size
        self._write_frame(DATA, 0, stream_id, bytes(data))

    def room(self, stream_id: int) -> int:
        """How many bytes of data may go out in one frame now; zero or less while a window is used up, or at the end."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.closed:
            return 0
        return min(self.outbound_flow_control_window, stream.outbound_flow_control_window, self.max_outbound_frame_size)

    def is_open(self, stream_id: int) -> bool:
        """Whether something can be sent."""
        stream = self.streams.get(stream_id)
        return stream is not None and not stream.closed and self.state_machine.state is not ConnectionState.CLOSED

    def _write_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        length = len(payload)
        self._data_to_send += FRAME_HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream_id)
        self._data_to_send += payload
        self._earned += min(EARNED_AT_MOST, EARNED_AT_LEAST + length)
        self._to_be_sent(length)

    # What comes in.

    def forget(self, stream_id: int) -> None:
        """Drop a stream whose call is over; a peer that still sends on an answered call is told to stop."""
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        if stream.state_machine.state is StreamState.HALF_CLOSED_LOCAL:
            self.reset_stream(stream_id)  # with NO_ERROR: the answer is complete (RFC 9113, 8.1)
        if stream.closed:
            del self.streams[stream_id]
            self._closed_streams[stream_id] = stream.closed_by

    def _receive_frame(self, frame: Frame) -> list[Event]:
        """Act on a frame as h2 does, but without words for h2's log, which nobody reads: a fifth of its work."""
        try:
            act = cast("Act", self._frame_dispatch_table[frame.__class__])
            frames, events = act(frame)
        except (StreamClosedError, StreamIDTooLowError) as error:
            return self._late(error)
        self._prepare_for_sending(frames)
        return events

    def _late(self, error: StreamClosedError | StreamIDTooLowError) -> list[Event]:
        """Answer a frame for a stream that is over: as h2, with a reset where one of us reset it (RFC 9113, 5.1).

        Raises:
            ProtocolError: the stream was over in another way.
        """
        closed = isinstance(error, StreamClosedError)
        if not self._stream_is_closed_by_reset(error.stream_id):
            if not closed and self._stream_is_closed_by_end(error.stream_id):
                raise StreamClosedError(error.stream_id) from error
            raise error
        frame = RstStreamFrame(error.stream_id)
        frame.error_code = error.error_code if closed else ErrorCodes.STREAM_CLOSED
        self._prepare_for_sending([frame])
        return cast("list[Event]", getattr(error, "_events", []))

    def take_earned(self) -> float:
        """What the peer may send for what was sent to it since this was last asked; see `frames`."""
        earned, self._earned = self._earned, 0.0
        return earned

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        if frame.error_code == ErrorCodes.NO_ERROR:
            return [], []  # it opens no more calls, and waits for those that are open (RFC 9113, 6.8); h2 ends them all
        return super()._receive_goaway_frame(frame)

    def _receive_alt_svc_frame(self, frame: AltSvcFrame) -> tuple[list[Frame], list[Event]]:  # noqa: ARG002  # h2's signature
        return [], []  # a server must ignore it (RFC 7838, 4); h2 ends the connection

    def _open_streams(self, remainder: int) -> int:  # noqa: ARG002  # h2's signature: a server has the client's streams alone
        return len(self.streams)


def new_connection(config: H2Configuration, limits: Limits) -> TunedConnection:
    """Make the server's side of a connection, its first settings ready to be sent."""
    connection = TunedConnection(config)
    connection.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_header_bytes,
            SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
        },
    )
    connection.decoder.max_header_list_size = limits.max_header_bytes
    connection.initiate_connection()
    connection.increment_flow_control_window(limits.connection_window_bytes - 65535)
    # h2 ends the whole connection over one stream too many. A client may open some before it has read our limit, so h2
    # is told a higher one, and `dispatch` refuses the streams between the two one by one.
    connection.local_settings.max_concurrent_streams = 2 * limits.max_streams + 100
    connection.local_settings.acknowledge()
    return connection
