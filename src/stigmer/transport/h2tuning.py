"""h2, tuned for a gRPC server: the limits of a connection, header blocks without state, a cheap count of open calls.

Used by `http2` alone. Two things here stand on h2's private parts, because h2 walks over every open stream on each
request and keeps a compression table for replies whose headers are nearly always the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from h2.connection import H2Connection
from h2.exceptions import FrameTooLargeError
from h2.settings import SettingCodes, Settings
from h2.stream import StreamState
from hpack import Encoder
from hpack.hpack import encode_integer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from h2._typing import Buffer
    from h2.config import H2Configuration
    from h2.events import Event
    from hyperframe.frame import AltSvcFrame, Frame


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may ask of the server.

    Attributes:
        max_message_bytes: the longest request message; longer ones are refused before they are read.
        max_streams: calls open at once on one connection; more are refused for the client to repeat.
        max_header_bytes: the longest list of request headers, uncompressed; a longer one ends the connection.
        stream_window_bytes: how much one call may send ahead of its reader.
        connection_window_bytes: how much all calls of a connection may send ahead of their readers.
        keepalive_s: silence after which the peer is asked for a sign of life.
        keepalive_timeout_s: how long it may take to give one; then the connection and its calls end.
    """

    max_message_bytes: int = 10 * 1024 * 1024
    max_streams: int = 1000
    max_header_bytes: int = 32 * 1024
    stream_window_bytes: int = 1024 * 1024
    connection_window_bytes: int = 4 * 1024 * 1024
    keepalive_s: float = 30.0
    keepalive_timeout_s: float = 10.0


class StatelessEncoder(Encoder):
    """HPACK without the dynamic table: a field's bytes are the same each time and so can be remembered.

    Some 40 bytes more a reply than with the table, and less than half of the work.
    """

    def encode(self, headers: Iterable[tuple[bytes, bytes]], huffman: bool = True) -> bytes:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]  # noqa: FBT001, FBT002  # narrower: h2 hands over pairs of bytes alone
        """Encode one header block."""
        if self.header_table.resized:
            # The peer changed the table's size and must be told that we know: hpack does it (RFC 7541, 4.2).
            return super().encode(headers, huffman)
        return b"".join([_field(name, value) for name, value in headers])


@lru_cache(maxsize=256)
def _field(name: bytes, value: bytes) -> bytes:
    """One field as a literal without indexing (RFC 7541, 6.2.2); the usual status from the static table."""
    if (name, value) == (b":status", b"200"):
        return b"\x88"
    return b"".join((b"\x00", encode_integer(len(name), 7), name, encode_integer(len(value), 7), value))


class TunedConnection(H2Connection):
    """h2's connection; its streams are forgotten as soon as their calls end, so that their number is their count."""

    MAX_CLOSED_STREAMS = 2**13  # h2 remembers 65,536, some 6 MB, for frames that come late

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

    def receive_data(self, data: Buffer) -> list[Event]:
        """Take bytes in; a frame that is too long is refused at its header, where h2 would first gather it all.

        Raises:
            ProtocolError: h2's, for whatever breaks the protocol.
        """
        events = super().receive_data(data)
        waiting = self.incoming_buffer._data  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public look at it
        if int.from_bytes(waiting[:3], "big") > self.max_inbound_frame_size and len(waiting) >= 3:
            raise FrameTooLargeError("a frame longer than we agreed to")
        return events

    def _receive_alt_svc_frame(self, frame: AltSvcFrame) -> tuple[list[Frame], list[Event]]:  # noqa: ARG002  # h2's signature
        return [], []  # a server must ignore it (RFC 7838, 4); h2 ends the connection

    def _open_streams(self, remainder: int) -> int:  # noqa: ARG002  # h2's signature: a server has the client's streams alone
        return len(self.streams)


def new_connection(config: H2Configuration, limits: Limits) -> TunedConnection:
    """Make the server's side of a connection, its first settings ready to be sent."""
    connection = TunedConnection(config)
    connection.encoder = StatelessEncoder()
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
    # is told a higher one, and `http2` refuses the streams between the two one by one.
    connection.local_settings.max_concurrent_streams = 2 * limits.max_streams + 100
    connection.local_settings.acknowledge()
    return connection
