"""Rounds: subject and floor in turns, since the machine is noisy; medians, and ratios within each round."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.load import Sample

    Series = list[Sample]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: how often each variant has its turn.
        seconds: how long a turn is.
        few: resources of a kind, where there are few.
        many: and where there are many.
        streams: how many follow executions.
        callers: how many callers, one row each; 1 and 64 among them.
        uvloop: whether to measure with uvloop as well, where it is installed.
    """

    rounds: int
    seconds: float
    few: int = 100
    many: int = 100_000
    streams: int = 200
    callers: tuple[int, ...] = (1, 16, 64)
    uvloop: bool = True


FULL = Size(rounds=5, seconds=1.0)
QUICK = Size(rounds=2, seconds=0.25, many=20_000, uvloop=False)
SMOKE = Size(rounds=1, seconds=0.02, few=20, many=40, streams=8, callers=(1, 64), uvloop=False)


@dataclass(frozen=True)
class Row:
    """A line of the table: a subject beside its floor.

    Attributes:
        title: what is measured.
        unit: of what so many happen a second.
        floor_name: what the floor is.
        subject: a sample a round.
        floor: a sample a round.
        uvloop: the same two with uvloop, where it is installed.
    """

    title: str
    unit: str
    floor_name: str
    subject: Series
    floor: Series
    uvloop: tuple[Series, Series] | None = None

    def ratios(self) -> list[float]:
        """The subject's rate over the floor's, round by round."""
        return ratios(self.subject, self.floor)


def ratios(subject: Series, floor: Series) -> list[float]:
    """Rate over rate, round by round."""
    return [one.rate / other.rate for one, other in zip(subject, floor, strict=True)]


def mid(series: Series, figure: str = "rate") -> float:
    """The median of a figure of the samples."""
    return float(median(getattr(sample, figure) for sample in series))


def interleave(size: Size, variants: Mapping[str, Callable[[], Sample]]) -> dict[str, Series]:
    """A sample of each variant a round, in turns; every other round backwards."""
    taken: dict[str, Series] = {name: [] for name in variants}
    for number in range(size.rounds):
        names = list(variants) if number % 2 == 0 else list(variants)[::-1]
        for name in names:
            taken[name].append(variants[name]())
    return taken


class Worker:
    """A process that runs functions and nothing else meanwhile. A context manager that ends it."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function gives, run over there."""
        return self._pool.submit(function, *arguments).result()
