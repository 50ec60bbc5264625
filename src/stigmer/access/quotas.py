"""How much one principal may have the server do at once, and how often it may write; `edge` counts each call by it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from stigmer.access.principal import Principal

AGAIN_S = 1.0
"""When one that has too many calls open may try again."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What each principal may; 0 sets no limit.

    Attributes:
        calls: in progress at once, subscriptions aside.
        subscriptions: open at once.
        writes_s: writes a second, and as many at once.
    """

    calls: int = 0
    subscriptions: int = 0
    writes_s: int = 0


@dataclass(slots=True, eq=False)
class _Use:
    """What one principal has open, and how many writes it might make at `at_s`."""

    writes: float
    at_s: float
    calls: int = 0
    subscriptions: int = 0


class Quotas:
    """Counts what principals have open and write, by their names; who has nothing open and writes nothing is forgotten.

    Args:
        quota: of each.
        now: seconds, of a clock that only goes on.
    """

    def __init__(self, quota: Quota | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._quota, self._now = quota or Quota(), now
        self._uses: dict[str, _Use] = {}
        self._resting: dict[str, None] = {}  # those with nothing open, until they may write as much as anybody

    @property
    def limits(self) -> bool:
        """Whether anything is limited."""
        return self._quota != Quota()

    def __len__(self) -> int:
        return len(self._uses)

    def __repr__(self) -> str:
        return f"<Quotas of {self._quota}, {len(self)} principals>"

    def around(
        self, principal: Principal, *, follows: bool = False, writes: bool = False
    ) -> AbstractContextManager[object]:
        """Around a call that a principal makes: a subscription, a write, or neither.

        Raises:
            ResourceExhausted: when it is entered, and the principal has too much open or writes too often.
        """
        return _Counted(self, principal.name, follows=follows, writes=writes)

    def begin(self, name: str, *, follows: bool, writes: bool) -> None:
        """Count a call. Raises ResourceExhausted, and counts nothing then."""
        self._wake()
        use = self._uses.get(name) or _Use(self._quota.writes_s, self._now())
        self._refuse_over(name, use, follows=follows, writes=writes)
        self._uses[name] = use
        self._resting.pop(name, None)
        if follows:
            use.subscriptions += 1
            return
        use.calls += 1
        if writes:
            use.writes, use.at_s = self._writes_of(use) - 1, self._now()

    def end(self, name: str, *, follows: bool) -> None:
        """A call is over."""
        use = self._uses[name]
        if follows:
            use.subscriptions -= 1
        else:
            use.calls -= 1
        if not use.calls and not use.subscriptions:
            self._resting[name] = None
            self._wake()

    def _refuse_over(self, name: str, use: _Use, *, follows: bool, writes: bool) -> None:
        quota = self._quota
        if follows:
            _check(name, use.subscriptions, quota.subscriptions, "subscriptions open", "subscriptions")
            return
        _check(name, use.calls, quota.calls, "calls in progress", "calls")
        if writes and quota.writes_s and (may := self._writes_of(use)) < 1:
            raise ResourceExhausted(
                f"{name} makes more than {quota.writes_s} writes a second: write less often, or raise the server's "
                "--max-writes-per-principal-s",
                retry_after_s=(1 - may) / quota.writes_s,
            )

    def _writes_of(self, use: _Use) -> float:
        """How many it may make now."""
        rate = self._quota.writes_s
        return min(float(rate), use.writes + (self._now() - use.at_s) * rate)

    def _wake(self) -> None:
        """Forget those that have rested: who began to first is first."""
        while self._resting:
            name = next(iter(self._resting))
            if self._writes_of(self._uses[name]) < self._quota.writes_s:
                return
            del self._resting[name], self._uses[name]


class _Counted:
    """Around one call."""

    __slots__ = ("_follows", "_name", "_quotas", "_writes")

    def __init__(self, quotas: Quotas, name: str, *, follows: bool, writes: bool) -> None:
        self._quotas, self._name, self._follows, self._writes = quotas, name, follows, writes

    def __enter__(self) -> None:
        self._quotas.begin(self._name, follows=self._follows, writes=self._writes)

    def __exit__(self, *_error: object) -> None:
        self._quotas.end(self._name, follows=self._follows)


def _check(name: str, has: int, may: int, what: str, setting: str) -> None:
    if may and has >= may:
        raise ResourceExhausted(
            f"{name} has {has} {what}, the most that a caller may: end one, or raise the server's "
            f"--max-{setting}-per-principal",
            retry_after_s=AGAIN_S,
        )
