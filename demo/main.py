"""The main job, as it happens: `make demo`.

A server on a free port and a fresh directory, and three callers with a token each: an editor creates an agent and an
execution of it with a secret, a reader may not, and follows the execution, a runner reads the secret and reports
progress. When the execution ends its secret is gone. Each caller is a process that knows the server's address and its
own token alone.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

CLIENT = Path(__file__).with_name("client.py")
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("STIGMER_")}
SERVER_LINES = {
    "Successfully created default instance": "made the agent's default instance",
    "Successfully auto-created session via in-process gRPC": "made the execution's session, by a call of its own",
}


def main() -> None:
    """Run it."""
    started = time.monotonic()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    print("Starting `stigmer serve` on a free port, with its data in a fresh directory.")
    with tempfile.TemporaryDirectory() as folder:
        editor, reader, runner = (token(Path(folder), role) for role in ("editor", "reader", "runner"))
        with server(Path(folder)) as (address, log):
            run(address, editor, reader, runner)
            print("\nMeanwhile the server logged, among others:")
            tell(log)
    print(f"\nThe server stopped cleanly. All of it took {time.monotonic() - started:.1f} s.")
    print("Next: `make serve`, then the first calls in docs/calling.md; with tokens: docs/callers.md.")


def run(address: str, editor: str, reader: str, runner: str) -> None:
    """The job, by three callers; `editor`, `reader` and `runner` are their tokens."""
    print(f"It listens on {address}. Three callers, each a process with a token of its own, now use it:\n")
    finished(client(reader, "refused", address))
    execution_id = finished(client(editor, "create", address))
    follower = client(reader, "follow", address, execution_id)
    next(iter(follower.stdout or ()))  # it has seen the first state
    finished(client(runner, "work", address, execution_id))
    finished(follower)


def token(folder: Path, role: str) -> str:
    """A token of a caller with that role, as `stigmer tokens new` makes it."""
    whose = ("--name", f"the-{role}", "--role", role, "--org", "acme")
    command = [sys.executable, "-m", "stigmer", "tokens", "new", *whose, "--tokens-file", str(folder / "tokens")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"no token was made: {done.stderr}")
    return done.stdout.strip()


@contextmanager
def server(folder: Path) -> Generator[tuple[str, Path]]:
    """A running server: its address, and the file that it logs to."""
    log = folder / "log"
    command = [sys.executable, "-m", "stigmer", "serve", "--listen", "127.0.0.1:0", "--log-format", "json"]
    files = ("--data-dir", str(folder / "data"), "--tokens-file", str(folder / "tokens"))
    with log.open("w") as stderr:
        process = subprocess.Popen([*command, *files], stderr=stderr, env=ENVIRONMENT)
    try:
        yield address_in(log, process), log
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=60)
    if status:
        raise SystemExit(f"the server ended with status {status}:\n{log.read_text()}")


def address_in(log: Path, process: subprocess.Popen[bytes]) -> str:
    """The address in the line that says that the server serves."""
    for _ in range(1200):
        for line in lines(log):
            if line["event"] == "stigmer serves":
                return str(line["listen"])
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


def client(token: str, *arguments: str) -> subprocess.Popen[str]:
    """Start one client, which calls with that token; what it says goes where our own words go."""
    command, environment = [sys.executable, str(CLIENT), *arguments], {**ENVIRONMENT, "STIGMER_TOKEN": token}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sys.stdout, text=True, env=environment)


def finished(process: subprocess.Popen[str]) -> str:
    """Wait for a client's end; gives what it prints for us."""
    printed, _ = process.communicate(timeout=60)
    if process.returncode:
        raise SystemExit("a client failed: its words are above")
    return printed.strip()


def tell(log: Path) -> None:
    """The lines of the server's log that show what it did by itself, and the calls from outside."""
    for line in lines(log):
        if line["event"] in SERVER_LINES:
            print(f"    server │ {SERVER_LINES[line['event']]}")
        elif line["event"] == "call" and line["kind"] and line["peer"] != "loopback":
            method = line["method"].rsplit(".", 1)[-1]
            print(
                f"    server │ {method} {line['code']} in {line['duration_ms']} ms, {line.get('id', '')}".rstrip(", ")
            )


def lines(log: Path) -> list[dict[str, str]]:
    """The whole lines of the log, as objects."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]


if __name__ == "__main__":
    main()
