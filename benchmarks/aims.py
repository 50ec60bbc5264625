"""What the project wants of its figures, and whether this run shows it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.client import LIMITS
from benchmarks.rounds import mid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.costs import Start
    from benchmarks.rounds import Row, Size


@dataclass(frozen=True)
class Aim:
    """One aim.

    Attributes:
        text: what is wanted.
        found: what was measured, in words.
        met: whether that is enough.
        workload: which of `profiling.WORKLOADS` shows where the time goes; empty for none.
    """

    text: str
    found: str
    met: bool
    workload: str


SEALED = {"sealed get 1": 2.0, "sealed get 64": 1.6, "sealed create 1": 1.3, "sealed create 64": 1.3}
"""How many times what it costs without secret values the calls with some may cost."""


def judge(rows: Mapping[str, Row], size: Size, start: Start) -> list[Aim]:
    """Every aim; the medians of the ratios decide. Without uvloop, which is an extra."""
    aims = [
        _slowdown(
            f"create costs at {size.many:,} rows at most 1.2 times as much as at {size.few}",
            rows["create at many"],
            "create",
        ),
        _slowdown(
            "getByReference of any row at most 1.3 times, on a cold start",
            rows["getByReference at many"],
            "getByReference",
            most=1.3,
        ),
        _share("get has at least 1/2 of the bare echo's rate (64 callers)", rows["get 64"], 1 / 2, "get"),
        _share("durable create has at least 0.45 of it", rows["create 64"], 0.45, "create"),
        _loopback("loopback get takes at most 1/5 of the same get over TCP (1 caller)", rows["loopback get"], 5),
        _loopback("with the row cache off, at most 1/3 of it", rows["loopback get uncached"], 3),
    ]
    owned = rows["list owned"]
    aims.append(_slowdown(f"{owned.title}: at most 1.3 times what it costs a caller of all", owned, "", most=1.3))
    report, create = rows["report"], rows["create execution"]
    aims += [
        _processor_ms(f"{report.title} cost the server at most 8 ms of CPU", report, 8.0),
        _times_floor("that is at most 8 times what 16 of them cost", report, 8.0),
        _processor_ms(f"{create.title}: at most 1.2 ms of CPU", create, 1.2),
        _slowdown(
            "an idempotency key costs at most 1.15 times the create without", rows["create keyed"], "", most=1.15
        ),
    ]
    for where, most in LIMITS.items():
        by_client = rows[f"client {where}"]
        text = f"{by_client.title}: at most {most} times what the bare stub's costs"
        aims.append(_slowdown(text, by_client, "", most=most))
    aims += [_times(rows[key], 1.1) for key in rows if key.startswith(("hosted ", "callers "))]
    aims += [_times(rows[key], most) for key, most in SEALED.items()]
    rate = mid(rows["subscribe"].subject)
    aims.append(Aim("25,000 subscribe deliveries a second", f"{rate:,.0f}", rate >= 25_000, "subscribe"))
    return [*aims, *_starts(start)]


def _starts(start: Start) -> list[Aim]:
    return [
        Aim("from the command to a server that listens 0.6 s", f"{start.serving_s:.2f} s", start.serving_s <= 0.6, ""),
        Aim("`stigmer --help` 0.12 s", f"{start.help_s:.2f} s", start.help_s <= 0.12, ""),
        Aim("memory at start 65 MB", f"{start.memory_mb:.0f} MB", start.memory_mb <= 65, ""),
        Aim("an idle subscription holds 15 KB", f"{start.subscriber_kb:.1f} KB", start.subscriber_kb <= 15, ""),
    ]


def _slowdown(text: str, row: Row, workload: str, *, most: float = 1.2) -> Aim:
    times = median(1 / ratio for ratio in row.ratios())
    return Aim(text, f"{times:.2f} times", times <= most, workload)


def _times(row: Row, most: float) -> Aim:
    times = median(1 / ratio for ratio in row.ratios())
    return Aim(f"{row.title}: at most {most:g} times what it costs without", f"{times:.2f} times", times <= most, "")


def _processor_ms(text: str, row: Row, most: float) -> Aim:
    ms = mid(row.subject, "server_us") / 1000
    return Aim(text, f"{ms:.2f} ms", ms <= most, "")


def _times_floor(text: str, row: Row, most: float) -> Aim:
    times = mid(row.subject, "server_us") / (mid(row.floor, "server_us") or 1.0)
    return Aim(text, f"{times:.1f} times", times <= most, "")


def _share(text: str, row: Row, least: float, workload: str) -> Aim:
    ratio = median(row.ratios())
    return Aim(text, f"{ratio:.2f}", ratio >= least, workload)


def _loopback(text: str, row: Row, times: int) -> Aim:
    ratio = median(1 / one for one in row.ratios())
    return Aim(text, f"{ratio:.3f} (1/{1 / ratio:.1f})", ratio <= 1 / times, "")
