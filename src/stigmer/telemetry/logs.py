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
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

import structlog
from opentelemetry import trace
from structlog.contextvars import merge_contextvars
from structlog.stdlib import ProcessorFormatter

from stigmer.telemetry.current import CURRENT
from stigmer.telemetry.log_stream import LogStream, printable
from stigmer.wire.masking import mask, mask_messages

if TYPE_CHECKING:
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

logging.getLogger("stigmer").addHandler(logging.NullHandler())


class Event(dict[str, Any]):
    """The fields of one line. Its text, for a host's own formatters, is made only when one asks for it."""

    def __str__(self) -> str:
        fields = " ".join(f"{key}={value!r}" for key, value in self.items() if key not in {"event", "exc_info"})
        return f"{self.get('event', '')} {fields}".rstrip()


class Seldom:
    """For what could be said at each call: says when it is time to say it again."""

    def __init__(self, pause_s: float = 10.0) -> None:
        self._pause_s, self._next_s = pause_s, 0.0

    def now(self) -> bool:
        """Whether `pause_s` are over since this was last true."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + self._pause_s
        return True


_LEVELS = {name.lower(): level for name, level in logging.getLevelNamesMapping().items()}


class Logger(structlog.stdlib.BoundLogger):
    """structlog's logger on one of the standard library's; it never raises.

    The level is asked at each call, so a logger made at import follows a later `configure` or a host's `setLevel`.
    """

    def exception(self, event: str | None = None, *args: Any, **kw: Any) -> None:  # noqa: ANN401  # as the base
        """A failure, with the traceback of the exception that is being handled."""
        self._proxy_to_logger("error", event, *args, **{"exc_info": True, **kw})

    def _proxy_to_logger(self, method_name: str, event: str | None = None, *event_args: Any, **event_kw: Any) -> None:  # noqa: ANN401  # as the base
        if not self.isEnabledFor(_LEVELS[method_name]):
            return
        try:
            super()._proxy_to_logger(method_name, event, *event_args, **event_kw)
        except Exception as error:  # noqa: BLE001  # a host's handler, or a value's repr, must not fail the call that logs
            _complain(error)


_seldom = Seldom(COMPLAINT_S)


def _complain(error: Exception) -> None:
    """Say on stderr, the one way that is left, that logging fails."""
    if logging.lastResort is not None and _seldom.now():
        text = f"stigmer: a log line was lost: {type(error).__name__}"
        with suppress(Exception):
            logging.lastResort.handle(logging.makeLogRecord({"levelno": logging.WARNING, "msg": text}))


def _of_the_call(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """A processor: request id and attempt on every line of a call, the trace on those within a recorded span."""
    call, span = CURRENT.get(), trace.get_current_span()
    if call is not None:
        line.setdefault("request_id", call.request_id)
        line.setdefault("attempt", call.attempt)
    if span.is_recording():
        line["trace_id"] = trace.format_trace_id(span.get_span_context().trace_id)
    return line


def _to_stdlib(logger: WrappedLogger, method: str, line: EventDict) -> tuple[tuple[Event], dict[str, Any]]:
    """The last processor: arguments for `logging.Logger.info` and the like, as ProcessorFormatter wants them."""
    kept = {"_logger": logger, "_name": method}
    return (Event(line),), {"exc_info": line.get("exc_info"), "extra": kept, "stacklevel": _USER_FRAME}


_PROCESSORS = (merge_contextvars, _of_the_call, mask_messages, _to_stdlib)
_USER_FRAME = 5  # from logging.Logger.info past structlog's methods and ours to the line that logs


def get_logger(name: str, **bound: object) -> Logger:
    """The logger of a module (`stigmer.store`, `stigmer.call`), with fields bound to all its lines.

    Every line of a call bears its request id and attempt, within a span that an SDK records the trace's id; fields
    bound with `structlog.contextvars` are added as well.
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
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line shows them
    structlog.configure(processors=list(_PROCESSORS), wrapper_class=Logger, logger_factory=logging.getLogger)


def _handler(format_: Format, stream: TextIO | None) -> logging.Handler:
    if stream is None:  # python without a stderr
        return logging.NullHandler()
    handler = LogStream(stream)
    render = (_json,) if format_ == "json" else (_escaped, _console(stream))
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[_masked],
            processors=[_headed, structlog.processors.format_exc_info, *render],
            pass_foreign_args=True,
            use_get_message=False,
        )
    )
    return handler


def _masked(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """A processor: the text of a line that is not ours, made of masked arguments."""
    text, arguments = str(mask(line["_record"].msg)), mask(line.pop("positional_args"))
    if arguments:
        text %= tuple(cast("list[object]", arguments)) if isinstance(arguments, list) else arguments
    stack = {"stack": line.pop("stack_info")} if "stack_info" in line else {}
    return {**line, "event": text, **stack}


def _headed(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """A processor: time, level, logger and event come first, and no field can pose as one of them."""
    record: logging.LogRecord = line.pop("_record")
    del line["_from_structlog"]
    when = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="microseconds")
    head = {"timestamp": when.replace("+00:00", "Z"), "level": record.levelname.lower(), "logger": record.name}
    return {**head, "event": line.get("event", ""), **{key: line[key] for key in line if key not in head}}


_encode = json.JSONEncoder(default=str, separators=(",", ":")).encode


def _json(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    return _encode(line).replace("\x7f", "\\u007f")  # the one control character that is ASCII to json


def _console(stream: TextIO) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty() and not os.environ.get("NO_COLOR"),
        exception_formatter=structlog.dev.plain_traceback,
        sort_keys=False,
        repr_native_str=True,
    )


class _Text(str):
    """What the console shows as it is, be it the text of a value or its repr."""

    __slots__ = ()
    __repr__ = str.__str__


def _escaped(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """A processor: no value can break the line or steer a terminal; the lines of a traceback are set in."""
    return {printable(key): _Text(_shown(key, value)) for key, value in line.items()}


def _shown(key: str, value: object) -> str:
    if key in _BLOCKS:
        return "\n".join(f"  {printable(line)}" for line in str(value).split("\n"))
    return printable(str(value) if key in _TEXTS else repr(value))


_TEXTS = frozenset({"timestamp", "level", "event", "logger", "logger_name"})
_BLOCKS = frozenset({"exception", "stack"})  # of many lines
