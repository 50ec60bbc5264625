"""RESULTS.md: the aims, the tables, a short reading, and the profile behind each aim that was not met."""

from __future__ import annotations

import datetime as dt
import os
import platform
import sqlite3
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.rounds import mid, ratios

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.aims import Aim
    from benchmarks.profiling import Profile
    from benchmarks.rounds import Row, Size

PACKAGES = ("grpclib", "h2", "protobuf", "betterproto2", "protovalidate", "aiosqlite", "uvloop", "grpcio")
SECTIONS = {
    "Unary calls over TCP, one connection": ("get ", "create 1", "create 6", "outside"),
    "Few and many resources": ("create at", "getByReference"),
    "Subscribe": ("subscribe",),
    "Lists": ("list",),
    "Executions": ("report", "create execution", "create keyed"),
    "In process": ("loopback",),
    "Through a host's interceptor": ("hosted",),
    "Callers who are known": ("callers",),
    "Secret values": ("sealed",),
    "Codec": ("decode", "encode"),
    "Beside a server of the C core": ("beside grpcio",),
}
HOW = """\
How to read it: rates are medians over the rounds, in which subject and floor take turns; the ratio is the median of
the ratios within each round, with the lowest and the highest beside it. "µs" is the server's processor time for one,
all its threads together. "client" is the share of one core that the measuring process used: near 1.00 the client would
be the limit, not the server.

- The server under test is `stigmer serve --log-level warning`, so that no line a call is written. Floor servers are
  grpclib's own `Server` with handlers that do nothing, on the same event loop. Each server, and the client, is a
  process of its own.
- The client is `benchmarks/wire.py`, the same for subject and floor: prepared HTTP/2 frames over a blocking socket, at
  some 10 µs a call. grpcio.aio takes over ten times that and so hides a part of the difference between subject and
  floor; one row has it as a check.
- The message is an ExecutionContext of 0.5 KB in the request (0.7 KB stored). The bare echo carries empty messages.
- Raw SQLite is a plain table of three columns (WAL, synchronous=FULL) in the measuring process, on the same disk.
- Where there are few resources, the number grows by what a round creates. In "few and many" the server has just
  started in every round, so its cache is empty.
"""


@dataclass(frozen=True)
class Run:
    """How the figures came about: the size, the command, the seconds that it took, and the load just before."""

    size: Size
    command: str
    took_s: float
    load: float


def text(rows: Mapping[str, Row], aims: list[Aim], profiles: list[Profile], run: Run) -> str:
    """The whole file."""
    now = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC"
    parts = [
        "# Benchmarks\n",
        f"`{run.command}`, {now}, {run.took_s:.0f} s: {run.size.rounds} rounds of {run.size.seconds:g} s a figure.\n",
        f"{machine()} Load average just before: {run.load:.1f}.\n",
        "## Aims\n",
        *_aims(aims),
        "\n## Reading\n",
        *_reading(rows, aims),
        f"\n{HOW}",
    ]
    for title, prefixes in SECTIONS.items():
        parts += [f"\n## {title}\n", *_table([row for key, row in rows.items() if key.startswith(prefixes)])]
    if profiles:
        parts.append("\n## Profiles\n")
        parts += [line for profile in profiles for line in _profile(profile)]
    return "\n".join(parts) + "\n"


def machine() -> str:
    """What was measured on, and with which versions."""
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return (
        f"Machine: {_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()};"
        f" {platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "not installed"


def _aims(aims: list[Aim]) -> Iterator[str]:
    yield "| aim | measured | |"
    yield "|---|---|---|"
    for aim in aims:
        yield f"| {aim.text} | {aim.found} | {'met' if aim.met else '**not met**'} |"


def _reading(rows: Mapping[str, Row], aims: list[Aim]) -> Iterator[str]:
    """A few sentences, made of this run's figures."""
    missed = [aim for aim in aims if not aim.met]
    yield f"- {len(aims) - len(missed)} of {len(aims)} aims are met" + (
        f"; not: {'; '.join(aim.text for aim in missed)}. The profiles below show where the time goes."
        if missed
        else "."
    )
    get, create = rows["get 64"], rows["create 64"]
    added = mid(get.subject, "server_us") - mid(get.floor, "server_us")
    yield (
        f"- A get costs {mid(get.subject, 'server_us'):,.0f} µs of the server's processor time; the bare echo"
        f" {mid(get.floor, 'server_us'):,.0f}. All that stigmer adds is the difference, {added:,.0f} µs: codec,"
        f" validation, interceptors, pipeline, cache, and a reply of 0.7 KB in place of an empty one."
    )
    yield (
        f"- A durable create costs {mid(create.subject, 'server_us'):,.0f} µs. 64 callers share commits; one caller"
        f" waits for the disk each time, {mid(rows['create 1'].subject, 'p50_ms'):.2f} ms from call to reply."
    )
    loop = rows["loopback get"]
    yield (
        f"- A get in process takes {mid(loop.subject, 'p50_ms') * 1000:,.0f} µs, over TCP"
        f" {mid(loop.floor, 'p50_ms') * 1000:,.0f} µs by the same stub and"
        f" {mid(rows['loopback get wire'].floor, 'p50_ms') * 1000:,.0f} µs by a client that costs nothing."
    )
    follow = rows["subscribe"]
    yield (
        f"- {mid(follow.subject, 'updates'):,.0f} updates a second, each to a quarter of the followers, make"
        f" {mid(follow.subject):,.0f} deliveries a second; slow readers may get updates merged."
    )


def _table(rows: list[Row]) -> Iterator[str]:
    with_uvloop = any(row.uvloop for row in rows)
    head = ["what", "a second", "µs", "ms (p50)", "client", "floor", "a second", "µs", "ratio"]
    head += ["uvloop: a second", "floor", "ratio"] if with_uvloop else []
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        cells = [row.title, f"{mid(row.subject):,.0f} {row.unit}", _some(mid(row.subject, "server_us"), ",.0f")]
        cells += [_some(mid(row.subject, "p50_ms"), ".3f"), _some(mid(row.subject, "client"), ".2f")]
        cells += [
            row.floor_name,
            f"{mid(row.floor):,.0f}",
            _some(mid(row.floor, "server_us"), ",.0f"),
            _spread(row.ratios()),
        ]
        if row.uvloop is not None:
            subject, floor = row.uvloop
            cells += [f"{mid(subject):,.0f}", f"{mid(floor):,.0f}", _spread(ratios(subject, floor))]
        elif with_uvloop:
            cells += ["", "", ""]
        yield f"| {' | '.join(cells)} |"


def _some(value: float, form: str) -> str:
    return format(value, form) if value else ""


def _spread(values: list[float]) -> str:
    return f"**{median(values):.2f}** ({min(values):.2f}-{max(values):.2f})"


def _profile(profile: Profile) -> Iterator[str]:
    yield f"### {profile.workload}\n"
    yield "Shares of the main thread's samples, one a millisecond of processor time: by package (stigmer's by module),"
    yield "and by the innermost function of stigmer's that was on the stack.\n"
    yield "| where | share | within | share |"
    yield "|---|---|---|---|"
    for number in range(max(len(profile.packages), len(profile.functions))):
        cells = [_entry(profile.packages, number), _entry(profile.functions, number)]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _entry(shares: list[tuple[str, float]], number: int) -> str:
    return f"{shares[number][0]} | {shares[number][1]:.1%}" if number < len(shares) else " | "
