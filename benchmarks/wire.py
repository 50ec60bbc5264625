"""An HTTP/2 client that does next to nothing: prepared frames out, frame headers in. `load` drives it.

It stands in for the client of every measurement, so that the server is the bottleneck: some 10 µs of Python a call,
where grpcio.aio takes over 100. It speaks to servers that follow the protocol and to no others.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple, Self

from hpack import Encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
WINDOW = 2**31 - 1
TOP_UP = 2**30
TIMEOUT_S = 20.0


class Message(NamedTuple):
    """A gRPC message that came in on a stream."""

    stream: int
    data: bytes


class Ended(NamedTuple):
    """A stream that the server ended; the trailers are not read: a call that failed has no message."""

    stream: int


class Wire:
    """One connection, blocking. A context manager that closes it.

    Args:
        address: of the server.
        headers: further ones of each call.
        source: the address to call from; "" for the usual one.
    """

    def __init__(self, address: tuple[str, int], headers: Sequence[tuple[str, str]] = (), source: str = "") -> None:
        self._headers = headers
        self._authority = f"{address[0]}:{address[1]}"
        self.socket = socket.create_connection(address, TIMEOUT_S, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._encoder = Encoder()
        self._seen: set[str] = set()
        self._blocks: dict[str, bytes] = {}
        self._next = 1
        self._in = bytearray()
        self._partial: dict[int, bytes] = {}
        self._received = 0
        settings = b"\x00\x02" + (0).to_bytes(4, "big") + b"\x00\x04" + WINDOW.to_bytes(4, "big")
        self._out = bytearray(PREFACE + frame(SETTINGS, 0, 0, settings))
        self._out += frame(WINDOW_UPDATE, 0, 0, (WINDOW - 65535).to_bytes(4, "big"))

    def __repr__(self) -> str:
        return f"<Wire to {self._authority}, {self._next // 2} calls>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def call(self, path: str, body: bytes, key: str = "") -> int:
        """Queue a call, with an idempotency key where one is given; the id of its stream."""
        stream, self._next = self._next, self._next + 2
        block = self._block(path) + (_literal("idempotency-key", key) if key else b"")
        self._out += frame(HEADERS, END_HEADERS, stream, block)
        self._out += frame(DATA, END_STREAM, stream, b"\x00" + len(body).to_bytes(4, "big") + body)
        return stream

    def flush(self) -> None:
        """Send what is queued."""
        if self._out:
            self.socket.sendall(self._out)
            self._out.clear()

    def receive(self) -> list[Message | Ended]:
        """What came in; waits for some bytes."""
        data = self.socket.recv(262_144)
        if not data:
            raise ConnectionError("the server closed the connection")
        incoming = self._in
        incoming += data
        found: list[Message | Ended] = []
        at, end = 0, len(incoming)
        while end - at >= 9:
            size = int.from_bytes(incoming[at : at + 3], "big")
            if end - at < 9 + size:
                break
            stream = int.from_bytes(incoming[at + 5 : at + 9], "big")
            payload = bytes(incoming[at + 9 : at + 9 + size])
            self._take(incoming[at + 3], incoming[at + 4], stream, payload, found)
            at += 9 + size
        del incoming[:at]
        return found

    def unary(self, path: str, body: bytes) -> bytes:
        """One call, for setting up."""
        stream = self.call(path, body)
        reply: bytes | None = None
        while True:
            self.flush()
            for event in self.receive():
                if event.stream != stream:
                    continue
                if isinstance(event, Message):
                    reply = event.data
                elif reply is None:
                    raise RuntimeError(f"{path} failed")
                else:
                    return reply

    def _take(self, kind: int, flags: int, stream: int, payload: bytes, found: list[Message | Ended]) -> None:
        if kind == DATA:
            self._received += len(payload)
            self._messages(stream, payload, found)
        elif kind == RST_STREAM and stream in self._partial:
            raise RuntimeError(f"stream {stream} was reset in the middle of a message")
        elif kind == SETTINGS and not flags & ACK:
            self._out += frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self._out += frame(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            raise ConnectionError(f"the server goes away: {payload[8:]!r}")
        if flags & END_STREAM and kind in (DATA, HEADERS):
            found.append(Ended(stream))
        if self._received > TOP_UP:
            self._out += frame(WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big"))
            self._received = 0

    def _messages(self, stream: int, payload: bytes, found: list[Message | Ended]) -> None:
        if stream in self._partial:
            payload = self._partial.pop(stream) + payload
        while len(payload) >= 5:
            size = 5 + int.from_bytes(payload[1:5], "big")
            if len(payload) < size:
                break
            found.append(Message(stream, payload[5:size]))
            payload = payload[size:]
        if payload:
            self._partial[stream] = payload

    def _block(self, path: str) -> bytes:
        """The request's headers; from the second call to a path on all are indexed, as other clients do it."""
        block = self._blocks.get(path)
        if block is not None:
            return block
        block = self._encoder.encode(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", self._authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", "stigmer-benchmarks"),
                *self._headers,
            ]
        )
        if path in self._seen:
            self._blocks[path] = block
        else:  # a new entry of the table moves the others
            self._seen.add(path)
            self._blocks.clear()
        return block


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: str, value: str) -> bytes:
    """A header that no table takes in; name and value are short."""
    return b"\x00" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))
