"""How long is waited between the tries of a call."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

import stigmer
from stigmer.client.backoff import Backoff
from stigmer.client.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Time that passes where the test says so."""
    now = [1000.0]
    monkeypatch.setattr("stigmer.client.backoff.time", SimpleNamespace(monotonic=lambda: now[0]))

    def passes(seconds: float) -> None:
        now[0] += seconds

    return passes


def waits(waiting: Backoff, passes: Callable[[float], None], error: stigmer.StigmerError) -> list[float]:
    found: list[float] = []
    while (wait_s := waiting.wait_s(error)) is not None:
        found.append(wait_s)
        passes(wait_s)
    return found


def test_waits_grow_by_half_from_100_ms_to_5_s_and_end_after_10(clock: Callable[[float], None]) -> None:
    gone = stigmer.Unavailable("gone", retry_after_s=0.0)
    found = waits(Backoff(Options(), None), clock, gone)
    for number, wait_s in enumerate(found):
        assert 0.8 <= wait_s / (0.1 * 1.5**number) <= 1.2
    assert 5 < sum(found) < 10
    patient = waits(Backoff(Options(retry_s=100, max_retries=50), None), clock, gone)
    assert 90 < sum(patient) < 100
    assert max(patient) <= 5
    assert len(waits(Backoff(Options(max_retries=2), None), clock, gone)) == 2
    assert sum(waits(Backoff(Options(), 1000 + sum(found) + sum(patient) + 3), clock, gone)) < 3


def test_what_the_server_asks_for_is_waited(clock: Callable[[float], None]) -> None:
    found = waits(Backoff(Options(), None), clock, stigmer.Unavailable("busy", retry_after_s=2.0))
    assert found[:3] == [2.0, 2.0, 2.0]
