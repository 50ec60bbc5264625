"""The command line: `stigmer COMMAND`, one module a command.

A command's module is imported when the command is run or asked for its own help, never for `stigmer --help`, which so
needs neither pydantic nor grpclib. A new command is a module with a function of its name, or a table of the functions
of its subcommands, and a line in `COMMANDS`.
This module imports next to nothing, so that an interrupt finds `main` at work, not an import.

Exit status: 0 done, 1 failed (one line on stderr for each reason), 2 wrong usage, 3 an execution ended otherwise than
wanted, 4 not in time, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

COMMANDS = {
    "serve": "Run the server until SIGTERM or Ctrl-C.",
    "get": "Print resources, as a table, JSON or YAML.",
    "apply": "Make resources as manifests have them.",
    "diff": "Show what applying manifests would change.",
    "delete": "Delete resources.",
    "explain": "Tell what a kind or a field of it means.",
    "health": "Ask a running server whether it serves.",
    "tokens": "Make, list and revoke the tokens that callers are known by.",
    "keys": "List and rotate the keys that secrets are sealed under.",
    "audit": "Show, export and verify who saw and changed secrets.",
    "verify-secrets": "Search all that a server leaves behind for secret values.",
    "run": "Have an agent do something, and follow it to its end.",
    "logs": "Show what an execution has done, and does.",
    "auth": "Ask a server who you are and what you may do.",
    "wait": "Wait until an execution has come to a phase.",
    "config": "Show and set the profiles, which name servers to call.",
    "version": "Print the versions of this command and of the server.",
}
"""Each command with its line in `stigmer --help`, in the order shown."""

FAILED = 1
ENDED_OTHERWISE = 3
"""An execution ended in another phase than was wanted."""
NOT_IN_TIME = 4
INTERRUPTED = 130

_LAST_STANDARD_FD = 2


def main() -> None:
    """Run the command line of this process and exit."""
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if raises:  # else it is ignored, as a shell wants it of its background jobs
        signal.signal(signal.SIGINT, _quit)
    try:
        _open_standard_streams()
        _run()
    finally:
        if raises:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupts_raise() -> None:
    """From here on an interrupt is a KeyboardInterrupt, for a command that has something to close."""
    if signal.getsignal(signal.SIGINT) is _quit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _quit(*_: object) -> None:
    """Leave at once: a KeyboardInterrupt inside an import shows a traceback, or is swallowed by a callback."""
    os._exit(INTERRUPTED)


def _open_standard_streams() -> None:
    """See that 0, 1 and 2 are open.

    Else sockets and the database would take the numbers: what is printed goes there, and uvloop aborts on closing one.
    """
    with suppress(OSError):  # no /dev/null: as well as it goes
        while (fd := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD_FD:
            pass
        os.close(fd)


def _run() -> None:
    from stigmer.cli.commands import run  # noqa: PLC0415  # typer, while an interrupt is quiet
    from stigmer.errors import StartupError  # noqa: PLC0415  # dataclasses, likewise

    try:
        run()
    except StartupError as error:
        from stigmer.telemetry.log_stream import flush, printable  # noqa: PLC0415  # not wanted for help

        flush()
        if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]  # None where python had none
            sys.stderr.writelines(f"stigmer: {printable(line)}\n" for line in str(error).split("\n"))
        sys.exit(FAILED)
