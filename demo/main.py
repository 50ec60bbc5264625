"""The main job, as it happens: `make demo`.

A server on a free port and a fresh directory; one client creates an agent and an execution of it, a second follows the
execution, a third reports its progress. Each is a process of its own that knows only the server's address.
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
SERVER_LINES = {
    "Successfully created default instance": "made the agent's default instance",
    "Successfully auto-created session via in-process gRPC": "made the execution's session over the loopback",
}


def main() -> None:
    """Run it."""
    started = time.monotonic()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    print("Starting `stigmer serve` on a free port, with its data in a fresh directory.")
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as (address, log):
        print(f"It listens on {address}. Three clients, each a process of its own, now use it:\n")
        execution_id = finished(client("create", address))
        follower = client("follow", address, execution_id)
        next(iter(follower.stdout or ()))  # it has seen the first state
        finished(client("work", address, execution_id))
        finished(follower)
        print("\nMeanwhile the server logged, among others:")
        tell(log)
    print(f"\nThe server stopped cleanly. All of it took {time.monotonic() - started:.1f} s.")
    print("Next: `make serve`, then the first calls in docs/calling.md.")


@contextmanager
def server(folder: Path) -> Generator[tuple[str, Path]]:
    """A running server: its address, and the file that it logs to."""
    log = folder / "log"
    command = [sys.executable, "-m", "stigmer", "serve", "--listen", "127.0.0.1:0", "--log-format", "json"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("STIGMER_")}
    with log.open("w") as stderr:
        process = subprocess.Popen([*command, "--data-dir", str(folder / "data")], stderr=stderr, env=environment)
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


def client(*arguments: str) -> subprocess.Popen[str]:
    """Start one client; what it says goes where our own words go."""
    command = [sys.executable, str(CLIENT), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sys.stdout, text=True)


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
            print(f"    server │ {method} {line['code']} in {line['duration_ms']} ms, {line['id']}")


def lines(log: Path) -> list[dict[str, str]]:
    """The whole lines of the log, as objects."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]


if __name__ == "__main__":
    main()
