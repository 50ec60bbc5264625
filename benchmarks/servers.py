"""Servers under test, each a process of its own: `stigmer serve`, the same with a profiler, and the bare echo."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Address = tuple[str, int]
ROOT = Path(__file__).resolve().parent.parent
START_S = 120.0


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    address: Address
    pid: int

    def cpu_s(self) -> float:
        """The processor time that it has used; 0 where the system does not tell (it does on Linux)."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def stigmer(directory: Path, *, uvloop: bool = False, flags: Sequence[str] = ()) -> Iterator[Running]:
    """`stigmer serve` on a data directory."""
    with _process(["-m", "stigmer", *_serve(directory, uvloop=uvloop), *flags], directory) as running:
        yield running


@contextmanager
def profiled(directory: Path, report: Path) -> Iterator[Running]:
    """`stigmer serve` under the sampling profiler, which writes its report when it stops."""
    module = "benchmarks.profiled_server"
    with _process(["-m", module, str(report), *_serve(directory, uvloop=False)], directory) as running:
        os.kill(running.pid, signal.SIGUSR1)
        yield running


@contextmanager
def hosted(data: Path, copy: Path, flags: Sequence[str]) -> Iterator[Running]:
    """A host's server on a copy of a data directory; see `benchmarks.hosted`."""
    copied(data, copy)
    with _process(["-m", "benchmarks.hosted", "PORT", str(copy), *flags], copy) as running:
        yield running


def copied(data: Path, copy: Path) -> None:
    """Copy a data directory, unless that is done."""
    if not copy.exists():
        shutil.copytree(data, copy)


@contextmanager
def echo(*, uvloop: bool = False) -> Iterator[Running]:
    """The bare grpclib server."""
    with _process(["-m", "benchmarks.echo_server", "PORT", *(["uvloop"] if uvloop else [])], ROOT) as running:
        yield running


@contextmanager
def grpcio_echo() -> Iterator[Running]:
    """The bare grpcio.aio server."""
    with _process(["-m", "benchmarks.grpcio_echo", "PORT"], ROOT) as running:
        yield running


def _serve(directory: Path, *, uvloop: bool) -> list[str]:
    loop = "--uvloop" if uvloop else "--no-uvloop"
    return ["serve", "--listen", "127.0.0.1:PORT", "--data-dir", str(directory), "--log-level", "warning", loop]


@contextmanager
def _process(arguments: Sequence[str], home: Path) -> Iterator[Running]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STIGMER_")}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment |= {"HOME": str(home), "PYTHONPATH": path}
    command = [sys.executable, *(argument.replace("PORT", str(port)) for argument in arguments)]
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        _wait_for(port, process)
        yield Running(("127.0.0.1", port), process.pid)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that nobody listens on, and that the system gives to no client between now and the server's start."""
    while True:
        port = random.SystemRandom().randint(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"the server did not start: {process.args!r}")
