"""The log's way out: a stream that is never waited for, and whose loss hurts nobody.

`logs` uses it, and `cli` its `printable`. Writing happens in the caller's thread, so that the last lines before a crash
are not lost in a queue. A full pipe costs one wait of `PATIENCE_MS`; then lines are counted, not written, until the
reader is back.
"""

from __future__ import annotations

import logging
import os
import select
from typing import TextIO

PATIENCE_MS = 50
"""How long one line may wait for a reader that does not read, in milliseconds."""

_PIPE_BUF = select.PIPE_BUF  # a pipe that polls writable takes this many bytes without blocking


def printable(text: str) -> str:
    """The text as a terminal may have it: what would break the line, move the cursor or turn the text is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class LogStream(logging.Handler):
    """Writes records to a text stream, through its file descriptor where it has one; drops them when it cannot.

    Attributes:
        lost: lines dropped since the last one that told of it.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._fd = _descriptor(stream)
        self._poll = select.poll()
        self._stalled = self._torn = False
        self.lost = 0
        if self._fd is not None:
            self._poll.register(self._fd, select.POLLOUT)

    def __repr__(self) -> str:
        return f"<LogStream fd={self._fd} stalled={self._stalled} lost={self.lost}>"

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or count it as lost; never raises."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001  # a value whose str() fails must not fail the call that logs it
            line = f"a log line of {record.name} could not be rendered: {type(error).__name__}"
        try:
            self._write(line)
        except (OSError, ValueError):  # the pipe is gone, or the stream is closed
            self.lost += 1

    def _write(self, line: str) -> None:
        if self._fd is None:
            self._stream.write(line + "\n")
            self._stream.flush()
            return
        self._write_bytes(self._fd, f"{self._preface()}{line}\n".encode(errors="backslashreplace"))

    def _preface(self) -> str:
        """Ends a line that was cut short."""
        return "\n" if self._torn else ""

    def _write_bytes(self, fd: int, data: bytes) -> None:
        for start in range(0, len(data), _PIPE_BUF):
            if not self._writable():
                self._torn = self._torn or start > 0
                self.lost += 1
                return
            os.write(fd, data[start : start + _PIPE_BUF])
        self._torn = False
        self._tell_lost()

    def _writable(self) -> bool:
        ready = bool(self._poll.poll(0 if self._stalled else PATIENCE_MS))
        self._stalled = not ready
        return ready

    def _tell_lost(self) -> None:
        if self.lost:
            lost, self.lost = self.lost, 0
            text = "log lines were lost: nobody read them in time"
            self.emit(logging.makeLogRecord({"name": "stigmer.logs", "levelname": "WARNING", "msg": f"{lost} {text}"}))


def _descriptor(stream: TextIO) -> int | None:
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError):
        return None
