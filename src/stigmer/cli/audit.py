"""`stigmer audit`: who saw, changed and deleted secrets; of a running server, or of a database, served or not."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stigmer.cli.calling import Callee, on_server_or_database
from stigmer.cli.flags import loaded
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from stigmer.pipeline.audit.verifying import Verified
    from stigmer.secrets.checkpoints import Checkpoint
    from stigmer.settings import Settings
    from stigmer.store.rows import LogEntry

_Checkpoints = Annotated[
    str | None,
    typer.Option(
        "--checkpoint-file", metavar="FILE", help="The exported checkpoints. [the file that the settings name]"
    ),
]


@on_server_or_database
def tail(
    callee: Callee,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=1, help="How many entries.")] = 20,
) -> None:
    """Show the last entries, of the server that is named, else of the database in --data-dir or the settings."""
    from stigmer.cli.audit_calls import tail_of  # noqa: PLC0415  # not wanted for the command's help
    from stigmer.pipeline.audit import reading  # noqa: PLC0415  # as above
    from stigmer.store.sqlite.log_file import log_file  # noqa: PLC0415  # as above

    if callee.names_server:
        found = callee.call(lambda channel: tail_of(channel, lines))
    else:
        with log_file(_settings(callee).data_dir) as file:
            found = asyncio.run(reading.tail(file, lines))
    rows = [("NUMBER", "TIME", "WHAT", "WHO", "KIND", "ID", "OUTCOME"), *map(_columns, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(map(str.ljust, row, widths)).rstrip())


@on_server_or_database
def export(
    callee: Callee,
    *,
    after: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="Leave out the entries up to that one.")] = 0,
) -> None:
    """Print all entries, each as a JSON object on a line of its own; whose, as `stigmer audit tail`."""
    from stigmer.cli.audit_calls import Exported  # noqa: PLC0415  # not wanted for the command's help
    from stigmer.pipeline.audit import reading  # noqa: PLC0415  # as above
    from stigmer.store.sqlite.log_file import log_file  # noqa: PLC0415  # as above

    async def printed(source: reading.Entries) -> None:
        async for page in reading.pages(source, after):
            for entry in page:
                typer.echo(reading.line_of(entry))

    if callee.names_server:
        callee.call(lambda channel: printed(Exported(channel)), answer_s=None)
    else:
        with log_file(_settings(callee).data_dir) as file:
            asyncio.run(printed(file))


@on_server_or_database
def verify(
    callee: Callee,
    *,
    since: Annotated[
        str | None,
        typer.Option(metavar="CHECKPOINT", help="Begin at this exported checkpoint, or at the last one of a file."),
    ] = None,
    checkpoint_file: _Checkpoints = None,
) -> None:
    """See whether the audit is whole: status 0 where it is; else 1, and a line that names the entry.

    Whose, as `stigmer audit tail`. What a server gives is verified here: exported checkpoints vouch for it.
    """
    from stigmer.pipeline.audit.verifying import Broken  # noqa: PLC0415  # not wanted for the command's help

    begin = None if since is None else _begin(since)
    try:
        found, compared = (_of_server if callee.names_server else _of_database)(callee, checkpoint_file, begin)
    except Broken as broken:
        raise StartupError(f"not whole: {broken}") from None
    _tell(found, is_compared=compared or begin is not None)


audit = {"tail": tail, "export": export, "verify": verify}


def _of_server(callee: Callee, checkpoint_file: str | None, since: Checkpoint | None) -> tuple[Verified, bool]:
    """What was found of a server's audit, and whether exported checkpoints were compared. Raises Broken."""
    from stigmer.app.audit import read_checkpoints  # noqa: PLC0415  # not wanted for the command's help
    from stigmer.cli.audit_calls import verified  # noqa: PLC0415  # as above

    exported = read_checkpoints(Path(checkpoint_file)) if checkpoint_file is not None else []
    found = callee.call(lambda channel: verified(channel, exported, since), answer_s=None)
    return found, checkpoint_file is not None


def _of_database(callee: Callee, checkpoint_file: str | None, since: Checkpoint | None) -> tuple[Verified, bool]:
    """The same of a database's. Raises Broken."""
    from stigmer.app.audit import verified  # noqa: PLC0415  # not wanted for the command's help
    from stigmer.store.sqlite.log_file import log_file  # noqa: PLC0415  # as above

    settings = _settings(callee, audit_checkpoint_file=checkpoint_file)
    with log_file(settings.data_dir) as file:
        return verified(file, settings, since), settings.audit_checkpoint_file is not None


def _settings(callee: Callee, **flags: object) -> Settings:
    return loaded(config=callee.config, data_dir=callee.data_dir, keyring_file=callee.keyring_file, **flags)


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


def _tell(found: Verified, *, is_compared: bool) -> None:
    if not found.last:
        typer.echo("Whole: there is no entry yet")
        return
    key = base64.b64encode(found.key).decode() or "none yet"
    typer.echo(
        f"Whole: entries {found.first} to {found.last}; {found.checkpoints} checkpoints, the last of entry"
        f" {found.signed}, by the key {key}; {found.exported} exported ones compared"
    )
    if not is_compared:
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
