"""What secret values cost: create and get of a context with some of them, beside the same with none.

`python -m benchmarks.sealed` measures that alone, in a minute: it prints the rows, and writes nothing.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import load, messages, servers
from benchmarks.load import Calls
from benchmarks.rounds import FULL, Row, Worker, interleave, mid
from benchmarks.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.load import Sample
    from benchmarks.scenarios import Bench
    from benchmarks.servers import Running

VALUES, SECRET = 20, 10
CALLERS = (1, 64)
KINDS = {"secret": (VALUES, SECRET), "plain": (VALUES, 0)}


def sealed(bench: Bench) -> dict[str, Row]:
    """One server over TCP, with both; every get shows all values, as to a runner."""
    rows: dict[str, Row] = {}
    with servers.stigmer(bench.directory / "sealed") as server:
        gets = {name: _made(server, values, bench.size.few) for name, values in KINDS.items()}
        for callers in CALLERS:
            for rpc, path in (("get", messages.GET), ("create", messages.CREATE)):
                variants: dict[str, Callable[[], Sample]] = {}
                for name, values in KINDS.items():
                    bodies = gets[name] if rpc == "get" else ()
                    plan = Calls(path, bodies, callers, bench.size.seconds, values=values)
                    variants[name] = partial(bench.sample, load.unary, server, plan)
                taken = interleave(bench.size, variants)
                title = f"{rpc} of {VALUES} values, {SECRET} secret, {callers} caller{'s' if callers > 1 else ''}"
                floor = "the same with none secret"
                rows[f"sealed {rpc} {callers}"] = Row(title, "calls", floor, taken["secret"], taken["plain"])
    return rows


def _made(server: Running, values: tuple[int, int], count: int) -> tuple[bytes, ...]:
    """Requests that get so many new contexts."""
    requests = messages.named(messages.context_of(*values))
    with Wire(server.address) as wire:
        made = [wire.unary(messages.CREATE, next(requests)) for _ in range(count)]
    return tuple(messages.get(messages.parsed(messages.CONTEXT, one).metadata.id) for one in made)


def main() -> None:
    """Measure, and print."""
    from benchmarks.scenarios import Bench  # noqa: PLC0415 - only here, where this is the program

    with Worker() as worker, tempfile.TemporaryDirectory(prefix="stigmer-bench-") as directory:
        for row in sealed(Bench(FULL, worker, Path(directory))).values():
            times = [1 / ratio for ratio in row.ratios()]
            both = (row.subject, row.floor)
            sides = (f"{mid(side, 'p50_ms'):.3f} ms, {mid(side, 'server_us'):.0f} us" for side in both)
            print(f"{row.title}: {sorted(times)[len(times) // 2]:.2f} times ({'; '.join(sides)})")


if __name__ == "__main__":
    main()
