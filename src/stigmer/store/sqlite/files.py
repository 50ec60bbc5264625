"""The files of a data directory: who may use them, what they must be, and whether they stay where they are.

`opening` takes the lock and makes the files; the writer checks them before each commit.
"""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING

from stigmer.errors import StartupError
from stigmer.store.errors import StoreUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "stigmer.db"
LOG_NAME = f"{FILE_NAME}-wal"
INDEX_NAME = f"{FILE_NAME}-shm"
LOCK_NAME = "stigmer.lock"

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a symbolic link to nothing",
}


class DirectoryHeldError(StartupError):
    """Another process, or another store of this one, has the data directory."""


class DirectoryLock:
    """The lock on a data directory: no other process, and no other store of this one, can lock it meanwhile."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._handle: int | None = None

    def __repr__(self) -> str:
        return f"<DirectoryLock on {self._directory}, {'free' if self._handle is None else 'held'}>"

    def acquire(self) -> None:
        """Make the directory where it is missing, and lock it; blocks for some file operations.

        Raises:
            DirectoryHeldError: another has it.
            StartupError: it cannot be made or written.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = _opened(self._directory / LOCK_NAME)
        except OSError as error:
            raise StartupError(
                f"cannot write the data directory {self._directory} ({error.strerror}): choose another"
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DirectoryHeldError(
                f"another stigmer has the data directory {self._directory}: stop it, or choose another"
            ) from error

    def release(self) -> None:
        """Let go of the directory, if it was taken."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def make_private(directory: Path) -> None:
    """Make the database file, for its owner's eyes only; SQLite gives its log and index the same mode.

    Raises:
        StartupError: it cannot be made, or something that is no file has the name of one of the three.
    """
    path = directory / FILE_NAME
    for name in (LOG_NAME, INDEX_NAME):
        _refuse_what_is_no_file(directory / name)
    try:
        os.close(_opened(path))
    except OSError as error:
        raise StartupError(
            f"cannot open the database {path} ({error.strerror}): check its permissions and the disk's free space"
        ) from error


class WatchedFile:
    """A file of the running store: it must not be taken, or cut short, from under it.

    Four of them take 16 us before a commit, which takes some 250.

    Args:
        path: where it stands.
        remedy: what to do between stop and start where it was taken; nothing where the store still holds what it held.
    """

    def __init__(self, path: Path, remedy: str = "") -> None:
        self.path = str(path)
        self._remedy = remedy
        self._file, self._size = self._standing()

    def __repr__(self) -> str:
        return f"<WatchedFile {self.path}>"

    def check(self) -> None:
        """Raise StoreUnavailableError where the file was deleted, replaced or cut short: writes would be lost."""
        file, size = self._standing()
        if file != self._file:
            raise StoreUnavailableError(
                f"{self.path} was deleted or replaced while the server runs: stop it, {self._remedy}start it again"
            )
        if size < self._size:
            raise StoreUnavailableError(
                f"{self.path} was cut short while the server runs: stop it, restore a backup, start it again"
            )
        self._size = size

    def note(self) -> None:
        """Take the file as it is now: the store has cut it short itself."""
        self._file, self._size = self._standing()

    def _standing(self) -> tuple[tuple[int, int] | None, int]:
        try:
            found = os.stat(self.path)  # noqa: PTH116 - before each commit, and pathlib's takes twice as long
        except OSError:
            return None, 0
        return (found.st_dev, found.st_ino), found.st_size


def watched_files(directory: Path) -> list[WatchedFile]:
    """The files of an open store."""
    own = [WatchedFile(directory / name, "put the file back, ") for name in (LOCK_NAME, FILE_NAME)]
    return [*own, *(WatchedFile(directory / name) for name in (LOG_NAME, INDEX_NAME))]


def size_bytes(directory: Path) -> int:
    """Of the database's files that are there; for a thread."""
    paths = (directory / name for name in (FILE_NAME, LOG_NAME, INDEX_NAME))
    return sum(path.stat().st_size for path in paths if path.exists())


def _opened(path: Path) -> int:
    """A descriptor of a file, which is made for its owner alone where it is missing."""
    _refuse_what_is_no_file(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)


def _refuse_what_is_no_file(path: Path) -> None:
    """Opening a FIFO or a device could wait without end, and a link to nothing would make a file elsewhere."""
    if path.exists():
        mode = path.stat().st_mode
    elif path.is_symlink():
        mode = stat.S_IFLNK
    else:
        return
    if not stat.S_ISREG(mode):
        what = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise StartupError(f"{path} is {what}, where a file should be: move it away, or use another data directory")
