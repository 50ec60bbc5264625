"""ABUSE.md: a row an attack, and which bounds were not kept."""

from __future__ import annotations

import datetime as dt
from math import inf
from typing import TYPE_CHECKING

from benchmarks.report import machine

if TYPE_CHECKING:
    from benchmarks.abuse.run import Found

MOST_MB = 500
MOST_RATIO = 3.0
FLOOR_S = 0.010
"""A 99th percentile under this hurts nobody, whatever it was before."""

HEAD = """\
# Abuse

`python -m benchmarks.abuse` (`make abuse`), {now}, {took:.0f} s.

{machine}

Attacks by every means that a client has (`benchmarks/abuse/attacks.py`), beside nine well-behaved clients that each
make a call every 50 ms, on time: five get, the others getByReference, list, create and updateStatus. Each attack and
each client has an address of its own, as callers have; in one row all share one, where the server can tell none from
another but by its connection. Latency counts from the moment at which a call was due. Attackers take what is left of
the processors (SCHED_IDLE), because client and server share two cores here. Memory is the server's resident set: its
peak during the attack, and what is left up to 5 seconds after it.

{verdict}

"""
COLUMNS = (
    "loop",
    "attack",
    "get p99, ms: before",
    "during",
    "ratio",
    "worst other: what",
    "ratio",
    "max, ms",
    "failed",
    "peak MB",
    "after",
    "log, MB",
    "how the attack's calls ended",
)


def line(one: Found) -> str:
    """What one attack did, for the terminal."""
    what = _worst(one)
    return (
        f"{one.loop:8} {one.name:32} get p99 {_ms(one, 'get')} ms x{one.ratio('get'):.1f}"
        f"  {what} x{one.ratio(what):.1f}  peak {one.peak_mb:.0f} MB, then {one.after_mb:.0f}"
        f"  failed {sum(one.during.failed.values())}  {_outcomes(one)}"
    )


def missed(found: list[Found], together: str, unbounded: str) -> list[str]:
    """The bounds that were not kept, in words; of `unbounded` memory and failures alone are looked at."""
    lines = []
    for one in found:
        where = f"{one.loop}, {one.name}"
        if one.peak_mb > MOST_MB:
            lines.append(f"{where}: {one.peak_mb:.0f} MB of memory, {MOST_MB} are the most")
        most = inf if one.name == unbounded else MOST_RATIO if one.name == together else 2 * MOST_RATIO
        slow = [what for what in one.during.took_s if one.ratio(what) > most and one.during.of(what, 0.99) > FLOOR_S]
        lines += [f"{where}: the p99 of {what} is {one.ratio(what):.1f} times that before" for what in slow]
        lines += [f"{where}: {number} calls of {what} failed" for what, number in one.during.failed.items() if number]
    return lines


def text(found: list[Found], missed: list[str], took_s: float) -> str:
    """The whole file."""
    verdict = "Every bound is kept." if not missed else "Not kept:\n\n" + "\n".join(f"- {one}" for one in missed)
    now = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC"
    head = HEAD.format(now=now, took=took_s, machine=machine(), verdict=verdict)
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(_cells, found)]
    return head + "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _cells(one: Found) -> list[str]:
    what = _worst(one)
    return [
        one.loop,
        one.name,
        f"{one.before.of('get', 0.99) * 1000:.1f}",
        _ms(one, "get"),
        f"**{one.ratio('get'):.1f}**",
        what,
        f"{one.ratio(what):.1f}",
        f"{max(max(took, default=0) for took in one.during.took_s.values()) * 1000:.0f}",
        str(sum(one.during.failed.values())),
        f"{one.peak_mb:.0f}",
        f"{one.after_mb:.0f}",
        f"{one.log_mb:.1f}",
        _outcomes(one),
    ]


def _worst(one: Found) -> str:
    return max((what for what in one.before.took_s if what != "get"), key=one.ratio)


def _ms(one: Found, what: str) -> str:
    return f"{one.during.of(what, 0.99) * 1000:.1f}"


def _outcomes(one: Found) -> str:
    return ", ".join(f"{how} {number:,}" for how, number in one.outcomes.most_common())
