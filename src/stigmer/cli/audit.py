"""`stigmer audit`: who saw, changed and deleted secrets; of a database, whether a server has it open or not."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stigmer.cli.flags import loaded
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from stigmer.pipeline.audit.verifying import Verified
    from stigmer.secrets.checkpoints import Checkpoint
    from stigmer.settings import Settings
    from stigmer.store.rows import LogEntry

_Directory = Annotated[
    str | None,
    typer.Option("--data-dir", metavar="DIR", help="Directory of the database. [the one that the settings name]"),
]
_Config = Annotated[str | None, typer.Option(metavar="FILE", help="TOML file with the server's settings.")]
_Keyring = Annotated[
    str | None, typer.Option("--keyring-file", metavar="FILE", help="The keyring. [the one that the settings name]")
]
_Checkpoints = Annotated[
    str | None,
    typer.Option(
        "--checkpoint-file", metavar="FILE", help="The exported checkpoints. [the file that the settings name]"
    ),
]


def tail(
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=1, help="How many entries.")] = 20,
    data_dir: _Directory = None,
    config: _Config = None,
) -> None:
    """Show the last entries."""
    from stigmer.pipeline.audit import reading  # noqa: PLC0415  # not wanted for the command's help
    from stigmer.store.sqlite.log_file import log_file  # noqa: PLC0415  # as above

    with log_file(loaded(config=config, data_dir=data_dir).data_dir) as file:
        found = asyncio.run(reading.tail(file, lines))
    rows = [("NUMBER", "TIME", "WHAT", "WHO", "KIND", "ID", "OUTCOME"), *map(_columns, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def export(
    *,
    after: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="Leave out the entries up to that one.")] = 0,
    data_dir: _Directory = None,
    config: _Config = None,
) -> None:
    """Print all entries, each as a JSON object on a line of its own."""
    from stigmer.pipeline.audit import reading  # noqa: PLC0415  # not wanted for the command's help
    from stigmer.store.sqlite.log_file import log_file  # noqa: PLC0415  # as above

    with log_file(loaded(config=config, data_dir=data_dir).data_dir) as file:

        async def printed() -> None:
            async for page in reading.pages(file, after):
                for entry in page:
                    typer.echo(reading.line_of(entry))

        asyncio.run(printed())


def verify(
    *,
    since: Annotated[
        str | None,
        typer.Option(metavar="CHECKPOINT", help="Begin at this exported checkpoint, or at the last one of a file."),
    ] = None,
    data_dir: _Directory = None,
    keyring_file: _Keyring = None,
    checkpoint_file: _Checkpoints = None,
    config: _Config = None,
) -> None:
    """See whether the audit is whole: status 0 where it is; else 1, and a line that names the entry."""
    from stigmer.app.audit import verified  # noqa: PLC0415  # not wanted for the command's help
    from stigmer.pipeline.audit.verifying import Broken  # noqa: PLC0415  # as above
    from stigmer.store.sqlite.log_file import log_file  # noqa: PLC0415  # as above

    settings = loaded(
        config=config, data_dir=data_dir, keyring_file=keyring_file, audit_checkpoint_file=checkpoint_file
    )
    begin = None if since is None else _begin(since)
    with log_file(settings.data_dir) as file:
        try:
            found = verified(file, settings, begin)
        except Broken as broken:
            raise StartupError(f"not whole: {broken}") from None
    _tell(found, settings, begin)


audit = {"tail": tail, "export": export, "verify": verify}


def _begin(since: str) -> Checkpoint:
    """The checkpoint of a text, or the last one of a file. Raises StartupError."""
    from stigmer.app.audit import read_checkpoints  # noqa: PLC0415  # as above
    from stigmer.secrets.checkpoints import Checkpoint  # noqa: PLC0415  # as above

    if since.lstrip().startswith("{"):
        with suppress(ValueError):
            return Checkpoint.of(since)
    elif kept := read_checkpoints(Path(since)):
        return kept[-1]
    raise StartupError("--since: not a checkpoint, nor a file of them; give a line of the checkpoint file")


def _tell(found: Verified, settings: Settings, since: Checkpoint | None) -> None:
    if not found.last:
        typer.echo("Whole: there is no entry yet")
        return
    key = base64.b64encode(found.key).decode() or "none yet"
    typer.echo(
        f"Whole: entries {found.first} to {found.last}; {found.checkpoints} checkpoints, the last of entry"
        f" {found.signed}, by the key {key}; {found.exported} exported ones compared"
    )
    if settings.audit_checkpoint_file is None and since is None:
        typer.echo("No exported checkpoint was compared: who has database and keys could have rewritten it", err=True)


def _columns(entry: LogEntry) -> tuple[str, ...]:
    """An entry as people read it."""
    from stigmer.secrets.audit import Event, text_of  # noqa: PLC0415  # as above

    try:
        event = Event.of(entry.value)
    except ValueError:
        return (str(entry.number), "", "damaged", "", "", "", "")
    who = f"{event.actor or event.peer} for {event.on_behalf_of}" if event.on_behalf_of else event.actor or event.peer
    what = f"{event.op} x{event.count}" if event.count else str(event.op)
    return (str(entry.number), text_of(event.at_ms), what, who, event.kind, event.id, event.code)
