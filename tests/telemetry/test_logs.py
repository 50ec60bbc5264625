from __future__ import annotations

import io
import json
import logging
import os
import select
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from structlog.contextvars import bound_contextvars

import stigmer
from stigmer.telemetry import log_stream, logs
from stigmer.telemetry.log_stream import LogStream
from stigmer.telemetry.logs import configure, get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

SRC = Path(stigmer.__file__).parents[1]
SECRET = "hunter2-canary"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("stigmer")
    before = (root.handlers[:], root.level, ours.level)
    of_headers = {name: logging.getLogger(name).level for name in logs._OF_HEADERS}
    showwarning = warnings.showwarning
    kept = {name: getattr(logging, name) for name in ("logThreads", "logProcesses", "logMultiprocessing")}
    root.handlers[:] = []
    yield
    root.handlers[:], root.level, ours.level = before[0], before[1], before[2]
    for name, level in of_headers.items():
        logging.getLogger(name).setLevel(level)
    root.setLevel(before[1])  # clears the loggers' level caches
    logging.captureWarnings(False)
    warnings.showwarning = showwarning
    for name, value in kept.items():
        setattr(logging, name, value)
    structlog.reset_defaults()


@pytest.fixture
def secret() -> Message:
    """A message with a value and a flag, as every secret of the contract has them."""
    file = descriptor_pb2.FileDescriptorProto(name="s.proto", package="s", syntax="proto3")
    message = file.message_type.add(name="Value")
    message.field.add(name="value", number=1, type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING, label=1)
    message.field.add(name="is_secret", number=2, type=descriptor_pb2.FieldDescriptorProto.TYPE_BOOL, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("s.Value"))
    filled: Message = made(value=SECRET, is_secret=True)
    return filled


class Said(io.StringIO):
    """A stream whose text is complete when it is asked for."""

    def getvalue(self) -> str:
        log_stream.flush()
        return super().getvalue()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def json_logs(level: Any = "info") -> Said:
    stream = Said()
    configure(level, "json", stream)
    return stream


def test_a_json_line_has_time_level_logger_event_and_fields() -> None:
    stream = json_logs()
    get_logger("stigmer.call", kind="Agent").info("call finished", method="/x/Get", code="OK", duration_ms=1.5)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert list(line) == ["level", "logger", "event", "kind", "method", "code", "duration_ms"]
    assert (line["level"], line["logger"], line["event"]) == ("info", "stigmer.call", "call finished")


def test_fields_of_the_context_are_on_every_line() -> None:
    stream = json_logs()
    with bound_contextvars(request_id="r-1"):
        get_logger("stigmer.x").info("e")
    assert lines(stream)[0]["request_id"] == "r-1"


def test_lines_within_a_recorded_span_bear_its_trace() -> None:
    stream = json_logs()
    log, remote = get_logger("stigmer.x"), trace.NonRecordingSpan(trace.SpanContext(7, 8, is_remote=True))
    with TracerProvider().get_tracer("host").start_as_current_span("s") as span:
        log.info("recorded")
    with trace.use_span(remote):
        log.info("passed on, by nobody recorded")
    recorded, passed_on = lines(stream)
    assert recorded["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert "trace_id" not in passed_on


def test_fields_cannot_pose_as_time_level_or_logger() -> None:
    stream = json_logs()
    get_logger("stigmer.x").warning("e", level="debug", logger="other", timestamp="never")
    (line,) = lines(stream)
    assert (line["level"], line["logger"]) == ("warning", "stigmer.x")
    assert line["timestamp"] != "never"


def test_a_logger_made_before_configure_follows_it() -> None:
    log = get_logger("stigmer.early")
    stream = json_logs("error")
    log.debug("no")
    log.info("no")
    log.warning("no")
    log.error("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


def test_below_the_level_nothing_is_run() -> None:
    class Untouchable:
        def __str__(self) -> str:
            raise AssertionError

        __repr__ = __str__

    stream = json_logs("info")
    get_logger("stigmer.x").debug("e", thing=Untouchable())
    assert stream.getvalue() == ""


def test_foreign_loggers_come_through_from_warning_up() -> None:
    stream = json_logs("debug")
    logging.getLogger("grpclib").info("no")
    logging.getLogger("asyncio").warning("slow: %s %d", "x", 3)
    logging.getLogger("aiosqlite").warning("%(a)s", {"a": "by name"})
    structlog.get_logger("other").warning("bare", n=1)
    assert [(line["logger"], line["event"]) for line in lines(stream)] == [
        ("asyncio", "slow: x 3"),
        ("aiosqlite", "by name"),
        ("other", "bare"),
    ]


def test_warnings_are_captured() -> None:
    stream = json_logs()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = lines(stream)
    assert line["logger"] == "py.warnings"
    assert "DeprecationWarning: old" in line["event"]


def test_a_traceback_shows_no_local_variables() -> None:
    for format_ in ("json", "console"):
        stream = Said()
        configure("info", format_, stream)
        _fail_with_a_local(SECRET)
        assert "RuntimeError: boom" in stream.getvalue()
        assert SECRET not in stream.getvalue()


def _boom() -> None:
    raise RuntimeError("boom")


def _fail_with_a_local(value: str) -> None:
    try:
        _boom()
    except RuntimeError:
        get_logger("stigmer.x").exception("failed", size=len(value))


def test_messages_are_masked_in_our_lines_and_in_foreign_ones(secret: Message) -> None:
    stream = json_logs()
    get_logger("stigmer.x").info("e", request=secret, nested=[{"a": secret}])
    logging.getLogger("grpclib").warning("got %s", secret)
    logging.getLogger("grpclib").warning(secret)
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count("***") == 4


def test_a_value_that_json_does_not_know_is_shown_as_text() -> None:
    stream = json_logs()
    get_logger("stigmer.x").info("e", path=Path("/x"), keys={1})
    assert (lines(stream)[0]["path"], lines(stream)[0]["keys"]) == ("/x", [1])


def test_a_line_that_cannot_be_rendered_does_not_break_the_call() -> None:
    class Broken:
        def __str__(self) -> str:
            raise ValueError(SECRET)

        __repr__ = __str__

    stream = json_logs()
    get_logger("stigmer.x").info("e", thing=Broken())
    logging.getLogger("other").warning("%d", "text")
    assert "stigmer.x could not be rendered: ValueError" in stream.getvalue()
    assert "other could not be rendered: TypeError" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_the_console_has_colours_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(Said):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    for stream, coloured in ((Said(), False), (Terminal(), True)):
        configure("info", "console", stream)
        get_logger("stigmer.x").info("hello", n=1)
        assert "hello" in stream.getvalue()
        assert ("\x1b[" in stream.getvalue()) is coloured
    monkeypatch.setenv("NO_COLOR", "1")
    configure("info", "console", stream := Terminal())
    get_logger("stigmer.x").info("hello")
    assert "\x1b[" not in stream.getvalue()


def test_a_value_cannot_forge_a_line_on_the_console() -> None:
    configure("info", "console", stream := Said())
    get_logger("stigmer.x").info("e", name="a\nforged\x1b[31m")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


EVIL = "x\n2026-01-01T00:00:00Z [error    ] FORGED\r\x1b[31m\x7f\x85\x9b31m\u2028\u2029\u202e\ud800\0\t"
ESCAPED = r"x\n2026-01-01T00:00:00Z [error    ] FORGED\r\x1b[31m\x7f\x85\x9b31m\u2028\u2029\u202e\ud800\x00\t"


class Odd:
    """A value whose repr is as raw as its text."""

    def __repr__(self) -> str:
        return EVIL


def _raise(error: Exception) -> None:
    raise error


def _log_evil_everywhere() -> None:
    log = get_logger("stigmer.x")
    log.warning(EVIL, text=EVIL, odd=Odd(), inside={EVIL: [EVIL, Odd()]}, **{EVIL: 1})
    log.warning("e", logger_name=EVIL, exception=EVIL)
    log.warning("e", stack=EVIL)
    logging.getLogger("foreign\x1b").warning("got %s", EVIL)
    logging.getLogger("foreign").warning(EVIL)
    logging.getLogger("foreign").warning("%s", Odd(), stack_info=True)
    try:
        _raise(RuntimeError(EVIL))
    except RuntimeError as error:
        error.add_note(EVIL)
        log.exception("failed")
        logging.getLogger("foreign").exception("failed")


def test_no_text_reaches_the_console_raw() -> None:
    configure("info", "console", stream := Said())
    _log_evil_everywhere()
    said = stream.getvalue()
    assert said.replace("\n", "").isprintable()
    assert sum(not line.startswith("  ") for line in said.split("\n")[:-1]) == 8
    assert not any(line.startswith("2026-01-01") for line in said.split("\n"))
    assert ESCAPED in said


def test_no_text_reaches_a_terminal_raw_through_json() -> None:
    stream = json_logs()
    _log_evil_everywhere()
    said = stream.getvalue()
    assert said.isascii()
    assert said.replace("\n", "").isprintable()
    first, _, _, fourth, *_ = lines(stream)
    assert (first["event"], first["text"], first[EVIL]) == (EVIL, EVIL, 1)
    assert fourth["event"] == f"got {EVIL}"


def test_a_traceback_s_lines_are_set_in_on_the_console() -> None:
    configure("info", "console", stream := Said())
    _fail_with_a_local(SECRET)
    first, second, *_, last = stream.getvalue().splitlines()
    assert "[error    ] failed " in first
    assert (second, last) == ("  Traceback (most recent call last):", "  RuntimeError: boom")


@pytest.mark.parametrize(
    "headers",
    [
        {"baggage": "a\n\x1b[31mFORGED"},
        {"baggage": "B" * 9000},
        {"baggage": "a b=c"},
        {"tracestate": "zz FORGED" * 20},
        {"traceparent": "0" * 600},
    ],
)
def test_a_caller_s_headers_make_opentelemetry_log_nothing(headers: dict[str, str]) -> None:
    traceparent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    stream = json_logs("debug")
    logging.getLogger("opentelemetry.exporter").warning("an operator's business")
    propagate.extract(traceparent | headers)
    assert [line["logger"] for line in lines(stream)] == ["opentelemetry.exporter"]


def test_a_second_configure_replaces_the_first() -> None:
    first = json_logs()
    second = json_logs()
    get_logger("stigmer.x").info("e")
    assert (first.getvalue(), len(lines(second))) == ("", 1)


def test_an_embedder_who_configures_nothing_sees_nothing() -> None:
    code = "from stigmer.telemetry.logs import get_logger; get_logger('stigmer.x').error('e', n=1)\n"
    code += "get_logger('stigmer').info('e')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SRC)}, capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"", b"")


def test_an_embedder_with_plain_logging_sees_text_and_the_place(secret: Message) -> None:
    stream = Said()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(funcName)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    get_logger("stigmer.x").info("call finished", code="OK", request=secret)
    assert stream.getvalue().startswith(
        "INFO stigmer.x test_an_embedder_with_plain_logging_sees_text_and_the_place call finished code='OK' request="
    )
    assert SECRET not in stream.getvalue()
    stream.truncate(0)
    try:
        _boom()
    except RuntimeError:
        get_logger("stigmer.x").exception("failed", code="INTERNAL")
    first, *_, last = stream.getvalue().strip("\0").splitlines()
    assert first.endswith("test_an_embedder_with_plain_logging_sees_text_and_the_place failed code='INTERNAL'")
    assert last == "RuntimeError: boom"


def test_without_a_stderr_logging_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    configure("info", "json")
    get_logger("stigmer.x").info("e")


def test_a_broken_pipe_kills_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        configure("info", "json", stream)
        get_logger("stigmer.x").info("into the void")
        get_logger("stigmer.x").info("again")


def test_a_closed_stream_kills_nothing() -> None:
    stream = json_logs()
    stream.close()
    get_logger("stigmer.x").info("e")


@contextmanager
def piped(lines: int = log_stream.LINES) -> Iterator[tuple[LogStream, io.FileIO]]:
    """A handler that writes into a pipe, and the pipe's other end."""
    reader, writer = os.pipe()
    with io.FileIO(reader) as source, os.fdopen(writer, "w") as stream:
        handler = LogStream(stream, lines)
        yield handler, source
        handler.flush()
        handler.close()


def read_to_the_end(handler: LogStream, source: io.FileIO, *last: str) -> list[str]:
    """The lines that there are once a reader has come, and `last`, which are logged when the losses have been told."""
    received = bytearray()
    reader = threading.Thread(target=lambda: received.extend(source.readall() or b""))
    reader.start()
    while handler.lost:
        handler.flush()
    for text in last:
        handler.emit(line_of(text))
    handler.flush()
    handler._writer._stream.close()
    reader.join()
    return received.decode().splitlines()


def line_of(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text})


def test_a_full_pipe_is_not_waited_for_and_the_loss_is_told() -> None:
    """Nobody reads until all is said: a handler that waited would not come back."""
    sent = 0
    with piped(lines=100) as (handler, source):
        while handler.lost < 100:
            handler.emit(line_of("x" * 200))
            sent += 1
        assert f"{handler.lost} lost" in repr(handler)
        *_, told, back = lines = read_to_the_end(handler, source, "reader is back")
    losses = [int(line.split()[0]) for line in lines if line.endswith("log lines were lost: nobody read them in time")]
    assert sum(line.endswith("x") for line in lines) + sum(losses) == sent
    assert told.startswith(f"{losses[-1]} log lines were lost")
    assert back == "reader is back"


def test_lines_that_a_full_disk_took_not_are_told_of(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as stream, (tmp_path / "log").open("wb") as roomy:
        handler = LogStream(stream)
        for _ in range(3):
            handler.emit(line_of("gone"))
        handler.flush()
        os.dup2(roomy.fileno(), stream.fileno())
        handler.emit(line_of("kept"))
        handler.flush()
        handler.close()
    assert (tmp_path / "log").read_text() == "3 log lines were lost: they could not be written\nkept\n"


def test_lines_that_will_be_lost_are_not_even_made() -> None:
    made = 0

    class Counted(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            nonlocal made
            made += 1
            return super().format(record)

    with piped(lines=2000) as (handler, source):
        handler.setFormatter(Counted())
        fd: Any = handler._writer._fd
        while not handler.lost or select.select((), (fd,), (), 0)[1]:
            handler.emit(line_of("x" * 200))
        lost, before = handler.lost, made  # the writer is stuck; what it may still take is less than half of the queue
        for _ in range(1000):
            handler.emit(line_of("x" * 200))
        assert made == before
        assert handler.lost == lost + 1000
        read_to_the_end(handler, source)


def test_long_lines_that_nobody_reads_take_no_memory_without_end() -> None:
    """And where nobody logs again, the flush at the end tells of the loss."""
    with piped() as (handler, source):
        for _ in range(100):
            handler.emit(line_of("x" * 2**20))
        lost = handler.lost
        lines = read_to_the_end(handler, source)
    assert 80 < lost < 100
    assert lines[-1] == f"{lost} log lines were lost: nobody read them in time"


def test_a_line_longer_than_the_pipe_takes_arrives_whole_where_it_is_read() -> None:
    with piped() as (handler, source):
        handler.emit(line_of("ü" * 100_000))
        received = b""
        while not received.endswith(b"\n"):
            received += source.read(65536)
    assert received.decode() == "ü" * 100_000 + "\n"


def test_a_pipe_that_does_not_wait_is_waited_for() -> None:
    """As a parent leaves it that has made its own end of a shared terminal so."""
    with piped() as (handler, source):
        assert handler._writer._fd is not None
        os.set_blocking(handler._writer._fd, False)
        for n in range(2000):
            handler.emit(line_of(f"{n} {'x' * 200}"))
        received = b""
        while received.count(b"\n") < 2000:
            received += source.read(65536)
    assert [int(line.split()[0]) for line in received.decode().splitlines()] == list(range(2000))


def test_lines_that_nobody_reads_do_not_keep_the_process_from_ending() -> None:
    code = """
import sys
from stigmer.telemetry.logs import configure, get_logger
configure("info", "json")
for n in range(2000):
    get_logger("stigmer.x").info("e", n=n, padding="x" * 200)
"""
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SRC)}, stderr=-1) as done:
        assert done.wait(60) == 0
        assert done.stderr is not None
        done.stderr.read()


def test_the_last_lines_before_a_crash_are_written() -> None:
    code = """
from stigmer.telemetry.logs import configure, get_logger
configure("info", "json")
for n in range(100):
    get_logger("stigmer.x").info("e", n=n)
raise RuntimeError
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SRC)}, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert sum(b'"event":"e"' in line for line in done.stderr.splitlines()) == 100
