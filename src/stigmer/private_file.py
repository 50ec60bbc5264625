"""Small files that only some may use: read where nobody else can look into them, replaced whole and never half.

`access` keeps in them who may call, `secrets` the keys. Everything here waits for the disk.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from stigmer.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

MAX_BYTES = 16 * 2**20
"""The largest file: some 100,000 lines."""
OWNER_AND_GROUP = stat.S_IRWXO
"""Whom a file is kept from where its owner and its group may use it."""
OWNER_ALONE = stat.S_IRWXG | stat.S_IRWXO
"""Whom a file is kept from where its owner alone may use it."""

_NO_FILE = "not a file; give the path of one"

Mark: TypeAlias = tuple[int, ...]
"""By what a file that has changed is known."""


class Content(NamedTuple):
    """A file as it was at one moment, and when it was changed last, in ns since 1970."""

    mark: Mark
    changed_ns: int
    text: str


def read(path: Path, made_by: str, kept_from: int = OWNER_AND_GROUP) -> Content:
    """The file's content.

    Args:
        path: of the file.
        made_by: what to do where there is none.
        kept_from: the bits of its mode that must not be set.

    Raises:
        StartupError: it cannot be read; or others may read or write it; or it belongs to a user who is neither root nor
            this process's own.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would be waited for
        with open(descriptor, "rb") as file:  # noqa: PTH123  # of a descriptor
            status = os.fstat(descriptor)
            if what := _objection(status, kept_from):
                raise StartupError(f"{path}: {what}")
            return Content(
                mark_of(status),
                max(status.st_mtime_ns, status.st_ctime_ns),
                file.read(MAX_BYTES + 1).decode("utf-8-sig", errors="surrogateescape"),
            )
    except FileNotFoundError:
        raise StartupError(f"{path}: no such file; {made_by}") from None
    except IsADirectoryError:
        raise StartupError(f"{path}: {_NO_FILE}") from None
    except OSError as error:
        group = ", or to its group with mode 640" if kept_from == OWNER_AND_GROUP else " with mode 600"
        raise StartupError(f"{path}: cannot be read ({error.strerror}); give it to the server's user{group}") from None


def edit(
    path: Path, change: Callable[[str], str], made_by: str, kept_from: int = OWNER_AND_GROUP, *, make: bool = False
) -> None:
    """Replace the content by what it is changed into, while nobody else edits it; a crash leaves the one or the other.

    Args:
        path: of the file; a symbolic link stays one.
        change: the new content, of the one until now; what it raises leaves all as it was.
        made_by: as `read`.
        kept_from: as `read`.
        make: whether a file that is not there is made, with mode 600, of what an empty text is changed into.

    Raises:
        StartupError: it cannot be read, as `read` says, or not be changed.
    """
    real = path.resolve()
    try:
        with _locked(real.parent) as directory:
            text = "" if make and not real.exists() else read(real, made_by, kept_from).text
            if (changed := change(text)) != text:
                _replace(real, changed, directory)
    except OSError as error:
        raise StartupError(f"{path}: cannot be changed ({error.strerror}); {_remedy(error, real)}") from None


def mark_of(status: os.stat_result) -> Mark:
    """By what the file of that status is known until it changes."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _objection(status: os.stat_result, kept_from: int) -> str:
    """Why the file is not to be trusted, empty where it is."""
    if not stat.S_ISREG(status.st_mode):
        return _NO_FILE
    if status.st_mode & kept_from:
        remedy = "o= on it (for mode 600 or 640)" if kept_from == OWNER_AND_GROUP else "600 on it"
        return f"others may use it (mode {stat.S_IMODE(status.st_mode):o}); run chmod {remedy}"
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to another user (uid {status.st_uid}); make it chown root, or the server's user"
    if status.st_size > MAX_BYTES:
        return f"{status.st_size} bytes; {MAX_BYTES} at most: remove what is not needed any more"
    return ""


@contextmanager
def _locked(directory: Path) -> Generator[int]:
    """The directory's descriptor, locked: the file itself is another one after each edit."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _remedy(error: OSError, path: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"make the directory {path.parent}"
    if isinstance(error, NotADirectoryError):
        return f"{path.parent} is no directory: give a path in one"
    if isinstance(error, PermissionError):
        return "run this as the user that owns it and its directory"
    return "see that its directory, not the file alone, is mounted here, and that the disk is not full"


def _replace(path: Path, text: str, directory: int) -> None:
    """Put a new content in place of the old one, with its mode and owner; a crash leaves the one or the other."""
    new = path.with_name(f".{path.name}.new")  # one that a crash has left is overwritten: the lock is held
    with suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:  # noqa: PTH123  # of a descriptor
            file.write(text)
            file.flush()
            _as_before(path, descriptor)
            os.fsync(descriptor)
        new.replace(path)
        os.fsync(directory)
    finally:
        with suppress(FileNotFoundError):
            new.unlink()


def _as_before(path: Path, descriptor: int) -> None:
    """Give the new file the mode and owner of the one it replaces, where there is one."""
    with suppress(FileNotFoundError):
        before, now = path.stat(), os.fstat(descriptor)
        if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
            os.fchown(descriptor, before.st_uid, before.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
