"""`stigmer serve`: the settings' flags, the logs, the event loop; then `stigmer.app` takes over."""

from __future__ import annotations

import asyncio
import importlib.util
import resource
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from stigmer.cli import INTERRUPTED, interrupts_raise
from stigmer.settings import LogFormat, LogLevel, Settings
from stigmer.startup import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.models import OptionInfo

LEAST_OPEN_FILES = 64
"""The server itself needs some thirty: the loop, the log, the database's files on three connections, the port."""


def _flag(name: str, metavar: str | None = None) -> OptionInfo:
    """The flag of one setting, with the setting's own description and default."""
    field = Settings.model_fields[name]
    spelled = f"--{name.replace('_', '-')}"
    if field.annotation is bool:
        return _option(f"{spelled}/--no-{name}", f"{field.description} [on]", metavar)
    default = "~/.stigmer" if name == "data_dir" else field.default
    shown = f"{default:g}" if isinstance(default, float) else default
    return _option(spelled, f"{field.description} [{shown}]" if shown else f"{field.description}", metavar)


def _option(declared: str, text: str, metavar: str | None) -> OptionInfo:
    option: OptionInfo = typer.Option(declared, help=text, metavar=metavar, show_default=False)
    return option


def serve(  # noqa: PLR0913  # one flag a setting
    *,
    config: Annotated[str | None, _flag("config", "FILE")] = None,
    listen: Annotated[str | None, _flag("listen", "HOST:PORT")] = None,
    data_dir: Annotated[str | None, _flag("data_dir", "DIR")] = None,
    log_level: Annotated[LogLevel | None, _flag("log_level")] = None,
    log_format: Annotated[LogFormat | None, _flag("log_format")] = None,
    tls_cert: Annotated[str | None, _flag("tls_cert", "FILE")] = None,
    tls_key: Annotated[str | None, _flag("tls_key", "FILE")] = None,
    tls_client_ca: Annotated[str | None, _flag("tls_client_ca", "FILE")] = None,
    max_message_bytes: Annotated[int | None, _flag("max_message_bytes", "BYTES")] = None,
    max_streams: Annotated[int | None, _flag("max_streams", "N")] = None,
    max_subscriptions: Annotated[int | None, _flag("max_subscriptions", "N")] = None,
    keepalive_s: Annotated[float | None, _flag("keepalive_s", "SECONDS")] = None,
    keepalive_timeout_s: Annotated[float | None, _flag("keepalive_timeout_s", "SECONDS")] = None,
    grace_s: Annotated[float | None, _flag("grace_s", "SECONDS")] = None,
    uvloop: Annotated[bool | None, _flag("uvloop")] = None,
) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    A flag wins over its variable (--data-dir: STIGMER_DATA_DIR), the variable over the key in the TOML file (data_dir),
    the key over the default in brackets.
    """
    flags = dict(locals())  # exactly the parameters above
    with warnings.catch_warnings(record=True, action="always") as doubts:
        settings = Settings.load(**flags)
    try:
        _run(settings, [str(doubt.message) for doubt in doubts])
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _run(settings: Settings, doubts: list[str]) -> None:
    from stigmer import app  # noqa: PLC0415  # the server, not wanted for the command's help
    from stigmer.logs import configure, get_logger  # noqa: PLC0415  # as above

    configure(settings.log_level, settings.log_format)
    log = get_logger("stigmer.cli")
    log.info(
        "stigmer starts",
        listen=settings.listen,
        data_dir=str(settings.data_dir),
        config=str(settings.config or "none"),
    )
    for doubt in doubts:
        log.warning(doubt)
    log.debug("open files", limit=_open_files())
    loop_factory = _loop_factory(settings)
    interrupts_raise()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(app.serve(settings))


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
