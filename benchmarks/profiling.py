"""Where a server's time goes: `stigmer serve` under a sampling profiler while calls are made."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks import fill, load, messages, servers
from benchmarks.load import Calls
from benchmarks.scenarios import following

if TYPE_CHECKING:
    from benchmarks.scenarios import Bench
    from benchmarks.servers import Running

WORKLOADS = ("get", "create", "getByReference", "subscribe")
SECONDS = 3.0


@dataclass(frozen=True)
class Profile:
    """Shares of the main thread's samples.

    Attributes:
        workload: what the server did.
        packages: where it was, by package; stigmer's by module.
        functions: the innermost function of stigmer's above that.
    """

    workload: str
    packages: list[tuple[str, float]]
    functions: list[tuple[str, float]]


def profile(bench: Bench, workload: str) -> Profile:
    """Profile one workload with 64 callers, or the size's followers."""
    bench = replace(bench, size=replace(bench.size, seconds=min(SECONDS, 4 * bench.size.seconds)))
    data, ids = bench.filled(f"profile-{workload}", bench.size.few)
    report = bench.directory / f"profile-{workload}.json"
    with servers.profiled(data, report) as server:
        _load(bench, workload, server, ids)
    found = json.loads(report.read_text())
    total = sum(count for _, count in found["modules"]) or 1
    packages: Counter[str] = Counter()
    for module, count in found["modules"]:
        packages[module if module.startswith("stigmer.") else module.partition(".")[0]] += count
    return Profile(
        workload,
        [(name, count / total) for name, count in packages.most_common(20)],
        [(name, count / total) for name, count in found["functions"][:15]],
    )


def _load(bench: Bench, workload: str, server: Running, ids: list[str]) -> None:
    if workload == "subscribe":
        plan, _ = following(server, bench.size)
        bench.sample(load.follow, server, plan)
        return
    slugs = (fill.slug(number) for number in range(bench.size.few))
    path, bodies = {
        "get": (messages.GET, tuple(messages.get(id_) for id_ in ids)),
        "create": (messages.CREATE, ()),
        "getByReference": (messages.GET_BY_REFERENCE, tuple(messages.get_by_reference(slug) for slug in slugs)),
    }[workload]
    bench.sample(load.unary, server, Calls(path, bodies, 64, bench.size.seconds))
