"""Whether the search finds what is planted on purpose, in every form, wherever it looks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from google.rpc.error_details_pb2 import ErrorInfo
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from opentelemetry import trace
from prometheus_client import CollectorRegistry, Info

from stigmer.proof import channels
from stigmer.proof.canaries import FORMS, Canaries
from stigmer.proof.client import ERRORS, look_at_error
from stigmer.proof.search import Search
from stigmer.store.sqlite.files import FILE_NAME
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

log = get_logger("stigmer.proof")


class Planted:
    """Values that are planted on purpose, one for each form, as a text and as bytes.

    Attributes:
        canaries: what they are.
        written: each in its form.
    """

    def __init__(self) -> None:
        self.canaries = Canaries()
        self.written = [
            write(self.canaries.one(f"{sort} {form}", is_text=sort == "text").value)
            for form, write in FORMS.items()
            for sort in ("text", "bytes")
        ]

    def __repr__(self) -> str:
        return f"<Planted {len(self.written)}>"

    @property
    def texts(self) -> list[str]:
        """For what takes texts alone."""
        return [one.decode(errors="backslashreplace") for one in self.written]

    def missed(self, search: Search, channel: str) -> list[str]:
        """Those that the search has not found in a channel."""
        found = {finding.canary for finding in search.findings if finding.channel == channel}
        return [f"{channel}: {canary.name}" for canary in self.canaries if canary.name not in found]


def missed_forms() -> list[str]:
    """The forms that are not known again, where no more is left of a value than its special characters."""
    canaries, missed = Canaries(), list[str]()
    for form, write in FORMS.items():
        for part in canaries.parts:
            search = Search(canaries)
            search.look("form", write(part))
            if not search.findings:
                missed.append(f"form: {form}")
    return missed


def missed_channels(directory: Path, log_file: Path, spans: Callable[[Search], None] | None) -> list[str]:
    """What is not found where it was planted; of each channel, by the same way in which the run is searched.

    Args:
        directory: to be made.
        log_file: where this process's log goes.
        spans: what searches the recorded spans.
    """
    directory.mkdir()
    planted = Planted()
    search = Search(planted.canaries)
    _in_database(search, planted, directory)
    _in_telemetry(search, planted, log_file, spans)
    look_at_error(search, _error(planted.texts))
    names = [channels.DATABASE, channels.LOG_OF_WRITES, channels.BACKUP, channels.ROWS, ERRORS]
    names += [channels.LOG, channels.RECORDS, channels.METRICS, *([channels.SPANS] if spans else [])]
    return [one for name in names for one in planted.missed(search, name)]


def _in_database(search: Search, planted: Planted, directory: Path) -> None:
    with closing(sqlite3.connect(directory / FILE_NAME, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("CREATE TABLE planted (value)")
        database.executemany("INSERT INTO planted VALUES (?)", [(one,) for one in planted.written])
        channels.look_at_directory(search, directory)
        channels.look_at_backup(search, directory, directory / "copy")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        channels.look_at_directory(search, directory)


def _in_telemetry(search: Search, planted: Planted, log_file: Path, spans: Callable[[Search], None] | None) -> None:
    with channels.Records(search):
        for text in planted.texts:
            log.debug("planted on purpose", value=text)
    channels.look_at_log(search, log_file)
    registry = CollectorRegistry()
    for number, text in enumerate(planted.texts):
        Info(f"planted_{number}", "On purpose", registry=registry).info({"value": text})
    channels.look_at_metrics(search, registry)
    with trace.get_tracer("stigmer.proof").start_as_current_span("planted on purpose") as span:
        span.set_attributes({str(number): text for number, text in enumerate(planted.texts)})
    if spans is not None:
        spans(search)


def _error(texts: Iterable[str]) -> GRPCError:
    first, *rest = texts
    return GRPCError(Status.INTERNAL, first, [ErrorInfo(reason=text) for text in rest])
