"""Each attack alone, then all at once, on both loops: what the well-behaved meet, memory, and what was refused."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.abuse import report
from benchmarks.abuse.attacks import ATTACKS
from benchmarks.abuse.data import prepare
from benchmarks.abuse.rig import Served, served, under, watched

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.abuse.bystanders import Latencies
    from benchmarks.abuse.data import Data

RESULTS = Path(__file__).parent.with_name("ABUSE.md")
ALL = "all at once"
AS_ONE = "all at once, one address for all"
SETTLE_S = 5.0
HEAD_START_S = 0.5  # the attackers begin before they are watched
FEW_DESCRIPTORS = 200
SLOW_LOG = "failing_calls, log read slowly"
DESCRIPTORS = f"idle_connections, {FEW_DESCRIPTORS} descriptors"


@dataclass
class Found:
    """What one attack did.

    Attributes:
        name: of the attack.
        loop: `asyncio` or `uvloop`.
        before, during: what the well-behaved met.
        peak_mb: the most memory that the server held.
        after_mb: what it held SETTLE_S after the attack.
        outcomes: how the attackers' calls ended.
        log_mb: what the server logged meanwhile.
    """

    name: str
    loop: str
    before: Latencies
    during: Latencies
    peak_mb: float
    after_mb: float
    outcomes: Counter[str] = field(default_factory=Counter[str])
    log_mb: float = 0.0

    def ratio(self, what: str) -> float:
        """The 99th percentile beside that before the attack."""
        return self.during.of(what, 0.99) / max(1e-9, self.before.of(what, 0.99))


@dataclass(frozen=True)
class Plan:
    """What is done at once: `attacks`, by their names, for so many `seconds`.

    Each, and each of the well-behaved, comes from an address of its own where they are `apart`.
    """

    name: str
    attacks: Sequence[str]
    seconds: float
    apart: bool = True


class Suite:
    """The servers of one event loop."""

    def __init__(
        self, pool: ProcessPoolExecutor, home: Path, loop: str, *, data: Data, each_s: float, idle: bool
    ) -> None:
        self._pool, self._home, self._loop, self._data = pool, home, loop, data
        self._each_s, self._idle = each_s, idle

    def run(self, names: Sequence[str], all_s: float) -> Iterator[Found]:
        """Each attack alone, then all at once, then what a server of few descriptors does."""
        with self._server() as one:
            before = self._before(one)
            for name in names:
                yield self._attacked(one, Plan(name, [name], self._each_s), before)
            if "failing_calls" in names:
                one.log.slow = True
                yield self._attacked(one, Plan(SLOW_LOG, ["failing_calls"], self._each_s), before)
                one.log.slow = False
        with self._server() as one:
            yield self._attacked(one, Plan(ALL, names, all_s), self._before(one))
            yield self._attacked(one, Plan(AS_ONE, names, all_s / 3, apart=False), self._before(one))
        if "idle_connections" in names:
            with self._server(FEW_DESCRIPTORS) as one:
                yield self._attacked(one, Plan(DESCRIPTORS, ["idle_connections"], self._each_s), self._before(one))

    def _before(self, one: Served) -> Latencies:
        return watched(self._pool, one, self._data, self._each_s, apart=True)

    def _server(self, descriptors: int | None = None) -> AbstractContextManager[Served]:
        directory = Path(tempfile.mkdtemp(dir=self._home)) / "data"
        shutil.copytree(self._home / "filled", directory)
        return served(directory, uvloop=self._loop == "uvloop", descriptors=descriptors)

    def _attacked(self, one: Served, plan: Plan, before: Latencies) -> Found:
        one.forget_peak()
        logged = one.log.read_bytes
        with under(
            plan.attacks, one, self._data, plan.seconds + HEAD_START_S, idle=self._idle, apart=plan.apart
        ) as outcomes:
            time.sleep(HEAD_START_S)
            during = watched(self._pool, one, self._data, plan.seconds, apart=plan.apart)
        peak = one.peak_mb()
        until, after = time.monotonic() + min(SETTLE_S, 2 * plan.seconds), one.memory_mb()
        while time.monotonic() < until and after > peak / 2:
            time.sleep(0.2)
            after = one.memory_mb()
        total = sum(outcomes.values(), Counter[str]())
        log_mb = (one.log.read_bytes - logged) / 1e6
        return Found(plan.name, self._loop, before, during, peak, after, total, log_mb)


def main() -> None:
    arguments = _arguments()
    started = time.monotonic()
    names = arguments.only or list(ATTACKS)
    found: list[Found] = []
    with (
        tempfile.TemporaryDirectory(prefix="stigmer-abuse-", dir=arguments.dir) as home,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        data = prepare(Path(home) / "filled", part=0.05 if arguments.smoke else 1.0)
        for loop in arguments.loop:
            suite = Suite(pool, Path(home), loop, data=data, each_s=arguments.each, idle=not arguments.smoke)
            for one in suite.run(names, arguments.all):
                found.append(one)
                print(f"{time.monotonic() - started:5.0f} s  {report.line(one)}", flush=True)
    missed = report.missed(found, ALL, AS_ONE)
    arguments.out.write_text(report.text(found, missed, time.monotonic() - started))
    print("\n".join(missed) or "every bound is kept")
    sys.exit(bool(missed) and not arguments.smoke)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abuse", description="Attack a server, and measure.")
    parser.add_argument("--each", type=float, default=4.0, help="seconds of each attack alone [4]")
    parser.add_argument("--all", type=float, default=60.0, help="seconds of all at once [60]")
    parser.add_argument("--loop", nargs="*", choices=["asyncio", "uvloop"], default=["asyncio", "uvloop"])
    parser.add_argument("--only", nargs="*", choices=list(ATTACKS), help="these attacks alone")
    parser.add_argument(
        "--smoke", action="store_true", help="a small database, attackers of equal priority; exit with 0"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file to write [benchmarks/ABUSE.md]")
    parser.add_argument("--dir", type=Path, help="where databases go [the system's]")
    return parser.parse_args()
