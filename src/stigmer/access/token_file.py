"""The tokens file: read where nobody else may look into it, edited so that neither a crash nor another editor harms it.

`tokens` reads it for the server, `stigmer tokens` edits it. Everything here waits for the disk.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from stigmer.access.token_lines import is_comment, token_of, tokens_of
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from stigmer.access.token_lines import Token

MAX_BYTES = 16 * 2**20
"""The largest tokens file: some 100,000 lines."""

_END = "\n"

Mark: TypeAlias = tuple[int, ...]
"""By what a file that has changed is known."""


class Content(NamedTuple):
    """A tokens file as it was at one moment, and when it was changed last, in ns since 1970."""

    mark: Mark
    changed_ns: int
    text: str


def mark_of(path: Path) -> Mark | None:
    """The mark of the file that is there now; None where there is none, or none can be seen."""
    try:
        return _mark(path.stat())
    except OSError:
        return None


def _mark(status: os.stat_result) -> Mark:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read(path: Path) -> Content:
    """The file's content.

    Raises:
        StartupError: it cannot be read; or others may read or write it; or it belongs to a user who is neither root nor
            this process's own.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would be waited for
        with open(descriptor, "rb") as file:  # noqa: PTH123  # of a descriptor
            status = os.fstat(descriptor)
            if what := _objection(status):
                raise StartupError(f"{path}: {what}")
            return Content(
                _mark(status),
                max(status.st_mtime_ns, status.st_ctime_ns),
                file.read(MAX_BYTES + 1).decode(errors="surrogateescape"),
            )
    except FileNotFoundError:
        raise StartupError(f"{path}: no such file; `stigmer tokens new` makes it, with a first token") from None
    except OSError as error:
        raise StartupError(
            f"{path}: cannot be read ({error.strerror}); give it to the server's user, or to its group with mode 640"
        ) from None


def _objection(status: os.stat_result) -> str:
    """Why the file is not to be trusted, empty where it is."""
    if not stat.S_ISREG(status.st_mode):
        return "not a file; give the path of a tokens file"
    if status.st_mode & stat.S_IRWXO:
        return f"others may use it (mode {stat.S_IMODE(status.st_mode):o}); make it chmod o= (600 or 640)"
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to another user (uid {status.st_uid}); make it chown root, or the server's user"
    if status.st_size > MAX_BYTES:
        return f"{status.st_size} bytes; {MAX_BYTES} at most: remove the lines of tokens that have expired"
    return ""


def parsed(path: Path, text: str) -> dict[bytes, Token]:
    """The tokens of the file's content by their digests. Raises StartupError, which names the lines that are wrong."""
    try:
        return tokens_of(text)
    except ValueError as error:
        raise StartupError(f"{path}: {error}") from None


def add(path: Path, token: Token) -> None:
    """Add a token's line; the file is made where it is missing, with mode 600. Raises StartupError."""

    def with_it(text: str) -> str:
        return f"{text}{'' if text.endswith(_END) or not text else _END}{token.line}{_END}"

    _edit(path, with_it, make=True)


def remove(path: Path, unwanted: Callable[[Token], bool]) -> list[Token]:
    """Remove the lines of some tokens; which those were. Raises StartupError."""
    removed: list[Token] = []

    def stays(line: str) -> bool:
        token = None if is_comment(line) else token_of(line.strip())
        if token is None or not unwanted(token):
            return True
        removed.append(token)
        return False

    _edit(path, lambda text: _END.join(filter(stays, text.split(_END))))
    return removed


def _edit(path: Path, change: Callable[[str], str], *, make: bool = False) -> None:
    """Replace the content by what it is changed into, while nobody else edits it."""
    real = path.resolve()  # a symbolic link stays one
    try:
        with _locked(real.parent) as directory:
            text = "" if make and not real.exists() else read(real).text
            parsed(path, text)  # the server takes no broken file, whatever would be added
            if (changed := change(text)) != text:
                _replace(real, changed, directory)
    except OSError as error:
        raise StartupError(f"{path}: cannot be changed ({error.strerror}); {_remedy(error, real)}") from None


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
