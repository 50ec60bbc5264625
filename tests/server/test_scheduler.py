"""Whose turn it is: those that cost least go first, those that cost most go on, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import time

import pytest

from stigmer.server.scheduler import FEW, FOR_FEW, LITTLE_S, MOST_S, PART, QUIET_S, STALE, TURN_S, Account, Scheduler


class Pieces:
    """Work of so many pieces, each of which costs so much; `done` is told of each."""

    def __init__(self, scheduler: Scheduler, name: str, pieces: int, cost_s: float, done: list[str]) -> None:
        self._scheduler, self._name, self._cost_s, self._done = scheduler, name, cost_s, done
        self.account, self.left = Account(), pieces
        self.account.cost_s = 0.0

    def ready(self) -> None:
        self._scheduler.ready(self.account, self)

    @property
    def left_s(self) -> float:
        return self.left * self._cost_s

    def work(self) -> bool:
        self._scheduler.charge(self.account, self._cost_s)
        self._done.append(self._name)
        self.left -= 1
        return self.left > 0


async def all_done(*works: Pieces) -> None:
    while any(work.left for work in works):  # noqa: ASYNC110  # turns of the loop are what is tested
        await asyncio.sleep(0)


async def test_who_asks_for_little_is_served_at_once_beside_a_flood() -> None:
    scheduler, done = Scheduler(), list[str]()
    floods = [Pieces(scheduler, "flood", 200, TURN_S, done) for _ in range(20)]
    for flood in floods:
        flood.ready()
    for _ in range(50):
        await asyncio.sleep(0)
    for _ in range(10):
        little = Pieces(scheduler, "little", 1, TURN_S / 10, done)
        await asyncio.sleep(0)
        before = len(done)
        little.ready()
        await all_done(little)
        assert done[before:].count("flood") <= 2
    assert any(flood.left for flood in floods)


async def test_many_that_ask_in_one_turn_of_the_loop_have_no_more_of_it_than_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 1.0)
    scheduler, done = Scheduler(), list[str]()
    floods = [Pieces(scheduler, str(number), 10, TURN_S / 2, done) for number in range(100)]
    for flood in floods:
        flood.ready()
    assert len(done) <= max(4, 2 * FOR_FEW)
    for _ in range(20):
        before = len(done)
        await asyncio.sleep(0)
        assert 1 <= len(done) - before <= 3
    await all_done(*floods)
    assert all(done.count(str(number)) == 10 for number in range(100))


async def test_one_that_fell_behind_catches_up_while_a_flood_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 1.0)
    scheduler, done = Scheduler(), list[str]()
    floods = [Pieces(scheduler, "flood", 10_000, TURN_S, done) for _ in range(50)]
    behind = Pieces(scheduler, "behind", 20, TURN_S / 5, done)
    for one in (*floods, behind):
        one.account.cost_s = MOST_S
    for flood in floods:
        flood.ready()
    before = len(done)
    behind.ready()
    await all_done(behind)
    assert done[before:].count("flood") <= 20
    assert all(flood.left for flood in floods)


async def test_a_turn_is_longer_while_nobody_else_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    scheduler, done = Scheduler(), list[str]()
    flood = Pieces(scheduler, "flood", 1_000, TURN_S, done)
    flood.account.cost_s = MOST_S

    async def pieces_of_a_turn() -> int:
        before = len(done)
        await asyncio.sleep(0)
        return len(done) - before

    flood.ready()
    assert await pieces_of_a_turn() == FOR_FEW
    Pieces(scheduler, "little", 1, TURN_S / 10, done).ready()
    assert await pieces_of_a_turn() == 1
    now += 2 * QUIET_S
    assert await pieces_of_a_turn() == FOR_FEW


async def test_what_has_waited_longest_goes_on_however_much_it_has_cost() -> None:
    scheduler, done = Scheduler(), list[str]()
    costly = Pieces(scheduler, "costly", 5, 0.05, done)
    costly.ready()
    crowd = [Pieces(scheduler, "one of many", 500, TURN_S, done) for _ in range(3)]
    for one in crowd:
        one.ready()
    await all_done(costly)
    assert all(one.left for one in crowd)


async def test_what_a_connection_has_cost_is_forgotten_while_nothing_of_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler, now = Scheduler(), time.perf_counter()
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    work = Pieces(scheduler, "one", 1, 0.03, [])
    work.ready()
    assert not work.left
    assert work.account.cost_s == pytest.approx(0.03)
    for idle_s, cost_s in ((0.1, 0.03 + 0.03 - 0.1 * PART), (10.0, 0.03)):
        await asyncio.sleep(0)
        now += idle_s
        work.left = 1
        work.ready()
        assert work.account.cost_s == pytest.approx(cost_s)
    await asyncio.sleep(0)


async def test_a_turn_of_the_loop_has_an_end() -> None:
    scheduler, done = Scheduler(), list[str]()
    works = [Pieces(scheduler, str(number), 100, TURN_S / 3, done) for number in range(2 * FEW)]
    for work in works:
        work.ready()
    most, before = 0, len(done)
    while any(work.left for work in works):
        await asyncio.sleep(0)
        most, before = max(most, len(done) - before), len(done)
    assert most <= 3 * FOR_FEW + 1
    assert len(done) == 100 * len(works)


async def test_its_memory_is_bounded_by_those_that_wait() -> None:
    scheduler = Scheduler()
    works = [Pieces(scheduler, "", 2_000, TURN_S * 2, []) for _ in range(4)]
    for work in works:
        work.ready()
    while any(work.left for work in works):
        await asyncio.sleep(0)
        assert len(scheduler._cheapest) <= 2 * len(works) + STALE + 1


async def test_of_those_that_cost_little_who_has_least_to_be_done_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 1.0)
    scheduler, done = Scheduler(), list[str]()
    works = [Pieces(scheduler, str(left), left, TURN_S / 10, done) for left in (40, 3, 20, 1, 30)]
    costly = Pieces(scheduler, "costly", 1, TURN_S / 10, done)
    costly.account.cost_s = MOST_S
    scheduler.charge(Account(), 100 * TURN_S)  # this turn of the loop is used up
    for work in (costly, *works):
        work.ready()
    await all_done(*works, costly)
    ended = sorted({"1", "3", "20", "40"}, key=lambda one: len(done) - done[::-1].index(one))
    assert ended == ["1", "3", "20", "40"]


def test_one_whose_calls_have_piled_up_is_not_put_off_for_it() -> None:
    """Attack: beside all floods a client that makes 20 calls a second fell behind, and stayed there for 14 s."""
    behind, flood = Account(), Account()
    for number in range(100):
        behind.works[Pieces(Scheduler(), str(number), 2, TURN_S, [])] = None
    flood.works[Pieces(Scheduler(), "flood", 10, TURN_S, [])] = None
    behind.cost_s, flood.cost_s = MOST_S, MOST_S / 2
    assert behind.rank_s < flood.rank_s


def test_a_new_connection_is_not_one_that_has_cost_little_until_it_was_idle_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    account = Account()
    assert account.cost_s > LITTLE_S
    now += 0.1
    account.forget()
    assert account.cost_s < LITTLE_S


def test_a_flood_s_cost_is_not_forgotten_while_much_of_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    scheduler = Scheduler()
    flood, little = Pieces(scheduler, "flood", 100, TURN_S, []), Pieces(scheduler, "little", 1, TURN_S, [])
    for one in (flood, little):
        one.account.works[one] = None
        one.account.begin()
        one.account.cost_s = 0.02
    now += 0.1
    for one in (flood, little):
        one.account.forget()
    assert flood.account.cost_s == pytest.approx(0.02)
    assert little.account.cost_s == pytest.approx(0.02 - 0.1 * PART)


async def test_an_error_in_the_work_is_not_the_end_of_it() -> None:
    class Broken(Pieces):
        def work(self) -> bool:
            raise OSError("broken")

    scheduler, done = Scheduler(), list[str]()
    broken = Broken(scheduler, "broken", 1, 0, done)
    with pytest.raises(OSError, match="broken"):
        broken.ready()
    whole = Pieces(scheduler, "whole", 1, 0, done)
    whole.account = broken.account
    whole.ready()
    assert done == ["whole"]
