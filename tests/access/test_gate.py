"""The gate: whom it lets in, whom it asks, what a refused caller reads; in process, by authenticators of the test's."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from multidict import MultiDict

from stigmer.access import gate as module
from stigmer.access.credentials import LOCAL_CALLER, Certificate, Credentials, Identity, Peer
from stigmer.access.failures import MOST_PEERS, Failures
from stigmer.access.gate import Gate
from stigmer.access.principal import RESERVED, Principal
from stigmer.errors import StigmerError, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

ANN = Principal("ann", "editor", frozenset({"acme"}))
SECRET = "stg_very-secret-0123456789"
HERE, THERE = Peer("127.0.0.1"), Peer("192.0.2.7")
CERTIFIED = Peer(THERE.address, certificate=Certificate(b"der", (), 0))


class Badges:
    """Knows callers by a header; counts how often it is asked."""

    takes, headers = "badge", ("x-badge",)

    def __init__(self, answer: Callable[[Credentials], Any] | None = None) -> None:
        self.asked = 0
        self.revoked = False
        self.principal = ANN
        self._answer = answer

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        self.asked += 1
        assert set(credentials.metadata) <= {"x-badge"}, "it sees what it names alone"
        if self._answer is not None:
            found: Identity | None = self._answer(credentials)
            return found
        if "x-badge" not in credentials.metadata:
            return None
        if self.revoked:
            raise Unauthenticated("the badge was revoked: ask for another one")
        return Identity(self.principal, self._still)

    def _still(self) -> Principal:
        if self.revoked:
            raise Unauthenticated("revoked")
        return self.principal


def badge(value: str = SECRET, peer: Peer = THERE, **more: str) -> Credentials:
    return Credentials(MultiDict({"x-badge": value, **more}), peer)


async def asked(gate: Gate, credentials: Credentials) -> Identity:
    return gate.known(credentials) or await gate.authenticate(credentials)


async def refused(gate: Gate, credentials: Credentials) -> StigmerError:
    with pytest.raises(StigmerError) as caught:
        await asked(gate, credentials)
    error = caught.value
    while error is not None:  # whatever a log or a tracer would write of it
        assert SECRET not in f"{error!r} {error}"
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # of any class
    return caught.value


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "unix"])
async def test_without_authenticators_callers_of_this_machine_are_local(address: str) -> None:
    assert Gate().known(Credentials(MultiDict(), Peer(address))) is LOCAL_CALLER


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7", "0.0.0.0", "fe80::1%eth0"])
async def test_without_authenticators_nobody_else_is_let_in_unless_it_is_said_so(address: str) -> None:
    credentials = Credentials(MultiDict(), Peer(address))
    error = await refused(Gate(), credentials)
    assert "this machine alone" in error.message
    assert Gate(anonymous=True).known(credentials) is LOCAL_CALLER


@pytest.mark.parametrize("peer", [HERE, THERE, Peer("unix", uid=os.geteuid() + 1), Peer("unix")])
async def test_with_authenticators_everybody_needs_credentials_and_reads_which(peer: Peer) -> None:
    gate = Gate([Badges()], anonymous=True)
    error = await refused(gate, Credentials(MultiDict(), peer))
    assert isinstance(error, Unauthenticated)
    assert error.message == "no credentials; send one of: badge (header 'x-badge')"
    assert error.takes == ("badge",)


async def test_the_servers_own_user_on_a_unix_socket_is_local_whatever_it_sends() -> None:
    badges = Badges()
    assert Gate([badges]).known(badge("wrong", Peer("unix", uid=os.geteuid()))) is LOCAL_CALLER
    assert badges.asked == 0


async def test_a_credential_is_asked_about_once() -> None:
    badges = Badges()
    gate = Gate([badges])
    first = await asked(gate, badge())
    assert first.principal is ANN
    assert gate.known(badge(traceparent="changes with each call")) is first
    assert badges.asked == 1


@pytest.mark.parametrize(
    "other",
    [badge("another"), badge(peer=HERE), badge(peer=CERTIFIED)],
)
async def test_another_credential_peer_or_certificate_is_asked_about_again(other: Credentials) -> None:
    badges = Badges()
    gate = Gate([badges])
    await asked(gate, badge())
    assert gate.known(other) is None


async def test_a_doubled_header_is_another_credential() -> None:
    gate = Gate([Badges()])
    await asked(gate, badge())
    doubled = Credentials(MultiDict([("x-badge", SECRET), ("x-badge", SECRET)]), THERE)
    assert gate.known(doubled) is None


async def test_what_is_revoked_is_not_known_any_more() -> None:
    badges = Badges()
    gate = Gate([badges])
    await asked(gate, badge())
    badges.revoked = True
    error = await refused(gate, badge())
    assert error.message == "the badge was revoked: ask for another one; send one of: badge (header 'x-badge')"


async def test_a_principal_that_changes_is_told_at_the_next_call() -> None:
    badges = Badges()
    gate = Gate([badges])
    await asked(gate, badge())
    badges.principal = Principal("ann", "reader", frozenset({"acme"}))
    assert (await asked(gate, badge())).principal.role == "reader"


async def test_the_authenticators_are_asked_in_turn_until_one_knows_the_sort() -> None:
    first, second, third = Badges(lambda _: None), Badges(), Badges()
    gate = Gate([first, second, third])
    assert (await asked(gate, badge())).principal is ANN
    assert (first.asked, second.asked, third.asked) == (1, 1, 0)


async def test_a_bad_credential_of_one_sort_is_not_made_good_by_another() -> None:
    first, second = Badges(), Badges()
    first.revoked = True
    await refused(Gate([first, second]), badge())
    assert second.asked == 0


@pytest.mark.parametrize(
    ("name", "organization"), [("", "*"), *((one, "*") for one in sorted(RESERVED)), ("ann", ""), ("a\x1fb", "*")]
)
async def test_nobody_is_given_a_reserved_name_or_what_belongs_to_no_organization(
    name: str, organization: str, caplog: pytest.LogCaptureFixture
) -> None:
    principal = Principal(name, "admin", frozenset({organization}))
    gate = Gate([Badges(lambda _: Identity(principal, lambda: principal))])
    error = await refused(gate, badge())
    assert isinstance(error, Unauthenticated)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("answer", [ANN, {"name": "ann"}, "ann", True])
async def test_an_answer_that_is_no_identity_lets_nobody_in_and_the_log_says_what_it_was(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    error = await refused(Gate([Badges(lambda _: answer)]), badge())
    assert isinstance(error, Unavailable)
    (record,) = caplog.records
    assert "answers no stigmer.Identity" in record.getMessage()
    assert type(answer).__name__ in record.getMessage()
    assert SECRET not in record.getMessage()


async def test_who_brings_credentials_of_a_sort_that_nobody_takes_reads_that_and_not_that_there_were_none() -> None:
    error = await refused(Gate([Badges(lambda _: None)]), badge())
    assert isinstance(error, Unauthenticated)
    assert error.message == (
        "the credentials that came are of no sort that this server takes; send one of: badge (header 'x-badge')"
    )


@pytest.mark.parametrize("headers", ["x-badge", ("X-Badge",), ["x-badge", "Authorization"]])
def test_headers_that_no_call_would_be_found_to_bring_are_refused_at_once(headers: Any) -> None:
    badges = Badges()
    badges.headers = headers
    with pytest.raises(ValueError, match=r"badge has headers = .*: give a tuple, lower case"):
        Gate([badges])


async def test_nobody_is_let_act_on_behalf_of_others() -> None:
    principal = Principal("ann", "reader", frozenset(), on_behalf_of=Principal("bob", "admin", frozenset({"*"})))
    error = await refused(Gate([Badges(lambda _: Identity(principal, lambda: principal))]), badge())
    assert isinstance(error, Unauthenticated)


@pytest.mark.parametrize("raised", [ValueError, KeyError, TimeoutError, asyncio.CancelledError])
async def test_an_authenticator_that_fails_says_neither_yes_nor_no_and_its_credential_stays_untold(
    raised: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_credentials: Credentials) -> None:
        raise raised(f"no such badge: {SECRET}")

    error = await refused(Gate([Badges(fail)]), badge())
    assert isinstance(error, Unavailable)
    assert raised.__name__ in caplog.text
    assert ("test_gate.py" in caplog.text) is (raised is not asyncio.CancelledError)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("kind", [Unauthenticated, Unavailable])
async def test_a_refusal_that_repeats_the_credential_is_put_in_other_words(kind: type[StigmerError]) -> None:
    def fail(_credentials: Credentials) -> None:
        raise kind(f"{SECRET} is not good")

    assert isinstance(await refused(Gate([Badges(fail)]), badge(f"Bearer {SECRET}")), kind)


async def test_an_authenticator_that_hangs_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(Badges):
        async def authenticate(self, credentials: Credentials) -> Identity | None:
            await asyncio.get_running_loop().create_future()
            return await super().authenticate(credentials)

    monkeypatch.setattr(module, "ANSWER_S", 0.0)
    assert isinstance(await refused(Gate([Hanging()]), badge()), Unavailable)


async def test_an_authenticator_that_will_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    go = asyncio.Event()

    class Stubborn(Badges):
        async def authenticate(self, credentials: Credentials) -> Identity | None:
            while not go.is_set():
                with suppress(asyncio.CancelledError):
                    await go.wait()
            return await super().authenticate(credentials)

    monkeypatch.setattr(module, "ANSWER_S", 0.0)
    assert isinstance(await refused(Gate([Stubborn()]), badge()), Unavailable)
    go.set()


async def test_a_check_that_is_cancelled_is_cancelled() -> None:
    began = asyncio.Event()

    class Hanging(Badges):
        async def authenticate(self, credentials: Credentials) -> Identity | None:
            began.set()
            await asyncio.get_running_loop().create_future()
            return await super().authenticate(credentials)

    task = asyncio.create_task(Gate([Hanging()]).authenticate(badge()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_so_many_identities_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KNOWN", 2)
    gate = Gate([Badges()])
    for one in ("a", "b", "c"):
        await asked(gate, badge(one))
    assert [gate.known(badge(one)) is not None for one in ("a", "b", "c")] == [False, True, True]


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_refusals_are_held_back_from_the_twentieth_in_a_minute_on_and_up_to_a_second() -> None:
    failures = Failures(Clock())
    delays = [failures.delay_s(THERE) for _ in range(100)]
    assert delays[:19] == [0.0] * 19
    assert all(earlier <= later for earlier, later in pairwise(delays))
    assert 0 < delays[19] < delays[20]
    assert delays[-1] == 1.0


def test_after_a_minute_all_is_forgotten() -> None:
    clock = Clock()
    failures = Failures(clock)
    for _ in range(40):
        failures.delay_s(THERE)
    clock.now_s = 60.0
    assert failures.delay_s(THERE) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Peer("192.0.2.7"), Peer("::ffff:192.0.2.7"), True),
        (Peer("192.0.2.7"), Peer("192.0.2.8"), False),
        (Peer("2001:db8::1"), Peer("2001:db8::ffff:1:2:3"), True),
        (Peer("2001:db8::1"), Peer("2001:db8:0:1::1"), False),
        (Peer("unix", uid=1), Peer("unix", uid=2), False),
        (Peer("unix", uid=1), Peer("unix", uid=1), True),
    ],
)
def test_a_peer_is_an_address_a_64_network_or_a_user(one: Peer, other: Peer, *, same: bool) -> None:
    failures = Failures(Clock())
    for _ in range(40):
        failures.delay_s(one)
    assert (failures.delay_s(other) > 0) is same


def test_who_comes_from_many_addresses_has_the_oldest_forgotten_and_fills_no_memory() -> None:
    failures = Failures(Clock())
    for _ in range(40):
        failures.delay_s(THERE)
    for number in range(MOST_PEERS):
        failures.delay_s(Peer(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
    assert repr(failures) == f"<Failures of {MOST_PEERS} peers>"
    assert failures.delay_s(THERE) == 0.0


async def test_gates_tell_their_state_and_no_credential(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gate = Gate([Badges()])
    await asked(gate, badge())
    assert repr(gate) == "<Gate of badge, 1 known>"
    assert SECRET not in repr(vars(gate)) + caplog.text
