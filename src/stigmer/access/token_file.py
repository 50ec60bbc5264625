"""The tokens file, edited so that neither a crash nor another editor harms it.

`stigmer tokens` edits it, `tokens` reads it for the server. Everything here waits for the disk.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from stigmer.access.token_lines import token_of, tokens_of
from stigmer.access.watched_file import is_comment, read
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from stigmer.access.token_lines import Token

MADE_BY = "`stigmer tokens new` makes it, with a first token"

_END = "\n"


def tokens(path: Path) -> list[Token]:
    """The tokens of the file. Raises StartupError, which names the lines that are wrong."""
    return list(_parsed(path, read(path, MADE_BY).text).values())


def _parsed(path: Path, text: str) -> dict[bytes, Token]:
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
            text = "" if make and not real.exists() else read(real, MADE_BY).text
            _parsed(path, text)  # the server takes no broken file, whatever would be added
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
