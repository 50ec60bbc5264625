"""`stigmer serve`: the settings, the logs, the event loop; then `cli.process` takes over."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import resource
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from stigmer.cli import FAILED, INTERRUPTED, flags, interrupts_raise
from stigmer.errors import StartupError
from stigmer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_OPEN_FILES = 64
"""The server itself needs some thirty: the loop, the log, the database's files on three connections, the port."""


@flags.of_settings
def serve(**given: object) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    A flag wins over its variable (--data-dir: STIGMER_DATA_DIR), the variable over the key in the TOML file (data_dir),
    the key over the default in brackets.
    """
    with warnings.catch_warnings(record=True, action="always") as doubts:
        settings = Settings.load(**given)
    try:
        _run(settings, [str(doubt.message) for doubt in doubts])
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _run(settings: Settings, doubts: list[str]) -> None:
    from stigmer.telemetry import traces  # noqa: PLC0415  # not wanted for the command's help

    traces.name_service("stigmer")
    os.environ.setdefault("PROMETHEUS_DISABLE_CREATED_SERIES", "true")  # of use to OpenMetrics alone, as many again
    from stigmer.cli.process import serve_until_signal  # noqa: PLC0415  # the server; tracers are made
    from stigmer.store.errors import StoreUnavailableError  # noqa: PLC0415  # as above
    from stigmer.telemetry import log_stream  # noqa: PLC0415  # as above
    from stigmer.telemetry.logs import configure, get_logger  # noqa: PLC0415  # as above

    configure(settings.log_level, settings.log_format)
    log = get_logger("stigmer.cli")
    log.info(
        "stigmer starts",
        listen=",".join(settings.listen),
        data_dir=str(settings.data_dir),
        config=str(settings.config or "none"),
    )
    for doubt in doubts:
        log.warning(doubt)
    log.debug("open files", limit=_open_files())
    loop_factory = _loop_factory(settings)
    interrupts_raise()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            runner.run(serve_until_signal(settings))
        except StoreUnavailableError as error:
            log.error("stigmer stops and leaves the disk behind", error=str(error))  # noqa: TRY400  # it says it all
            log_stream.flush()
            os._exit(FAILED)  # at once: the thread that waits for the disk would hold up any other way out


def _open_files() -> int:
    """Take as many descriptors as the system grants, a connection needs one each; the limit that holds now.

    Raises:
        StartupError: they are too few for the server itself.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # macOS grants less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    granted = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if granted < LEAST_OPEN_FILES:
        raise StartupError(
            f"this process may open {granted} files, which is too few: raise the limit (ulimit -n), to 256 or more"
        )
    return granted


def _loop_factory(settings: Settings) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop's, where it is wanted and installed; None for asyncio's own."""
    if not settings.uvloop or importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop  # noqa: PLC0415  # an extra

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
