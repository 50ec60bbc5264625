"""Structured logs: `get_logger` for every module, `configure` for the command line alone.

A line goes from `get_logger(...)` to the standard library's logger of the same name as one `Event`; what becomes of it
is the process's choice. `stigmer serve` calls `configure`. A host that embeds stigmer configures `logging` as it likes
and sees plain text with `key=value` pairs at the end; one that configures nothing sees nothing, because "stigmer" has a
NullHandler. structlog's own default would print to stdout, which a library must not do: hence no bare
`structlog.get_logger` in modules. Messages are masked before either sees them, and tracebacks show no local variables.
What a caller sends can neither start a line nor steer a terminal: the console escapes it, JSON is ASCII alone.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sys
import time
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO, cast

import structlog
from structlog.contextvars import merge_contextvars

from stigmer.telemetry.log_stream import LogStream, printable
from stigmer.wire.masking import mask, mask_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import EventDict, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["console", "json"]

_OF_HEADERS = (
    "opentelemetry.baggage",
    "opentelemetry.propagators",
    "opentelemetry.trace.propagation",
    "opentelemetry.trace.span",
)
"""Loggers that warn of what a caller's headers hold; any caller could fill the log with it."""

COMPLAINT_S = 60.0
"""How long a failure of a host's log handler goes unmentioned after one that was told of."""

_USER_FRAME = 3  # from logging.Logger.log past _emit and the method to the line that logs

logging.getLogger("stigmer").addHandler(logging.NullHandler())


class Event(dict[str, Any]):
    """The fields of one line. Its text, for a host's own formatters, is made only when one asks for it."""

    def __str__(self) -> str:
        fields = " ".join(f"{key}={value!r}" for key, value in self.items() if key != "event")
        return f"{self.get('event', '')} {fields}".rstrip()


class Room(Protocol):
    """What a call asks before it reads rows for a reply, so that no client has the server hold too much."""

    @property
    def may_read(self) -> bool:
        """Whether it may now."""
        ...

    def read(self, size: int) -> None:
        """It has read so many bytes."""
        ...

    async def start(self) -> None:
        """Wait until it may; raises ResourceExhausted where it might not for too long."""
        ...


class Named(Protocol):
    """What a call's log lines bear, and whose call it is."""

    request_id: str
    attempt: int
    peer: str
    room: Room | None

    @property
    def outermost(self) -> Named:
        """The call inside which, at last, it was made."""
        ...


CURRENT: ContextVar[Named | None] = ContextVar("stigmer_call", default=None)
"""The call that the running task works on; see `pipeline.call`."""


def _of_the_call(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """A processor: request id and attempt on every line of a call."""
    call = CURRENT.get()
    if call is not None:
        event_dict.setdefault("request_id", call.request_id)
        event_dict.setdefault("attempt", call.attempt)
    return event_dict


def _to_stdlib(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> tuple[tuple[Event], dict[str, Any]]:
    """The last processor: arguments for `logging.Logger.log`."""
    exc_info = event_dict.pop("exc_info", None)
    stack_info = bool(event_dict.pop("stack_info", False))
    return (Event(event_dict),), {"exc_info": exc_info, "stack_info": stack_info}


class Seldom:
    """For what could be said at each call: says when it is time to say it again."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s, self._next_s = pause_s, 0.0

    def now(self) -> bool:
        """Whether `pause_s` are over since this was last true."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + self._pause_s
        return True


class Logger(structlog.BoundLoggerBase):
    """A bound logger that does nothing, at the price of one check, below its level, and never raises.

    The level is asked at each call, so a logger made at import follows a later `configure` or a host's `setLevel`.
    """

    @property
    def tells_debug(self) -> bool:
        """Whether debug lines go anywhere, for who would have to work to make one."""
        return bool(self._logger.isEnabledFor(logging.DEBUG))

    def debug(self, event: str, **fields: object) -> None:
        """For who looks into a fault."""
        if self._logger.isEnabledFor(logging.DEBUG):
            self._emit(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """What happened, one line a call."""
        if self._logger.isEnabledFor(logging.INFO):
            self._emit(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something to look at that did not stop the work."""
        if self._logger.isEnabledFor(logging.WARNING):
            self._emit(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """A failure of the server's own."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._emit(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """A failure, with the traceback of the exception that is being handled."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._emit(logging.ERROR, event, {"exc_info": True, **fields})

    def _emit(self, level: int, event: str, fields: dict[str, Any]) -> None:
        try:
            args, kwargs = self._process_event(logging.getLevelName(level).lower(), event, fields)
            self._logger.log(level, *args, stacklevel=_USER_FRAME, **kwargs)
        except Exception as error:  # noqa: BLE001  # a host's handler, or a value's repr, must not fail the call that logs
            _complain(error)


_seldom = Seldom(COMPLAINT_S)


def _complain(error: Exception) -> None:
    """Say on stderr, the one way that is left, that logging fails."""
    if logging.lastResort is not None and _seldom.now():
        text = f"stigmer: a log line was lost: {type(error).__name__}"
        with suppress(Exception):
            logging.lastResort.handle(logging.makeLogRecord({"levelno": logging.WARNING, "msg": text}))


_PROCESSORS = (merge_contextvars, _of_the_call, mask_messages, _to_stdlib)


def get_logger(name: str, **bound: object) -> Logger:
    """The logger of a module (`stigmer.store`, `stigmer.call`), with fields bound to all its lines.

    Every line of a call bears its request id and attempt; fields bound with `structlog.contextvars` are added as well.
    """
    return Logger(logging.getLogger(name), _PROCESSORS, dict(bound))


def configure(level: Level, format_: Format, stream: TextIO | None = None) -> None:
    """Send the process's logs to `stream` (default: stderr), one line each; a second call replaces the first.

    stigmer logs from `level` up. Everybody else's loggers, and Python's warnings, go the same way from WARNING up; a
    bare `structlog.get_logger` joins them. OpenTelemetry's complaints about a caller's headers are dropped. Takes over
    the root logger, so only the command line calls it.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    handler = _handler(format_, stream if stream is not None else sys.stderr)
    logging.basicConfig(handlers=[handler], level=max(least, logging.WARNING), force=True)
    logging.getLogger("stigmer").setLevel(least)
    for name in _OF_HEADERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.captureWarnings(True)
    structlog.configure(processors=list(_PROCESSORS), wrapper_class=Logger, logger_factory=_factory)


def _factory(name: str = "structlog", *_args: object) -> logging.Logger:
    return logging.getLogger(name)


def _handler(format_: Format, stream: TextIO | None) -> logging.Handler:
    if stream is None:  # python without a stderr
        return logging.NullHandler()
    handler = LogStream(stream)
    handler.setFormatter(_Formatter(_json if format_ == "json" else _console(stream)))
    return handler


class _Formatter(logging.Formatter):
    """Renders our events and everybody else's records alike."""

    def __init__(self, render: Callable[[EventDict], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        when = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line: EventDict = {
            "timestamp": when.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        line.update({key: value for key, value in _fields(record).items() if key not in line})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return self._render(line)


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    message: object = record.msg
    if isinstance(message, Event):
        return {"event": message.get("event", ""), **message}
    text = str(mask(message))
    if not record.args:
        return {"event": text}
    arguments = mask(record.args)
    return {"event": text % (tuple(cast("list[object]", arguments)) if isinstance(arguments, list) else arguments)}


_encode = json.JSONEncoder(default=str, separators=(",", ":")).encode


def _json(line: EventDict) -> str:
    return _encode(line).replace("\x7f", "\\u007f")  # the one control character that is ASCII to json


def _console(stream: TextIO) -> Callable[[EventDict], str]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=stream.isatty() and not os.environ.get("NO_COLOR"),
        exception_formatter=structlog.dev.plain_traceback,
        sort_keys=False,
        repr_native_str=True,
    )
    return lambda line: renderer(None, "", {printable(key): _harmless(key, value) for key, value in line.items()})


class _Shown:
    """A value whose repr is made and harmless."""

    __slots__ = ("_text",)

    def __init__(self, value: object) -> None:
        self._text = printable(repr(value))

    def __repr__(self) -> str:
        return self._text


def _harmless(key: str, value: object) -> object:
    """The value as the renderer may have it: it prints some keys as they are, of the others the repr."""
    if key in _TEXTS:
        return printable(str(value))
    if key in _BLOCKS:
        return "\n".join(f"  {printable(line)}" for line in str(value).split("\n"))
    return value if type(value) in _SAFE else _Shown(value)


_TEXTS = frozenset({"timestamp", "level", "event", "logger", "logger_name"})
_BLOCKS = frozenset({"exception", "stack"})  # of many lines, all set in
_SAFE = (str, int, float, bool, type(None))
