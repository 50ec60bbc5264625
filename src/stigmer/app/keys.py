"""The keyring that the settings name, and the services of a database that no server has open."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from stigmer.app.assembly import assemble
from stigmer.errors import StartupError
from stigmer.secrets.keyring import Keyring
from stigmer.store.sqlite import SqliteStore
from stigmer.store.sqlite.files import FILE_NAME, DirectoryHeldError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from stigmer.edge.loopback import LoopbackChannel
    from stigmer.settings import Settings

KEYRING = "keyring.json"
"""In the data directory, unless the settings name another file."""


def keyring_path(settings: Settings) -> Path:
    """Where the keyring of a database on disk is."""
    return settings.keyring_file or settings.data_dir / KEYRING


def check_there(settings: Settings) -> None:
    """Raise StartupError where there is no database, or no keyring: neither is made but by a server."""
    database, keyring = settings.data_dir / FILE_NAME, keyring_path(settings)
    if not database.is_file():
        raise StartupError(f"{database}: no such file; give the data directory of a server with --data-dir")
    if not keyring.is_file():
        raise StartupError(f"{keyring}: no such file; a server makes it at its first start; else restore its backup")


@asynccontextmanager
async def stopped(settings: Settings) -> AsyncGenerator[LoopbackChannel]:
    """A channel to the services of a database that no server has open; nothing runs on it beside the calls.

    Raises:
        StartupError: the database or the keyring cannot be opened, or a server has the directory.
    """
    try:
        async with SqliteStore(settings.data_dir) as store:
            app = assemble(store, keys=Keyring(keyring_path(settings)))
            await app.sealing.open()
            yield app.loopback
    except DirectoryHeldError:
        raise StartupError(
            f"a running server has the data directory {settings.data_dir}: call it, with --server ADDRESS in place of"
            " --data-dir, or stop it"
        ) from None
