"""The audit of a database on disk: its file, the key that it is signed with, and the checkpoints that were exported."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stigmer.app.keys import keyring_path
from stigmer.errors import DataLoss, StartupError
from stigmer.pipeline.audit import keys
from stigmer.pipeline.audit.verifying import Verified, verify
from stigmer.secrets.checkpoints import Checkpoint
from stigmer.secrets.keyring import Keyring
from stigmer.secrets.sealing import Sealer
from stigmer.store.errors import DamagedError

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.settings import Settings
    from stigmer.store.sqlite.log_file import LogFile


def verified(file: LogFile, settings: Settings, since: Checkpoint | None) -> Verified:
    """See whether a database's audit is whole; blocks.

    The key is the one that the keyring opens. Where there is no keyring, as with a key service, exported checkpoints
    say which it is.

    Args:
        file: the database's.
        settings: name the keyring, and the file of the exported checkpoints, where there is one.
        since: the checkpoint to begin at.

    Raises:
        Broken: it is not.
        StartupError: the keyring, or the file of the checkpoints, cannot be read; or the keyring is another one.
    """
    exported = read_checkpoints(settings.audit_checkpoint_file) if settings.audit_checkpoint_file is not None else []
    path = keyring_path(settings)
    keyring = _keyring(path)

    async def run() -> Verified:
        key = await _key(file, path, keyring) if keyring is not None else b""
        return await verify(file, exported=exported, since=since, key=key)

    return asyncio.run(run())


def read_checkpoints(path: Path) -> list[Checkpoint]:
    """The exported checkpoints of a file; a line that was not written to its end is none. Raises StartupError."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise StartupError(f"{path}: the exported checkpoints cannot be read ({error.strerror})") from None
    return [one for one in map(_checkpoint, lines) if one is not None]


def _checkpoint(line: str) -> Checkpoint | None:
    try:
        return Checkpoint.of(line)
    except ValueError:
        return None


def _keyring(path: Path) -> Keyring | None:
    """The keyring, where there is one."""
    if not path.exists():
        return None
    keyring = Keyring(path)
    keyring.open(make=False)
    return keyring


async def _key(file: LogFile, path: Path, keyring: Keyring) -> bytes:
    """The public key that checkpoints are signed with; empty where there is none yet."""
    try:
        opened = await keys.opened(file, Sealer(keyring))
    except (DataLoss, DamagedError):
        raise StartupError(
            f"{path}: does not open the key that the audit is signed with; give the keyring of this database, with"
            " --keyring-file, or restore the database from a backup"
        ) from None
    return opened.signer.key if opened is not None else b""
