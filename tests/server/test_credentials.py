"""Credentials are checked when a call's headers are there: frames of the test's own, authenticators that it steers."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest
from edge_rig import said
from google.rpc import error_details_pb2, status_pb2
from h2.errors import ErrorCodes
from server_wire import connect, message
from store_rows import until

from stigmer.access import failures
from stigmer.access import gate as gates
from stigmer.access.credentials import Credentials, Identity
from stigmer.access.gate import Gate
from stigmer.access.principal import Principal
from stigmer.errors import Unauthenticated
from stigmer.server.limits import Limits
from stigmer.server.memory import CALL_BYTES

if TYPE_CHECKING:
    from server_rig import Serve, Service
    from server_wire import Wire

    from stigmer.server.server import Server

GOOD, BAD = {"x-badge": "ann"}, {"x-badge": "mallory"}
ANN = Principal("ann", "editor", frozenset({"acme"}))
NO_CREDENTIALS = "16 no credentials; send one of: badge (header 'x-badge')"
WRONG = "16 wrong badge; send one of: badge (header 'x-badge')"


class Badges:
    """Knows ann, and waits for `go` before it answers."""

    takes, headers = "badge", ("x-badge",)

    def __init__(self, *, waits: bool = False) -> None:
        self.asked = 0
        self.began, self.go, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        if not waits:
            self.go.set()

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        self.asked += 1
        self.began.set()
        try:
            await self.go.wait()
        finally:
            self.ended.set()
        badge = credentials.metadata.get("x-badge")
        if badge is None:
            return None
        if badge != "ann":
            raise Unauthenticated("wrong badge")
        return Identity(ANN, lambda: ANN)


@pytest.fixture
def badges() -> Badges:
    return Badges()


@pytest.fixture
def slow() -> Badges:
    return Badges(waits=True)


def idle(server: Server) -> int:
    return len(server._acceptor.idle)


async def call(wire: Wire, headers: dict[str, str], path: str = "/t.T/Echo") -> str:
    return await wire.status(wire.request(message(b"hello"), headers=headers, path=path))


def held(server: Server) -> int:
    """The refusals that wait to be sent."""
    (live,) = server.shared.live
    return len(live.dispatcher._refusals)


@pytest.mark.parametrize(("headers", "status"), [({}, NO_CREDENTIALS), (BAD, WRONG)], ids=["none", "wrong"])
async def test_a_call_without_good_credentials_is_refused_on_its_headers_with_a_log_line_and_is_counted(
    serve: Serve, badges: Badges, caplog: pytest.LogCaptureFixture, headers: dict[str, str], status: str
) -> None:
    caplog.set_level(logging.INFO, "stigmer")
    refused: list[str] = []
    async with (
        serve(gate=Gate([badges]), refused=lambda code, *_: refused.append(code)) as server,
        connect(server) as wire,
    ):
        number = wire.request(headers=headers, end=False)  # the body never comes
        assert await wire.status(number) == status
        assert server.held_bytes == 0
        assert idle(server) == 1, "it is no first call"
        assert refused == ["UNAUTHENTICATED"]
        (line,) = said(caplog, "call")
        assert (line["method"], line["code"]) == ("/t.T/Echo", "UNAUTHENTICATED")
        assert "mallory" not in caplog.text
        details = status_pb2.Status.FromString(b64decode(wire.trailers(number)["grpc-status-details-bin"] + "=="))
        info = error_details_pb2.ErrorInfo()
        assert details.details[0].Unpack(info)
        assert (info.reason, dict(info.metadata)) == ("UNAUTHENTICATED", {"takes": "badge"})


async def test_a_call_with_good_credentials_is_served_and_the_next_one_asks_nobody(
    serve: Serve, badges: Badges
) -> None:
    async with serve(gate=Gate([badges])) as server, connect(server) as wire:
        for _ in range(3):
            number = wire.request(message(b"hello"), headers=GOOD)
            assert await wire.status(number) == "0"
            assert wire.data(number) == message(b"hello")
        assert badges.asked == 1
        assert idle(server) == 0


async def test_without_credentials_nobody_learns_which_methods_there_are(serve: Serve, badges: Badges) -> None:
    async with serve(gate=Gate([badges])) as server, connect(server) as wire:
        assert await call(wire, {}, "/t.T/Nothing") == NO_CREDENTIALS
        unknown = "12 unknown method /t.T/Nothing"
        assert [await call(wire, GOOD, "/t.T/Nothing") for _ in range(2)] == [unknown, unknown]


async def test_a_request_that_comes_while_its_caller_is_looked_up_is_counted_and_served_whole(
    serve: Serve, slow: Badges
) -> None:
    async with serve(gate=Gate([slow])) as server, connect(server) as wire:
        number = wire.request(message(b"x" * 20_000)[:10_000], headers=GOOD, end=False)
        await slow.began.wait()
        await until(lambda: server.held_bytes >= 10_000 + CALL_BYTES)
        slow.go.set()
        await slow.ended.wait()
        wire.h2.send_data(number, message(b"x" * 20_000)[10_000:], end_stream=True)
        wire.flush()
        assert await wire.status(number) == "0"
        assert wire.data(number) == message(b"x" * 64)
        await until(lambda: server.held_bytes == 0)


async def test_whole_requests_wait_for_the_answer_and_are_served_then(serve: Serve, slow: Badges) -> None:
    async with serve(gate=Gate([slow])) as server, connect(server) as wire:
        numbers = [wire.request(message(b"hello"), headers={**GOOD, "x-badge": "ann"}) for _ in range(20)]
        await slow.began.wait()
        slow.go.set()
        assert {await wire.status(number) for number in numbers} == {"0"}
        await until(lambda: server.held_bytes == 0)


async def test_what_came_of_a_refused_request_is_let_go(serve: Serve, slow: Badges) -> None:
    async with serve(gate=Gate([slow])) as server, connect(server) as wire:
        number = wire.request(message(b"x" * 60_000)[:15_000], headers=BAD, end=False)
        await until(lambda: server.held_bytes >= 15_000 + CALL_BYTES)
        slow.go.set()
        assert await wire.status(number) == WRONG
        assert server.held_bytes == 0


async def test_unchecked_calls_fill_no_more_than_the_budget_and_then_are_not_read(serve: Serve, slow: Badges) -> None:
    limits = Limits(max_memory_bytes=512 * 1024)
    async with serve(gate=Gate([slow]), limits=limits) as server, connect(server) as wire:
        await wire.read()  # how much the connection may send
        for _ in range(40):
            wire.request(message(b"x" * 60_000)[:15_000], headers=BAD, end=False)
        (live,) = server.shared.live
        await until(lambda: live.connection.memory.read_since is None)
        assert server.held_bytes < 2 * limits.max_memory_bytes


async def test_an_authenticator_that_hangs_makes_calls_unavailable(
    serve: Serve, slow: Badges, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gates, "ANSWER_S", 0.01)
    async with serve(gate=Gate([slow])) as server, connect(server) as wire:
        assert await call(wire, GOOD) == "14 whoever could tell who calls does not answer: try again"
        assert "The authenticator of a badge fails" in caplog.text


async def test_a_fault_of_ours_lets_nobody_in_and_does_not_leave_the_call_open(
    serve: Serve, badges: Badges, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Gate):
        async def authenticate(self, credentials: Credentials) -> Identity:
            raise KeyError(credentials.metadata["x-badge"])

    async with serve(gate=Broken([badges])) as server, connect(server) as wire:
        assert await call(wire, GOOD) == "14 who calls cannot be told: see the server's log"
        assert server.held_bytes == 0
    assert "KeyError" in caplog.text
    assert "'ann'" not in caplog.text


async def test_a_caller_that_goes_away_ends_the_check(
    serve: Serve, slow: Badges, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stigmer")
    refused: list[str] = []
    async with (
        serve(gate=Gate([slow]), refused=lambda code, *_: refused.append(code)) as server,
        connect(server) as wire,
    ):
        number = wire.request(message(b"hello"), headers=GOOD)
        await slow.began.wait()
        wire.h2.reset_stream(number, ErrorCodes.CANCEL)
        wire.flush()
        await slow.ended.wait()
        await until(lambda: server.held_bytes == 0)
        assert refused == ["CANCELLED"]
        assert [line["code"] for line in said(caplog, "call")] == ["CANCELLED"]


async def test_a_connection_that_is_lost_ends_its_checks(serve: Serve, slow: Badges) -> None:
    async with serve(gate=Gate([slow])) as server:
        async with connect(server) as wire:
            for _ in range(40):
                wire.request(message(b"hello"), headers=GOOD)
            await slow.began.wait()
        await slow.ended.wait()
        await until(lambda: not server.shared.live and server.held_bytes == 0)


async def test_a_server_that_drains_answers_calls_that_are_being_checked(serve: Serve, slow: Badges) -> None:
    async with serve(gate=Gate([slow])) as server, connect(server) as wire:
        number = wire.request(message(b"hello"), headers=GOOD)
        await slow.began.wait()
        drained = asyncio.ensure_future(server.drain(30.0))
        assert (await wire.status(number)).startswith("14 the server is stopping")
        assert await drained == 0
        assert slow.ended.is_set()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals that are held back stay so."""
    monkeypatch.setattr(failures, "STEP_S", 1000.0)
    monkeypatch.setattr(failures, "MOST_S", 1000.0)


@pytest.mark.usefixtures("patient")
async def test_the_twentieth_failure_waits_and_a_valid_caller_from_the_same_address_does_not(
    serve: Serve, badges: Badges
) -> None:
    async with serve(gate=Gate([badges])) as server, connect(server) as wire:
        assert {await call(wire, BAD) for _ in range(19)} == {WRONG}
        late = wire.request(message(b"x" * 15_000), headers=BAD)
        await until(lambda: held(server) == 1)
        assert server.held_bytes == 0, "it holds nothing but a timer"
        assert await call(wire, GOOD) == "0"
        assert held(server) == 1
        wire.h2.reset_stream(late, ErrorCodes.CANCEL)
        wire.flush()
        assert await call(wire, GOOD) == "0"
        assert held(server) == 0, "a client that gives up frees it"


@pytest.mark.usefixtures("patient")
async def test_refusals_that_are_held_back_count_as_open_streams(
    serve: Serve, badges: Badges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "FREE", 0)
    async with serve(gate=Gate([badges]), limits=Limits(max_streams=3)) as server:
        async with connect(server) as wire:
            assert await call(wire, GOOD) == "0"
        await until(lambda: not server.shared.live)
        async with connect(server) as wire:
            numbers = [wire.request(message(b"hello")) for _ in range(3)]  # it reads nothing: it knows of no limit
            await until(lambda: held(server) == 3)
            late = wire.request(message(b"hello"), headers=GOOD)
            assert await wire.status(late) == f"ended {ErrorCodes.REFUSED_STREAM!s}"
            wire.h2.reset_stream(numbers[0], ErrorCodes.CANCEL)
            wire.flush()
            assert await call(wire, GOOD) == "0"


@pytest.mark.usefixtures("patient")
async def test_refusals_that_are_held_back_leave_half_of_the_streams_to_callers_who_are_known(
    serve: Serve, badges: Badges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "FREE", 0)
    async with serve(gate=Gate([badges]), limits=Limits(max_streams=4)) as server, connect(server) as wire:
        assert await call(wire, GOOD) == "0"
        for guesses in (1, 2, 3):
            guess = wire.request(message(b"hello"), headers=BAD)
            await until(lambda: held(server) == guesses)  # noqa: B023  # waited for at once
        assert await call(wire, BAD) == f"ended {ErrorCodes.REFUSED_STREAM!s}"
        assert await call(wire, GOOD) == "0"
        wire.h2.reset_stream(guess, ErrorCodes.CANCEL)
        wire.request(message(b"hello"), headers=BAD)
        await until(lambda: held(server) == 3)


@pytest.mark.usefixtures("patient")
async def test_a_server_that_drains_holds_no_refusal_back(serve: Serve, service: Service, badges: Badges) -> None:
    async with serve(gate=Gate([badges])) as server, connect(server) as wire:
        for _ in range(19):
            await call(wire, BAD)
        late = wire.request(message(b"hello"), headers=BAD)
        await until(lambda: held(server) == 1)
        running = wire.request(message(b""), headers=GOOD, path="/t.T/Wait")
        await service.entered.wait()
        drained = asyncio.ensure_future(server.drain(30.0))
        assert await wire.status(late) == WRONG
        assert await call(wire, BAD) == WRONG
        service.go.set()
        assert await wire.status(running) == "0"
        assert await drained == 0


@pytest.mark.usefixtures("patient")
async def test_a_client_that_is_gone_frees_what_is_held_back(serve: Serve, badges: Badges) -> None:
    async with serve(gate=Gate([badges])) as server:
        async with connect(server) as wire:
            for _ in range(19):
                await call(wire, BAD)
            wire.request(message(b"hello"), headers=BAD)
            await until(lambda: held(server) == 1)
            (live,) = server.shared.live
        await live.closed
        assert len(live.dispatcher._refusals) == 0


async def test_a_refusal_that_was_held_back_comes(
    serve: Serve, badges: Badges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "FREE", 0)
    monkeypatch.setattr(failures, "STEP_S", 0.001)
    async with serve(gate=Gate([badges])) as server, connect(server) as wire:
        assert await call(wire, BAD) == WRONG
        assert held(server) == 0


async def test_calls_of_one_identity_reach_the_handler_with_it(serve: Serve, badges: Badges) -> None:
    seen: list[Any] = []

    class Who:
        def __mapping__(self) -> dict[str, Any]:
            from grpclib.const import Cardinality, Handler

            async def who(stream: Any) -> None:
                await stream.recv_message()
                seen.append(stream.identity.principal)
                await stream.send_message(b"")

            return {"/t.T/Who": Handler(who, Cardinality.UNARY_UNARY, bytes, bytes)}

    async with serve(Who(), gate=Gate([badges])) as server, connect(server) as wire:
        assert [await call(wire, GOOD, "/t.T/Who") for _ in range(2)] == ["0", "0"]
        assert seen == [ANN, ANN]


async def test_a_flood_of_wrong_credentials_leaves_a_valid_caller_its_turn(
    serve: Serve, badges: Badges, service: Service
) -> None:
    del service
    async with serve(gate=Gate([badges])) as server, connect(server) as flood, connect(server) as wire:
        for number in range(900):
            flood.request(message(b"hello"), headers={"x-badge": f"guess-{number}"}, flush=False)
        flood.flush()
        before = badges.asked
        assert await call(wire, GOOD) == "0"
        assert badges.asked - before < 450, "the guesses are checked a few in each turn of the loop"
