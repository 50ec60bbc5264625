"""What one principal may have open and write: by a clock of the test's own."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from stigmer.access.principal import Principal
from stigmer.access.quotas import AGAIN_S, Quota, Quotas
from stigmer.errors import ResourceExhausted

ANN, BOB = (Principal(name, "editor", frozenset({"acme"})) for name in ("ann", "bob"))


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refusal(quotas: Quotas, principal: Principal = ANN, *, follows: bool = False, writes: bool = False) -> str:
    with pytest.raises(ResourceExhausted) as caught, quotas.around(principal, follows=follows, writes=writes):
        pass
    assert caught.value.retry_after_s
    return caught.value.message


def test_without_a_quota_nothing_is_limited(clock: Clock) -> None:
    quotas = Quotas(now=clock)
    assert not quotas.limits
    assert Quotas(Quota(writes_s=1)).limits
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(quotas.around(ANN, follows=True))
            stack.enter_context(quotas.around(ANN, writes=True))


def test_calls_in_progress_are_counted_for_each_principal_and_its_subscriptions_are_not(clock: Clock) -> None:
    quotas = Quotas(Quota(calls=2), clock)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(quotas.around(ANN, follows=False, writes=True))
        assert refusal(quotas) == (
            "ann has 2 calls in progress, the most that a caller may: end one, or raise the server's "
            "--max-calls-per-principal"
        )
        stack.enter_context(quotas.around(ANN, follows=True, writes=False))
        stack.enter_context(quotas.around(BOB, follows=False, writes=False))
    with quotas.around(ANN, follows=False, writes=False):
        assert len(quotas) == 1


def test_subscriptions_are_counted_by_themselves(clock: Clock) -> None:
    quotas = Quotas(Quota(subscriptions=1), clock)
    with quotas.around(ANN, follows=True, writes=False):
        assert "ann has 1 subscriptions open" in refusal(quotas, follows=True)
        with quotas.around(ANN, follows=False, writes=True), quotas.around(BOB, follows=True, writes=False):
            pass
    with quotas.around(ANN, follows=True, writes=False):
        pass


def test_writes_are_limited_to_so_many_a_second_and_a_refused_one_tells_when_to_come_again(clock: Clock) -> None:
    quotas = Quotas(Quota(writes_s=4), clock)
    for _ in range(4):
        with quotas.around(ANN, follows=False, writes=True):
            pass
    with pytest.raises(ResourceExhausted, match="more than 4 writes a second") as caught:
        quotas.begin("ann", follows=False, writes=True)
    assert caught.value.retry_after_s == 0.25
    with quotas.around(ANN, follows=False, writes=False), quotas.around(BOB, follows=False, writes=True):
        pass
    clock.now_s += 0.25
    with quotas.around(ANN, follows=False, writes=True):
        pass
    refusal(quotas, writes=True)
    clock.now_s += 100
    for _ in range(4):
        with quotas.around(ANN, follows=False, writes=True):
            pass
    refusal(quotas, writes=True)


def test_a_refused_call_is_not_counted(clock: Clock) -> None:
    quotas = Quotas(Quota(calls=1, writes_s=1), clock)
    with quotas.around(ANN, follows=False, writes=True):
        for _ in range(3):
            refusal(quotas)
    for _ in range(3):
        refusal(quotas, writes=True)
    clock.now_s += 1
    with quotas.around(ANN, follows=False, writes=True):
        pass


def test_who_is_idle_is_forgotten_whatever_others_do(clock: Clock) -> None:
    quotas = Quotas(Quota(calls=5, writes_s=10), clock)
    with quotas.around(ANN, follows=True, writes=False):
        for number in range(1000):
            one = Principal(f"p{number}", "editor", frozenset())
            with quotas.around(one, follows=False, writes=True):
                pass
            refused = Principal(f"q{number}", "editor", frozenset())
            with quotas.around(refused, follows=False, writes=False):
                pass
            clock.now_s += 0.05
        assert len(quotas) < 10
        clock.now_s += 1
        with quotas.around(BOB, follows=False, writes=False):
            assert len(quotas) == 2
    assert len(quotas) == 0


def test_it_tells_what_it_keeps_to() -> None:
    assert repr(Quotas(Quota(calls=3))) == "<Quotas of Quota(calls=3, subscriptions=0, writes_s=0), 0 principals>"
    assert AGAIN_S > 0
