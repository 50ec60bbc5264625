"""What clients may ask of the server, in one place: `listening` fills it from the settings, the server keeps to it."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may ask of the server.

    Attributes:
        max_message_bytes: the longest request message; longer ones are refused before they are read.
        max_streams: calls open at once on one connection; more are refused for the client to repeat.
        max_header_bytes: the longest list of request headers, uncompressed; a longer one ends the connection.
        stream_window_bytes: how much of a request may come before its size is known and there is room for it.
        connection_window_bytes: how much all calls of a connection may send ahead of the loop.
        max_connection_memory_bytes: what one connection may have the server hold; see `memory`.
        max_memory_bytes: what all connections may have it hold.
        memory_wait_s: how long a call waits for room in them before it is refused.
        request_timeout_s: how long a request may go on without a byte.
        reply_timeout_s: how long a client may take no byte of a reply.
        handshake_timeout_s: how long the TLS handshake may take.
        max_connections: connections open at once.
        max_idle_connections: those of them that made no call yet, TLS handshakes included.
        idle_connection_s: how long a connection may stay one of those.
        keepalive_s: silence after which the peer is asked for a sign of life.
        keepalive_timeout_s: how long it may take to give one; then the connection and its calls end.
    """

    max_message_bytes: int = 10 * MIB
    max_streams: int = 1000
    max_header_bytes: int = 32 * 1024
    stream_window_bytes: int = 64 * 1024 - 1
    connection_window_bytes: int = 4 * MIB
    max_connection_memory_bytes: int = 32 * MIB
    max_memory_bytes: int = 256 * MIB
    memory_wait_s: float = 30.0
    request_timeout_s: float = 30.0
    reply_timeout_s: float = 60.0
    handshake_timeout_s: float = 10.0
    max_connections: int = 10_000
    max_idle_connections: int = 1000
    idle_connection_s: float = 30.0
    keepalive_s: float = 30.0
    keepalive_timeout_s: float = 10.0
