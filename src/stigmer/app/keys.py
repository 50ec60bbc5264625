"""The keyring that the settings name, and its rotation on a database that no server has open."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from stigmer.errors import StartupError
from stigmer.handlers import HANDLERS
from stigmer.pipeline.key_rotation import KeyRotation
from stigmer.pipeline.sealing_keys import SealingKeys
from stigmer.secrets.keyring import Keyring
from stigmer.store.sqlite import SqliteStore
from stigmer.store.sqlite.files import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

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
async def rotating(settings: Settings) -> AsyncGenerator[KeyRotation]:
    """The keys of a database, while nobody else has it open. Raises StartupError, also where a server has it."""
    async with SqliteStore(settings.data_dir) as store:
        kinds = {handler.kind.name: handler.kind for handler in HANDLERS}
        sealing = SealingKeys(store, kinds, Keyring(keyring_path(settings)))
        await sealing.open()
        yield KeyRotation(sealing, readers_s=0)
