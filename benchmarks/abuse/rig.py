"""The server under attack, and the processes that attack and watch it."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, cast

from benchmarks.abuse.attacks import ATTACKS, Target
from benchmarks.abuse.bystanders import Latencies, watch
from benchmarks.servers import ROOT, Running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing.connection import Connection

    from benchmarks.abuse.data import Data

START_S = 60.0
LINGER_S = 45.0
"""How long an attack may take to notice that its time is over."""
SLOW_READ_S = 0.1


class Log(threading.Thread):
    """Reads what the server logs, and throws it away; slowly where `slow`, as a stuck collector would."""

    def __init__(self, pipe: int) -> None:
        super().__init__(daemon=True, name="log")
        self._pipe = pipe
        self.slow = False
        self.read_bytes = 0
        self.last = b""

    def run(self) -> None:
        """Read to the end."""
        while data := os.read(self._pipe, 512 if self.slow else 1 << 20):
            self.read_bytes += len(data)
            self.last = (self.last + data)[-4000:]
            if self.slow:
                time.sleep(SLOW_READ_S)


@dataclass(frozen=True)
class Served:
    """A server, and its log."""

    running: Running
    log: Log

    def peak_mb(self) -> float:
        """The most memory that it held since `forget_peak`."""
        return _status(self.running.pid, "VmHWM")

    def memory_mb(self) -> float:
        """What it holds now."""
        return _status(self.running.pid, "VmRSS")

    def forget_peak(self) -> None:
        """Count the peak from now on."""
        Path(f"/proc/{self.running.pid}/clear_refs").write_text("5")


@contextmanager
def served(directory: Path, *, uvloop: bool, descriptors: int | None = None) -> Iterator[Served]:
    """`stigmer serve` on a data directory, logging each call; with `descriptors`, with so few of them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STIGMER_")}
    environment |= {"HOME": str(directory), "PYTHONPATH": str(ROOT)}
    arguments = ["--listen", "127.0.0.1:0", "--data-dir", str(directory), "--log-format", "json"]
    command = [sys.executable, "-m", "stigmer", "serve", *arguments, "--uvloop" if uvloop else "--no-uvloop"]
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE)
    assert process.stderr is not None
    log = Log(process.stderr.fileno())
    log.start()
    try:
        yield Served(Running(("127.0.0.1", _port(process, log)), process.pid), log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[bytes], log: Log) -> int:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        found = re.search(rb'"listen": ?"127\.0\.0\.1:([1-9]\d*)"', log.last)
        if found:
            return int(found[1])
        time.sleep(0.02)
    raise RuntimeError(f"the server did not start: {log.last.decode()}")


def _status(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def watched(pool: ProcessPoolExecutor, one: Served, data: Data, seconds: float, *, apart: bool) -> Latencies:
    """What the well-behaved meet, each at an address of its own where they are `apart`."""
    return pool.submit(watch, one.running, data, seconds, apart=apart).result()


@contextmanager
def under(
    names: Sequence[str], one: Served, data: Data, seconds: float, *, idle: bool, apart: bool
) -> Iterator[dict[str, Counter[str]]]:
    """Attacks that run, each in a process of its own; how their calls ended, once the block is left.

    `idle`: they take what is left of the processors, as they stand in for other machines. `apart`: each comes from an
    address of its own.
    """
    outcomes: dict[str, Counter[str]] = {name: Counter({"did not end": 1}) for name in names}
    sources = [f"127.1.0.{host}" if apart else "127.0.0.1" for host in range(1, len(names) + 1)]
    ours, theirs = multiprocessing.Pipe()
    crowd = multiprocessing.get_context("spawn").Process(
        target=_crowd, args=(dict(zip(names, sources, strict=True)), theirs, idle)
    )
    crowd.start()
    theirs.close()
    ours.recv()
    target = Target(one.running.address, data, time.monotonic() + seconds, "")
    ours.send(target)
    try:
        yield outcomes
    finally:
        with suppress(EOFError):
            while ours.poll(max(0.1, target.end_s + LINGER_S - time.monotonic())):
                name, counted = ours.recv()
                outcomes[name] = counted
        crowd.terminate()
        crowd.join()


def _crowd(sources: dict[str, str], rig: Connection, idle: bool) -> None:  # noqa: FBT001 - an argument of a process
    """Says that it is there, is told the target, and forks an attacker for each name, which tells its outcomes.

    `sources` has the address that each comes from.
    """
    if idle:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    rig.send("ready")
    target: Target = rig.recv()
    answers: dict[Connection, multiprocessing.process.BaseProcess] = {}
    for name, source in sources.items():
        ours, theirs = multiprocessing.Pipe(duplex=False)
        attack = (name, replace(target, source=source), theirs)
        process = multiprocessing.get_context("fork").Process(target=_attack, args=attack, daemon=True)
        process.start()
        theirs.close()
        answers[ours] = process
    while answers:
        for answer in wait(list(answers)):
            with suppress(EOFError):
                rig.send(cast("Connection", answer).recv())
            answers.pop(cast("Connection", answer)).join()


def _attack(name: str, target: Target, answer: Connection) -> None:
    answer.send((name, ATTACKS[name](target)))
