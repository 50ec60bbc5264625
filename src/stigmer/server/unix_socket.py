"""The file of a Unix socket: made for its owner alone, in place of a dead server's, never in place of anything else.

`sockets` binds with it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stigmer.errors import StartupError

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator

MODE = 0o600
LOCK_S, RETRY_S = 5.0, 0.01  # how long another server's start in the same directory is waited for, and how often


def bound(path: str, backlog: int, unwanted: threading.Event) -> socket.socket:
    """A socket that listens on the file, which it makes with mode 0600; blocks for some file operations.

    A file that a dead server has left is replaced.

    Raises:
        OSError: EADDRINUSE where somebody listens there, ENOTSOCK where the file is none of a socket, and others.
        StartupError: another process keeps the directory locked.
    """
    with _locked(Path(path).parent, unwanted):
        if _is_left_behind(path):
            Path(path).unlink()
        with ExitStack() as undo:
            one = undo.enter_context(socket.socket(socket.AF_UNIX))
            with suppress(OSError):  # Linux makes the file with this mode, less the umask
                os.fchmod(one.fileno(), MODE)
            one.bind(path)
            undo.callback(Path(path).unlink)
            if stat.S_IMODE(os.lstat(path).st_mode) != MODE:  # the system or the umask had it otherwise
                Path(path).chmod(MODE)  # nobody can connect yet
            one.listen(backlog)
            one.setblocking(False)  # the socket's signature
            undo.pop_all()
        return one


def identity_of(path: str) -> tuple[int, int]:
    """Device and inode of a file; raises OSError."""
    found = os.lstat(path)
    return found.st_dev, found.st_ino


@contextmanager
def _locked(directory: Path, unwanted: threading.Event) -> Generator[None]:
    """Between a look at the file and its replacement no other server makes one there."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        by = time.monotonic() + LOCK_S
        while not _lock(handle):
            if unwanted.wait(RETRY_S) or time.monotonic() > by:
                raise StartupError(f"another process keeps {directory} locked: stop it, or listen in another directory")
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_left_behind(path: str) -> bool:
    """Whether a socket's file is there that nobody listens on; False where there is nothing.

    Raises:
        OSError: EADDRINUSE where somebody does, ENOTSOCK where the file is none of a socket.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    with socket.socket(socket.AF_UNIX) as caller:
        caller.setblocking(False)  # one whose queue is full does not answer, and lives
        refused = caller.connect_ex(path)
    if refused == errno.ECONNREFUSED:
        return True
    if refused == errno.EACCES:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
