"""`stigmer keys`: the keys that secrets are sealed under, of a running server or of a database that none has open."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from stigmer.cli.calling import Callee, on_server_or_database
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from grpclib.client import Channel

    from stigmer.rpc import AdminControllerStub
    from stigmer.types import RewrapProgress, SealingKey

PLAIN_S = 10.0
"""How often the progress is told where it is not to a terminal."""

_Id = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as `stigmer keys list` shows it.")]


@on_server_or_database
def list_(callee: Callee) -> None:
    """List the keys, and how many resources have their secrets under each."""
    found = callee.call(lambda channel: _admin(channel).list_keys())
    rows = [("KEY", "STATE", "CREATED", "RESOURCES"), *map(_columns, found.entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(map(str.ljust, row, widths)).rstrip())
    if found.damaged_resources:
        typer.echo(f"The secrets of {found.damaged_resources} resources are damaged: restore a backup", err=True)


@on_server_or_database
def add(callee: Callee) -> None:
    """Add a new key, and print its id.

    Nothing is sealed under it before it is activated: back the keyring up first.
    """
    key = callee.call(lambda channel: _admin(channel).add_key())
    typer.echo("Back the keyring up now; then `stigmer keys activate` that key, and `stigmer keys rewrap`.", err=True)
    typer.echo(key.id)


@on_server_or_database
def activate(callee: Callee, key: _Id) -> None:
    """Have secrets be sealed under that key from now on; what is sealed stays as it is until it is rewrapped."""
    from stigmer.types import SealingKeyId  # noqa: PLC0415  # not wanted for the command's help

    callee.call(lambda channel: _admin(channel).activate_key(SealingKeyId(value=key)))
    typer.echo(f"Active: {key}", err=True)


@on_server_or_database
def rewrap(callee: Callee) -> None:
    """Bring all secrets under the active key.

    It may be interrupted at any time, and goes on where it was when it is run again.
    """
    shown = _Progress()
    try:
        callee.call(shown.follow, answer_s=None)
    finally:
        shown.end()
    damaged = shown.last.damaged if shown.last is not None else 0
    if damaged:
        raise StartupError(f"the secrets of {damaged} resources are damaged and stay under their key: restore a backup")


@on_server_or_database
def retire(callee: Callee, key: _Id) -> None:
    """Throw a key away for good: refused while anything is sealed under it.

    Backups of the database from before the rewrap need the keyring's backups of that time.
    """
    from stigmer.types import SealingKeyId  # noqa: PLC0415  # not wanted for the command's help

    callee.call(lambda channel: _admin(channel).retire_key(SealingKeyId(value=key)))
    typer.echo(f"Retired: {key}", err=True)


keys = {"list": list_, "add": add, "activate": activate, "rewrap": rewrap, "retire": retire}


class _Progress:
    """How far a rewrap is: one line of a terminal that changes; elsewhere lines, one each PLAIN_S and the last."""

    def __init__(self) -> None:
        self.last: RewrapProgress | None = None
        self._is_terminal, self._told_s = sys.stderr.isatty(), time.monotonic()

    async def follow(self, channel: Channel) -> None:
        """Rewrap, and tell how far it is."""
        from stigmer.types import RewrapKeysRequest  # noqa: PLC0415  # not wanted for the command's help

        async for state in _admin(channel).rewrap_keys(RewrapKeysRequest()):
            self.last = state
            self._tell(state)

    def end(self) -> None:
        """Tell what was done, also where it was cut off; nothing where it never began."""
        if self.last is not None:
            typer.echo(f"{self._start()}Rewrapped: the secrets of {self.last.rewrapped} resources", err=True)

    def _tell(self, state: RewrapProgress) -> None:
        now_s = time.monotonic()
        if self._is_terminal or now_s - self._told_s >= PLAIN_S:
            self._told_s = now_s
            text = f"{self._start()}Rewrapped: {state.rewrapped} of {state.total}"
            typer.echo(text, err=True, nl=not self._is_terminal)

    def _start(self) -> str:
        return "\r\x1b[K" if self._is_terminal else ""  # of the line, which is cleared


def _admin(channel: Channel) -> AdminControllerStub:
    from stigmer.rpc import AdminControllerStub  # noqa: PLC0415  # not wanted for the command's help

    return AdminControllerStub(channel)


def _columns(key: SealingKey) -> tuple[str, ...]:
    """A key as people read it."""
    created = "-" if key.created_at is None else key.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return key.id, str(key.state.name), created, str(key.resources)
