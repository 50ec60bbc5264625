"""Where a secret value could turn up, each read in the way in which the search reads it."""

from __future__ import annotations

import importlib.util
import logging
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import CollectorRegistry, generate_latest

from stigmer.app.keys import KEYRING
from stigmer.store.sqlite.files import FILE_NAME
from stigmer.telemetry.log_stream import flush

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stigmer.proof.search import Search

DATABASE, LOG_OF_WRITES, BACKUP, ROWS = "database file", "write-ahead log", "backup", "rows of the backup"
LOG, RECORDS, SPANS, METRICS = "log", "log records of a host", "spans", "metrics"
_HEADERS = "hpack"
"""The library whose logger writes every header at DEBUG, those of this process's client as well."""
_FILES = {FILE_NAME: DATABASE, f"{FILE_NAME}-wal": LOG_OF_WRITES}


def look_at_directory(search: Search, directory: Path) -> None:
    """Search every file of a data directory but the keyring."""
    for path in directory.rglob("*"):
        if path.is_file() and path.name != KEYRING:
            search.look(_FILES.get(path.name, f"file {path.name}"), path.read_bytes())


def look_at_backup(search: Search, directory: Path, copy: Path) -> None:
    """Search a backup made by SQLite, as a file and by its rows: a long value in a file is interrupted by pages."""
    with closing(sqlite3.connect(directory / FILE_NAME)) as source, closing(sqlite3.connect(copy)) as backup:
        source.backup(backup)
        backup.text_factory = bytes
        for (table,) in backup.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in backup.execute(f'SELECT * FROM "{table.decode()}"'):  # noqa: S608 - the database's own names
                search.look(ROWS, b"\0".join(_bytes(cell) for cell in row))
    search.look(BACKUP, copy.read_bytes())


def _bytes(cell: object) -> bytes:
    return cell if isinstance(cell, bytes) else str(cell).encode()


def look_at_log(search: Search, file: Path) -> None:
    """Search what this process has logged to a file so far."""
    flush()
    search.look(LOG, file.read_bytes())


class Records(logging.Handler):
    """A host's own handler of every logger, at DEBUG: it sees what lines are made of, before they are formatted."""

    def __init__(self, search: Search) -> None:
        super().__init__(logging.DEBUG)
        self._search = search
        self._loggers = (logging.getLogger(), logging.getLogger(_HEADERS))
        self._levels: list[int] = []

    def __enter__(self) -> None:
        self._levels = [logger.level for logger in self._loggers]
        for logger, level in zip(self._loggers, (logging.DEBUG, logging.INFO), strict=True):
            logger.setLevel(level)
        self._loggers[0].addHandler(self)

    def __exit__(self, *_error: object) -> None:
        self._loggers[0].removeHandler(self)
        for logger, level in zip(self._loggers, self._levels, strict=True):
            logger.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        """Search the record, and the failure that it tells of."""
        text = f"{record.getMessage()} {record.__dict__} {list(_chain(record.exc_info))}"
        self._search.look(RECORDS, text.encode(errors="backslashreplace"))


def _chain(told: object) -> Iterator[object]:
    """The failure of a record with what has caused it, and what each has to say."""
    error = cast("tuple[object, ...]", told)[1] if isinstance(told, tuple) else None
    while isinstance(error, BaseException):
        yield error.args, error.__dict__, str(error)
        error = error.__cause__ or error.__context__


def look_at_metrics(search: Search, registry: CollectorRegistry) -> None:
    """Search what Prometheus would scrape."""
    search.look(METRICS, generate_latest(registry))


def recorded_spans() -> Callable[[Search], None] | None:
    """Record this process's spans from now on; gives what searches them. None where OpenTelemetry's SDK is missing."""
    if importlib.util.find_spec("opentelemetry.sdk") is None:
        return None
    from opentelemetry import trace  # noqa: PLC0415 - beside the SDK
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - no dependency of stigmer
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: PLC0415 - as above

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)

    def look(search: Search) -> None:
        for span in exporter.get_finished_spans():
            search.look(SPANS, _text_of(span))

    return look


def _text_of(span: Any) -> bytes:  # noqa: ANN401 - the SDK's
    """All of a span, attributes as they are: JSON would escape them."""
    parts = [span.name, span.status.description, *_pairs(span.attributes), *_pairs(span.resource.attributes)]
    for event in (*span.events, *span.links):
        parts += [getattr(event, "name", ""), *_pairs(event.attributes)]
    return "\0".join(map(str, parts)).encode(errors="backslashreplace")


def _pairs(attributes: Any) -> list[object]:  # noqa: ANN401 - the SDK's
    return [part for pair in dict(attributes or {}).items() for part in pair]
