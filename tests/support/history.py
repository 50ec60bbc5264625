"""A history of calls on rows, and whether it is linearizable: as if each call took effect at one moment within it.

Every write gives a row a version that names the one before, so the order of a row's versions is known. What is left to
check is that no call contradicts the clock: one that begins after another has ended sees no older version than that
one saw or wrote, whatever kinds of calls they are and whoever made them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Seen:
    """What one call saw of a row, or wrote to it.

    Attributes:
        start, end: when the call was made and when its answer was there, on one clock.
        what: the call, for the report.
        row: the row's id.
        version: the row's version in the answer.
        previous: the version before, where the call wrote this one.
    """

    start: float
    end: float
    what: str
    row: str
    version: str
    previous: str | None = None


def contradictions(history: list[Seen]) -> list[str]:
    """What cannot be, in words; empty for a linearizable history."""
    found: list[str] = []
    for row in sorted({seen.row for seen in history}):
        calls = [seen for seen in history if seen.row == row]
        order = _order(calls)
        found += [
            f"{seen.what} of {row} saw {seen.version}, which nobody wrote"
            for seen in calls
            if seen.version not in order
        ]
        known = [seen for seen in calls if seen.version in order]
        found += _back_in_time(known, order) + _before_they_were_written(known)
    return found


def _order(calls: list[Seen]) -> dict[str, int]:
    """The place of each version in the row's line of them."""
    after = {seen.previous: seen.version for seen in calls if seen.previous is not None}
    order: dict[str, int] = {}
    version = after.get("")
    while version is not None and version not in order:
        order[version] = len(order)
        version = after.get(version)
    return order


def _back_in_time(calls: list[Seen], order: dict[str, int]) -> list[str]:
    """Calls that saw an older version than one that had ended before they began."""
    found: list[str] = []
    by_end = sorted(calls, key=lambda seen: seen.end)
    newest: Seen | None = None
    at = 0
    for seen in sorted(calls, key=lambda seen: seen.start):
        while at < len(by_end) and by_end[at].end < seen.start:
            if newest is None or order[by_end[at].version] > order[newest.version]:
                newest = by_end[at]
            at += 1
        if newest is not None and order[seen.version] < order[newest.version]:
            late_ms = (seen.start - newest.end) * 1000
            found.append(
                f"{seen.what} of {seen.row} saw an older version than {newest.what} {late_ms:.2f} ms before it"
            )
    return found


def _before_they_were_written(calls: list[Seen]) -> list[str]:
    written = {seen.version: seen for seen in calls if seen.previous is not None}
    return [
        f"{seen.what} of {seen.row} saw what {written[seen.version].what} had not begun to write"
        for seen in calls
        if seen.end < written[seen.version].start
    ]
