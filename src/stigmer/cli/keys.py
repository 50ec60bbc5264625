"""`stigmer keys`: the keys that secrets are sealed under, on a database that no server has open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from stigmer.cli import interrupts_raise
from stigmer.cli.flags import loaded
from stigmer.errors import StartupError, StigmerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stigmer.pipeline.key_rotation import KeyRotation, KeyUse

T = TypeVar("T")

_Directory = Annotated[
    str | None,
    typer.Option("--data-dir", metavar="DIR", help="Directory of the database. [the one that the settings name]"),
]
_File = Annotated[
    str | None, typer.Option("--keyring-file", metavar="FILE", help="The keyring. [the one that the settings name]")
]
_Config = Annotated[str | None, typer.Option(metavar="FILE", help="TOML file with the server's settings.")]
_Id = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as `stigmer keys list` shows it.")]


def list_(*, data_dir: _Directory = None, keyring_file: _File = None, config: _Config = None) -> None:
    """List the keys, and how many resources have their secrets under each."""
    found = _done(lambda rotation: rotation.keys(), data_dir, keyring_file, config)
    rows = [("KEY", "STATE", "CREATED", "RESOURCES"), *map(_columns, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def add(*, data_dir: _Directory = None, keyring_file: _File = None, config: _Config = None) -> None:
    """Add a new key, and print its id.

    Nothing is sealed under it before it is activated: back the keyring up first.
    """
    key = _done(lambda rotation: rotation.add(), data_dir, keyring_file, config)
    typer.echo("Back the keyring up now; then `stigmer keys activate` that key, and `stigmer keys rewrap`.", err=True)
    typer.echo(key.id)


def activate(key: _Id, *, data_dir: _Directory = None, keyring_file: _File = None, config: _Config = None) -> None:
    """Have secrets be sealed under that key from now on; what is sealed stays as it is until it is rewrapped."""
    _done(lambda rotation: rotation.activate(key), data_dir, keyring_file, config)
    typer.echo(f"Active: {key}", err=True)


def rewrap(*, data_dir: _Directory = None, keyring_file: _File = None, config: _Config = None) -> None:
    """Bring all secrets under the active key.

    It may be interrupted at any time, and goes on where it was when it is run again.
    """
    done, damaged = _done(lambda rotation: rotation.rewrap(), data_dir, keyring_file, config)
    typer.echo(f"Rewrapped: the secrets of {done} resources", err=True)
    if damaged:
        raise StartupError(f"the secrets of {damaged} resources are damaged and stay under their key: restore a backup")


def retire(key: _Id, *, data_dir: _Directory = None, keyring_file: _File = None, config: _Config = None) -> None:
    """Throw a key away for good: refused while anything is sealed under it.

    Backups of the database from before the rewrap need the keyring's backups of that time.
    """
    _done(lambda rotation: rotation.retire(key), data_dir, keyring_file, config)
    typer.echo(f"Retired: {key}", err=True)


keys = {"list": list_, "add": add, "activate": activate, "rewrap": rewrap, "retire": retire}


def _done(
    work: Callable[[KeyRotation], Awaitable[T]], data_dir: str | None, keyring_file: str | None, config: str | None
) -> T:
    """What the work gives. Raises StartupError."""
    from stigmer.app.keys import check_there, rotating  # noqa: PLC0415  # not wanted for the command's help

    settings = loaded(config=config, data_dir=data_dir, keyring_file=keyring_file)
    check_there(settings)

    async def run() -> T:
        async with rotating(settings) as rotation:
            return await work(rotation)

    interrupts_raise()
    try:
        return asyncio.run(run())
    except StigmerError as error:
        raise StartupError(error.message) from None


def _columns(key: KeyUse) -> tuple[str, ...]:
    """A key as people read it."""
    created = "-" if key.created is None else key.created.isoformat().replace("+00:00", "Z")
    return key.id, key.state, created, str(key.resources)
