"""`python -m benchmarks [--quick]`: measure everything and write RESULTS.md."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks import callers, client, costs, executions, hosted, owners, report, scenarios, sealed
from benchmarks.aims import judge
from benchmarks.profiling import WORKLOADS, profile
from benchmarks.rounds import FULL, QUICK, SMOKE, Row, Worker

RESULTS = Path(__file__).with_name("RESULTS.md")
SCENARIOS = (
    scenarios.unary,
    scenarios.sizes,
    scenarios.fan_out,
    scenarios.lists,
    owners.owned,
    executions.executions,
    scenarios.loopback,
    client.client,
    hosted.hosted,
    callers.callers,
    sealed.sealed,
    scenarios.conversions,
    costs.beside_grpcio,
)


def main() -> None:
    arguments = _arguments()
    size = SMOKE if arguments.smoke else QUICK if arguments.quick else FULL
    started, load = time.monotonic(), os.getloadavg()[0]
    rows: dict[str, Row] = {}
    with Worker() as worker, tempfile.TemporaryDirectory(prefix="stigmer-bench-", dir=arguments.dir) as directory:
        bench = scenarios.Bench(size, worker, Path(directory))
        for scenario in SCENARIOS:
            print(f"{time.monotonic() - started:5.0f} s  {scenario.__name__}", flush=True)
            rows |= scenario(bench)
        aims = judge(rows, size, costs.starts(bench))
        wanted = {aim.workload for aim in aims if not aim.met and aim.workload}
        workloads = [name for name in WORKLOADS if name in wanted or arguments.profile]
        workloads = workloads if not arguments.smoke else ["get"]
        profiles = [profile(bench, name) for name in workloads]
    command = "python -m benchmarks" + (" --quick" if arguments.quick else "")
    arguments.out.write_text(
        report.text(rows, aims, profiles, report.Run(size, command, time.monotonic() - started, load))
    )
    for aim in aims:
        print(f"{'met    ' if aim.met else 'not met'}  {aim.text}: {aim.found}")
    print(f"{time.monotonic() - started:5.0f} s  written to {arguments.out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure stigmer beside its floors.")
    parser.add_argument("--quick", action="store_true", help="short rounds: figures that are only roughly right")
    parser.add_argument("--smoke", action="store_true", help="as short as possible: figures that mean nothing")
    parser.add_argument("--profile", action="store_true", help="profile every workload, not only those of missed aims")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file to write [benchmarks/RESULTS.md]")
    parser.add_argument("--dir", type=Path, help="where databases go: the disk that is measured [the system's]")
    return parser.parse_args()
