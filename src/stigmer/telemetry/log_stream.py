"""The log's way out: lines wait in a bounded queue, and a thread writes them, so that no caller waits for a reader.

`logs` uses it, and `cli` its `printable` and `flush`. Where the queue is full, lines are counted, not kept, until the
reader is back. What waits is written at exit, within FLUSH_S; `kill -9` loses what PAUSE_S has brought.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import time
from logging.handlers import QueueHandler, QueueListener
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

LINES = 4096
"""How many lines may wait for a slow reader."""
CHARACTERS = 8 * 2**20
"""How long they may be together; one line may be longer."""
FLUSH_S = 1.0
"""How long the end of the process may wait for a reader that does not read."""
PAUSE_S = 0.005
"""How long lines are gathered after a write: each time that the thread wakes it takes Python's lock from the loop."""

_SHARE = 64 * 1024  # characters of lines joined into one write


def printable(text: str) -> str:
    """The text as a terminal may have it: what would break the line, move the cursor or turn the text is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def flush() -> None:
    """Write what the process has logged; for who ends it without Python's own way to do so."""
    for handler in logging.getLogger().handlers:
        handler.flush()


class LogStream(QueueHandler):
    """Queues finished lines for a text stream; drops them where too many wait. Never raises and never waits.

    Attributes:
        lost: lines dropped since the last one that told of it.
    """

    def __init__(self, stream: TextIO, lines: int = LINES) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue()
        super().__init__(self._lines)
        self._most = lines
        self._writer = _Writer(self._lines, stream, self.prepare)
        self._writer.start()
        self._queued = 0
        self.lost = 0

    def __repr__(self) -> str:
        return f"<LogStream {self._lines.qsize()} waiting, {self.lost} lost>"

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line; once one was lost, and until half of the room is free, do not even make it."""
        if self._is_full():
            self.lost += 1
        else:
            self._tell_lost()
            super().emit(record)

    def _is_full(self) -> bool:
        part = 2 if self.lost else 1
        characters = self._queued - self._writer.written
        return self._lines.qsize() >= self._most // part or characters > CHARACTERS // part

    def _tell_lost(self) -> None:
        if self.lost:
            super().emit(_told(self.lost, "nobody read them in time"))
            self.lost = 0

    def prepare(self, record: logging.LogRecord) -> str:
        """The line, finished at once: what it tells of may change before it is written."""
        try:
            return self.format(record)
        except Exception as error:  # noqa: BLE001  # a value whose str() fails must not fail the call that logs it
            return f"a log line of {record.name} could not be rendered: {type(error).__name__}"

    def enqueue(self, record: Any) -> None:  # noqa: ANN401  # a line, where the base has records
        """Queue one line, and count its characters."""
        self._queued += len(record)
        self._lines.put(record)

    def flush(self) -> None:
        """Wait until all lines are written, for FLUSH_S at most."""
        self._tell_lost()
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, FLUSH_S)

    def close(self) -> None:
        """Let the thread end when it has written what waits; one that is stuck in a write ends with the process."""
        self._writer.enqueue_sentinel()
        super().close()


def _told(lost: int, why: str) -> logging.LogRecord:
    fields = {"name": "stigmer.telemetry.logs", "levelname": "WARNING", "msg": f"{lost} log lines were lost: {why}"}
    return logging.makeLogRecord(fields)


class _Writer(QueueListener):
    """Writes lines to a stream, through its file descriptor where it has one; tells of those that it could not write.

    Attributes:
        written: how many characters so far, of lines without their ends.
    """

    def __init__(
        self, lines: queue.Queue[str | None], stream: TextIO, line: Callable[[logging.LogRecord], str]
    ) -> None:
        super().__init__(lines)
        self._lines, self._line = lines, line
        self._stream = stream
        self._fd = _descriptor(stream)
        self._joined: list[str] = []
        self._length = 0
        self._unwritten = 0
        self.written = 0

    def handle(self, record: Any) -> None:  # noqa: ANN401  # a line, where the base has records
        """Write one line, with those that follow it."""
        self._joined.append(record)
        self._length += len(record)
        if self._lines.empty() or self._length > _SHARE:
            self._write_joined()
            self.written += self._length
            self._joined, self._length = [], 0
            time.sleep(PAUSE_S)

    def _write_joined(self) -> None:
        before = [self._line(_told(self._unwritten, "they could not be written"))] if self._unwritten else []
        try:
            self._write("\n".join([*before, *self._joined, ""]))
            self._unwritten = 0
        except (OSError, ValueError):  # the disk is full, the pipe is gone, or the stream is closed
            self._unwritten += len(self._joined)

    def _write(self, text: str) -> None:
        if self._fd is None:
            self._stream.write(text)
            self._stream.flush()
            return
        data = memoryview(text.encode(errors="backslashreplace"))
        while data:
            select.select((), (self._fd,), ())  # another process may have made the pipe one that does not wait
            data = data[os.write(self._fd, data) :]


def _descriptor(stream: TextIO) -> int | None:
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError):
        return None
