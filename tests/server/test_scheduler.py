"""Whose turn it is: who has used least goes first, callers as wholes, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from stigmer.server.scheduler import FEW, FOR_FEW, PIECE_S, QUIET_S, RECENT, TURN_S, Account, Scheduler
from stigmer.server.shares import CREDIT_S, DEBT_S, FairShares, Share


class Pieces:
    """Work of so many pieces, each of which costs so much; `done` is told of each."""

    def __init__(
        self, scheduler: Scheduler, name: str, pieces: int, cost_s: float, done: list[str], *, address: str = ""
    ) -> None:
        self._scheduler, self._name, self._cost_s, self._done = scheduler, name, cost_s, done
        self.account, self.left = scheduler.account(address or name), pieces

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


@pytest.fixture
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing costs anything but what is charged."""
    monkeypatch.setattr(time, "perf_counter", lambda: 1.0)


async def all_done(*works: Pieces) -> None:
    while any(work.left for work in works):  # noqa: ASYNC110  # turns of the loop are what is tested
        await asyncio.sleep(0)


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_who_asks_for_little_is_served_at_once_beside_floods() -> None:
    scheduler, done = Scheduler(), list[str]()
    floods = [Pieces(scheduler, "flood", 200, TURN_S, done, address=f"10.0.0.{number}") for number in range(20)]
    for flood in floods:
        flood.ready()
    littles = [Pieces(scheduler, "little", 1, TURN_S / 10, done, address=f"10.1.0.{number}") for number in range(10)]
    await turns(400)
    for little in littles:
        await asyncio.sleep(0)
        before = len(done)
        little.ready()
        await all_done(little)
        assert done[before:].count("flood") <= 2
    assert any(flood.left for flood in floods)


@pytest.mark.usefixtures("_still")
async def test_a_flood_by_many_connections_takes_no_more_from_others_than_one_by_a_single_connection() -> None:
    """Attack: 100 connections of one caller, each with its part, left a hundredth to a client that makes many calls."""
    scheduler, done = Scheduler(), list[str]()
    floods = [Pieces(scheduler, "flood", 1_000, TURN_S, done) for _ in range(100)]
    busy = Pieces(scheduler, "busy", 100, TURN_S, done)
    for one in (*floods, busy):
        one.ready()
    before = len(done)
    await all_done(busy)
    assert done[before:].count("flood") == pytest.approx(100, abs=20)


@pytest.mark.usefixtures("_still")
async def test_the_connections_of_one_caller_share_its_part_alike() -> None:
    scheduler, done = Scheduler(), list[str]()
    works = [Pieces(scheduler, str(number), 40, PIECE_S, done, address="10.0.0.1") for number in range(10)]
    for work in works:
        work.ready()
    await turns(200)
    assert 190 <= len(done) <= 210
    assert all(done.count(str(number)) == pytest.approx(20, abs=3) for number in range(10))


@pytest.mark.usefixtures("_still")
async def test_many_that_ask_in_one_turn_of_the_loop_have_no_more_of_it_than_one() -> None:
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


async def test_a_turn_is_longer_while_nobody_else_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    scheduler, done = Scheduler(), list[str]()
    flood, little = Pieces(scheduler, "flood", 1_000, TURN_S, done), Pieces(scheduler, "little", 1, TURN_S / 10, done)

    async def pieces_of_a_turn() -> int:
        before = len(done)
        await asyncio.sleep(0)
        return len(done) - before

    flood.ready()
    now += 2 * QUIET_S
    assert await pieces_of_a_turn() == FOR_FEW
    little.ready()
    assert await pieces_of_a_turn() == 1
    now += 2 * QUIET_S
    assert await pieces_of_a_turn() == FOR_FEW


@pytest.mark.usefixtures("_still")
async def test_one_that_wants_a_tenth_of_its_part_waits_for_nobody_s_whole_part() -> None:
    scheduler, done = Scheduler(), list[str]()
    floods = [Pieces(scheduler, "flood", 10_000, TURN_S, done, address=f"10.0.0.{number}") for number in range(10)]
    for flood in floods:
        flood.ready()
    client = Pieces(scheduler, "client", 0, TURN_S / 10, done)
    await turns(100)
    waited = list[int]()
    for _ in range(50):
        client.left, before = 1, len(done)
        client.ready()
        await all_done(client)
        waited.append(done[before:].count("flood"))
        await turns(10)
    assert max(waited) <= 2


@pytest.mark.usefixtures("_still")
async def test_nobody_waits_for_ever_beside_an_endless_supply_of_new_callers() -> None:
    scheduler, done = Scheduler(), list[str]()
    behind = Pieces(scheduler, "behind", 5, TURN_S, done)
    scheduler.charge(behind.account, 0.02)
    Pieces(scheduler, "first", 3, TURN_S, done).ready()
    behind.ready()
    for number in range(1_000):
        Pieces(scheduler, "new", 3, TURN_S / 2, done, address=f"10.0.{number // 250}.{number % 250}").ready()
        await asyncio.sleep(0)
        if not behind.left:
            break
    assert not behind.left


@pytest.mark.usefixtures("_still")
async def test_a_principal_is_a_caller_of_its_own_beside_others_at_one_address() -> None:
    scheduler, done = Scheduler(), list[str]()
    floods = [Pieces(scheduler, "flood", 1_000, TURN_S, done, address="10.0.0.1") for _ in range(50)]
    client = Pieces(scheduler, "client", 50, TURN_S, done, address="10.0.0.1")
    for one in floods:
        scheduler.identify(one.account, "flooder")
    for name in ("client", "another"):  # the first counts
        scheduler.identify(client.account, name)
    for one in (*floods, client):
        one.ready()
    assert client.account.caller.name == ("10.0.0.1", "client")
    assert len({flood.account.caller for flood in floods}) == 1
    before = len(done)
    await all_done(client)
    assert done[before:].count("flood") == pytest.approx(50, abs=15)  # it has some credit


@pytest.mark.usefixtures("_still")
async def test_a_connection_that_waits_when_it_is_identified_is_served_and_moves_then() -> None:
    scheduler, done = Scheduler(), list[str]()
    work = Pieces(scheduler, "one", 20, TURN_S, done)
    Pieces(scheduler, "other", 20, TURN_S, done).ready()
    work.ready()
    scheduler.identify(work.account, "someone")
    await all_done(work)
    assert work.account.caller.name == ("one", "")
    work.left = 1
    await asyncio.sleep(0)
    work.ready()
    assert work.account.caller.name == ("one", "someone")
    await all_done(work)


@pytest.mark.usefixtures("_still")
async def test_a_caller_is_not_rid_of_what_it_has_used_by_a_new_connection() -> None:
    scheduler = Scheduler()
    scheduler.charge(scheduler.account("10.0.0.1"), 0.5)
    gc.collect()
    assert scheduler.account("10.0.0.1").caller.virtual_s > 0.49
    for number in range(RECENT):
        scheduler.account(f"10.1.{number // 250}.{number % 250}")
    gc.collect()
    assert len(scheduler._callers) <= RECENT


@pytest.mark.usefixtures("_still")
async def test_some_new_callers_are_served_at_once_and_a_crowd_of_them_is_not_served_before_all_others() -> None:
    scheduler, done = Scheduler(), list[str]()
    floods = [Pieces(scheduler, "flood", 10_000, TURN_S, done, address=f"10.0.0.{number}") for number in range(10)]
    for flood in floods:
        flood.ready()
    await turns(200)
    for number in range(10):  # a new caller each: the floods took ten of the twenty welcomes
        before = len(done)
        client = Pieces(scheduler, "client", 3, TURN_S, done, address=f"10.1.0.{number}")
        client.ready()
        await all_done(client)
        assert done[before:].count("flood") <= 3
    late = Pieces(scheduler, "client", 3, TURN_S, done, address="10.2.0.1")
    assert late.account.caller.virtual_s >= scheduler._waiting.now_s


def test_nobody_saves_up_more_than_a_little_and_owes_no_more_than_some() -> None:
    queue = FairShares[Share]()
    waiting, idle, costly = Share(0.0), Share(0.0), Share(0.0)
    queue.push(waiting)
    queue.charge(waiting, 5.0)
    assert queue.pop() is waiting
    queue.push(waiting)
    queue.charge(costly, 100.0)
    for one in (idle, costly):
        queue.begin(one)
    assert idle.virtual_s == pytest.approx(queue.now_s - CREDIT_S)
    assert costly.virtual_s == pytest.approx(queue.now_s + DEBT_S)


def test_what_is_used_while_nobody_waits_is_no_debt() -> None:
    queue = FairShares[Share]()
    alone, other = Share(0.0), Share(0.0)
    queue.charge(alone, 50.0)
    queue.begin(other)
    queue.push(other)
    assert queue.is_next(alone)
    assert other.virtual_s == pytest.approx(50.0 - CREDIT_S)


def test_who_is_charged_while_it_waits_goes_back() -> None:
    queue = FairShares[Share]()
    first, second = Share(0.0), Share(0.1)
    for one in (first, second):
        queue.push(one)
    queue.charge(first, 1.0)
    assert [queue.pop(), queue.pop()] == [second, first]


def test_of_two_connections_that_have_used_as_much_who_wants_less_goes_first() -> None:
    scheduler, queue = Scheduler(), FairShares[Account]()
    asyncio.run(_much_and_little(scheduler, queue))


async def _much_and_little(scheduler: Scheduler, queue: FairShares[Account]) -> None:
    much, little = (Pieces(scheduler, "", pieces, PIECE_S / 10, [], address="10.0.0.1") for pieces in (10, 1))
    for one in (much, little):
        one.account.works[one] = None
        one.account.virtual_s = 0.0
        queue.push(one.account)
    assert queue.pop() is little.account
    await asyncio.sleep(0)


@pytest.mark.usefixtures("_still")
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
