"""A client's bytes, cut into whole frames, so that each connection has its turn; and a price for what it need not send.

`protocol` hands whole frames on to h2, a few at a time. h2 itself would act on all that it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.exceptions import DenialOfServiceError, FrameTooLargeError
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

if TYPE_CHECKING:
    from stigmer.server.tuned_h2 import TunedConnection

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9  # of a frame (RFC 9113, 4.1)

HEADERS = (HeadersFrame.type, ContinuationFrame.type)
HEADER_WEIGHT = 8  # a byte of them costs so much more than one of data: 0.14 us

# What frames cost that a client may send as it likes, in microseconds of the loop, more than less: a peer has
# ALLOWANCE at first, PER_S comes to it each second, and what we send to it earns more. So pings may come with each
# message, and window updates with each frame, but not for their own sake.
ALLOWANCE = 20_000.0
PER_S = 2_000.0
PING, SETTINGS, SETTINGS_PER_STREAM, OTHER = 50, 200, 2, 25
PER_CALL = 50  # earned with each call


class FrameReader:
    """What came from a client and was not acted on yet."""

    def __init__(self, connection: TunedConnection, now: float) -> None:
        self._connection = connection
        self._data = bytearray()
        self._begun = False
        self._left, self._at = ALLOWANCE, now

    def __len__(self) -> int:
        return len(self._data)

    def add(self, data: memoryview) -> None:
        """More bytes came."""
        self._data += data

    def clear(self) -> None:
        """Forget them."""
        self._data = bytearray()

    def take(self, most: int, most_bytes: int, now: float) -> bytes:
        """The next whole frames, `most` of them; none where more bytes are needed first.

        They end with the one that takes them to `most_bytes`, a byte of headers counted as HEADER_WEIGHT.

        Raises:
            FrameTooLargeError: a frame is longer than we agreed to; told from its header.
            DenialOfServiceError: the client sends more than it may of what keeps the loop busy.
        """
        end, cost, weight = self._preface(), 0, 0
        for _ in range(most if self._begun else 0):
            size = self._size_at(end)
            if not size or end + size > len(self._data):
                break
            cost += self._cost(end, size)
            weight += size * (HEADER_WEIGHT if self._data[end + 3] in HEADERS else 1)
            end += size
            if weight >= most_bytes:
                break
        if cost:
            self._charge(cost, now)
        taken = bytes(self._data[:end])
        del self._data[:end]
        return taken

    def whole(self) -> bool:
        """Whether `take` would give something.

        Raises:
            FrameTooLargeError: as there.
        """
        return self._begun and 0 < self._size_at(0) <= len(self._data)

    def _preface(self) -> int:
        """The length of the preface, where it is the next thing; h2 is shown it as soon as it is wrong."""
        if self._begun or (len(self._data) < len(PREFACE) and PREFACE.startswith(self._data)):
            return 0
        self._begun = True
        return len(PREFACE)

    def _size_at(self, at: int) -> int:
        """The length of the frame that begins there, its header included; 0 where that is not there."""
        if len(self._data) < at + HEADER_BYTES:
            return 0
        length = int.from_bytes(self._data[at : at + 3], "big")
        if length > self._connection.max_inbound_frame_size and at == 0:
            raise FrameTooLargeError("a frame longer than we agreed to")
        return length + HEADER_BYTES

    def _cost(self, at: int, size: int) -> int:
        kind = self._data[at + 3]
        if kind == DataFrame.type:
            return 0 if size > HEADER_BYTES else OTHER
        if kind == HeadersFrame.type:
            return -PER_CALL
        if (
            kind == RstStreamFrame.type
            and int.from_bytes(self._data[at + 5 : at + 9], "big") in self._connection.streams
        ):
            return 0  # the end of a call, which comes once; how many may be cancelled, `dispatch` counts
        if kind == PingFrame.type:
            return PING
        if kind == SettingsFrame.type:
            return SETTINGS + SETTINGS_PER_STREAM * len(self._connection.streams)
        return OTHER

    def _charge(self, cost: int, now: float) -> None:
        left = self._left + (now - self._at) * PER_S + self._connection.take_earned() - cost
        self._left, self._at = min(left, ALLOWANCE), now
        if left < 0:
            raise DenialOfServiceError("more pings, settings or window updates than a client needs")
