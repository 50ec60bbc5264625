"""An HTTP/2 client with no manners: raw frames, windows that it need not open, requests that it need not finish.

`attacks` drives it. It blocks; a server that takes nothing is met by a short time limit, not by waiting.
"""

from __future__ import annotations

import socket
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Self

from grpclib.const import Status
from hpack import Decoder, Encoder

from benchmarks.wire import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 4, 5
DEFAULT_WINDOW = 65_535
FRAME_BYTES = 16_384
POLL_S = 0.05


class Gone(Exception):
    """The server closed the connection, or refuses to take more."""


def message(body: bytes, *, size: int | None = None, flag: int = 0) -> bytes:
    """A gRPC message; `size` is what its prefix announces where that is not the body's own."""
    return bytes((flag,)) + (len(body) if size is None else size).to_bytes(4, "big") + body


class Peer:
    """One connection.

    Attributes:
        outcomes: how many calls ended how: the status's name, `reset`, or `closed` for what was open at the end.
    """

    def __init__(self, address: tuple[str, int], source: str, *, window: int | None = None, greet: bool = True) -> None:
        """Connect.

        Args:
            address: of the server.
            source: the address to call from.
            window: what each stream may send us before we read; None takes 2 GiB of the stream and the connection.
            greet: send the preface.
        """
        self._authority = f"{address[0]}:{address[1]}"
        self.outcomes: Counter[str] = Counter()
        self.open: set[int] = set()
        self.socket = socket.create_connection(address, 5, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._encoder, self._decoder = Encoder(), Decoder()
        self._next = 1
        self._in = bytearray()
        self._connection_window = DEFAULT_WINDOW
        self._stream_window = DEFAULT_WINDOW
        self._windows: defaultdict[int, int] = defaultdict(int)
        if greet:
            self.settings({INITIAL_WINDOW_SIZE: 2**31 - 1 if window is None else window}, preface=PREFACE)
            if window is None:
                self.send(frame(WINDOW_UPDATE, 0, 0, (2**31 - 1 - DEFAULT_WINDOW).to_bytes(4, "big")))
            self.pump(POLL_S)

    def __repr__(self) -> str:
        return f"<Peer to {self._authority}, {len(self.open)} calls open>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.outcomes["closed"] += len(self.open)
        self.open.clear()
        self.socket.close()

    def send(self, data: bytes | bytearray) -> None:
        """Send bytes; Gone where the server does not take them within five seconds, or is gone."""
        self.socket.settimeout(5)
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone(str(error)) from error

    def settings(self, values: dict[int, int], preface: bytes = b"") -> None:
        """Send settings."""
        entries = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values.items())
        self.send(preface + frame(SETTINGS, 0, 0, entries))

    def begin(self, path: str, extra: Sequence[tuple[str, str]] = (), *, end: bool = False) -> int:
        """Send a request's headers; the id of its stream."""
        data, stream = self.headers(path, extra, end=end)
        self.send(data)
        return stream

    def headers(self, path: str, extra: Sequence[tuple[str, str]] = (), *, end: bool = False) -> tuple[bytes, int]:
        """The frame of a request's headers, and the id of its stream."""
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", self._authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *extra,
        ]
        stream, self._next = self._next, self._next + 2
        self.open.add(stream)
        flags = END_HEADERS | END_STREAM if end else END_HEADERS
        return frame(HEADERS, flags, stream, self._encoder.encode(fields)), stream

    def call(self, path: str, body: bytes, extra: Sequence[tuple[str, str]] = (), *, flag: int = 0) -> int:
        """Send a whole call, as fast as the server's windows allow."""
        stream = self.begin(path, extra)
        self.data(stream, message(body, flag=flag), end=True)
        return stream

    def data(self, stream: int, data: bytes, *, end: bool = False, wait_s: float = 5.0) -> int:
        """Send a stream's bytes as its windows allow, waiting for them; how many were sent."""
        sent, until = 0, time.monotonic() + wait_s
        while sent < len(data) and stream in self.open:
            room = min(self._connection_window, self._stream_window + self._windows[stream], FRAME_BYTES)
            if room <= 0:
                if time.monotonic() > until:
                    break
                self.pump(POLL_S)
                continue
            chunk = data[sent : sent + room]
            sent += len(chunk)
            self._connection_window -= len(chunk)
            self._windows[stream] -= len(chunk)
            flags = END_STREAM if end and sent == len(data) else 0
            self.send(frame(DATA, flags, stream, chunk))
        return sent

    def room(self, stream: int) -> int:
        """How many bytes the server lets the stream send now."""
        return min(self._connection_window, self._stream_window + self._windows[stream])

    def pump(self, seconds: float = 0.0) -> None:
        """Take in what has come, for so long at most; replies are thrown away and no window is given back."""
        until = time.monotonic() + seconds
        while True:
            self.socket.settimeout(max(0.001, until - time.monotonic()))
            try:
                data = self.socket.recv(262_144)
            except TimeoutError:
                return
            except OSError as error:
                raise Gone(str(error)) from error
            if not data:
                raise Gone("closed")
            self._in += data
            self._frames()
            if time.monotonic() >= until:
                return

    def drain(self, seconds: float) -> None:
        """Pump until no call is open."""
        until = time.monotonic() + seconds
        while self.open and time.monotonic() < until:
            self.pump(POLL_S)

    def _frames(self) -> None:
        incoming, at = self._in, 0
        while len(incoming) - at >= 9:
            size = int.from_bytes(incoming[at : at + 3], "big")
            if len(incoming) - at < 9 + size:
                break
            stream = int.from_bytes(incoming[at + 5 : at + 9], "big")
            self._take(incoming[at + 3], incoming[at + 4], stream, bytes(incoming[at + 9 : at + 9 + size]))
            at += 9 + size
        del incoming[:at]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._agree(payload)
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            amount = int.from_bytes(payload, "big")
            if stream:
                self._windows[stream] += amount
            else:
                self._connection_window += amount
        elif kind == HEADERS:
            self._ended(stream, self._decoder.decode(payload), last=bool(flags & END_STREAM))
        elif kind == RST_STREAM:
            self._over(stream, "reset")
        elif kind == GOAWAY and int.from_bytes(payload[4:8], "big"):
            raise Gone(f"GOAWAY {int.from_bytes(payload[4:8], 'big')}")

    def _agree(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            if int.from_bytes(payload[at : at + 2], "big") == INITIAL_WINDOW_SIZE:
                self._stream_window = int.from_bytes(payload[at + 2 : at + 6], "big")
        self.send(frame(SETTINGS, ACK, 0))

    def _ended(self, stream: int, fields: Iterable[tuple[str | bytes, str | bytes]], *, last: bool) -> None:
        found = {str(name): str(value) for name, value in fields}
        if last:
            status = found.get("grpc-status")
            self._over(stream, Status(int(status)).name if status else f"http {found.get(':status')}")

    def _over(self, stream: int, how: str) -> None:
        if stream in self.open:
            self.open.discard(stream)
            self._windows.pop(stream, None)
            self.outcomes[how] += 1
