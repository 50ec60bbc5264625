"""Failures are exceptions with fields, the same over every transport; none of gRPC's comes out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from h2.exceptions import StreamClosedError
from transports import calling

import stigmer
from stigmer import errors
from stigmer.client.failures import failure_of
from stigmer.errors import Code

if TYPE_CHECKING:
    from pathlib import Path

RAISED: list[tuple[stigmer.StigmerError, dict[str, Any], bool]] = [
    (errors.InvalidArgument.of("spec.x", "is wrong"), {"violations": (errors.Violation("spec.x", "is wrong"),)}, False),
    (errors.NotFound("Agent", "agt-1"), {"kind": "Agent", "name": "agt-1"}, False),
    (errors.AlreadyExists("Agent", "agt-2", slug="x"), {"kind": "Agent", "id": "agt-2"}, False),
    (errors.VersionMismatch("too late"), {"reason": "VERSION_MISMATCH"}, False),
    (errors.Aborted("too many", "CONTENTION"), {"reason": "CONTENTION"}, True),
    (errors.FailedPrecondition("ended", type_="PHASE", subject="aex-1"), {"type": "PHASE", "subject": "aex-1"}, False),
    (errors.Unauthenticated("who?", takes=["bearer token"]), {"takes": ("bearer token",)}, False),
    (
        errors.PermissionDenied("no", permission="can_view", kind="agent"),
        {"permission": "can_view", "kind": "agent"},
        False,
    ),
    (errors.ResourceExhausted("much", retry_after_s=2.5), {"retry_after_s": 2.5}, True),
    (errors.ResourceExhausted("too much"), {"retry_after_s": None}, False),
    (errors.Unavailable("stops", retry_after_s=0.25), {"retry_after_s": 0.25}, True),
    (errors.DeadlineExceeded("late"), {}, False),
    (errors.DataLoss("Agent", "agt-1"), {"kind": "Agent", "name": "agt-1"}, False),
    (errors.Internal("0123"), {"error_id": "0123"}, False),
    (errors.Unimplemented("not here"), {}, False),
]


class Failing(stigmer.Interceptor):
    """Raises what it is told to, in place of the call."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.seen: list[stigmer.Call] = []

    async def unary(self, call: stigmer.Call, request: Any, proceed: stigmer.UnaryNext) -> Any:
        self.seen.append(call)
        if self.error is not None:
            raise self.error
        return await proceed(call, request)


async def test_every_failure_is_an_exception_with_its_fields(transport: str, pems: Path) -> None:
    failing = Failing()
    async with calling(transport, pems, failing, max_retries=0) as (client, _):
        for error, fields, retryable in RAISED:
            failing.error = error
            with pytest.raises(stigmer.StigmerError) as caught:
                await client.agents.get("agt-1")
            found = caught.value
            assert (type(found), found.code, found.message) == (type(error), error.code, error.message)
            assert {name: getattr(found, name) for name in fields} == fields
            assert found.retryable is retryable, found
            assert found.request_id == failing.seen[-1].request_id


async def test_what_nobody_foresaw_is_internal_and_names_its_log_line(transport: str, pems: Path) -> None:
    failing = Failing()
    failing.error = ZeroDivisionError("secret")
    async with calling(transport, pems, failing) as (client, _):
        with pytest.raises(stigmer.Internal) as caught:
            await client.agents.get("agt-1")
    assert len(caught.value.error_id) == 32
    assert "secret" not in str(caught.value)


class Slow(stigmer.Interceptor):
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def unary(self, call: stigmer.Call, request: Any, proceed: stigmer.UnaryNext) -> Any:
        await self.go_on.wait()
        return await proceed(call, request)


async def test_a_call_ends_at_its_deadline(transport: str, pems: Path) -> None:
    slow = Slow()
    async with calling(transport, pems, slow, timeout_s=0.2) as (client, _):
        with pytest.raises(stigmer.DeadlineExceeded) as caught:
            await client.agents.get("agt-1")
        assert not caught.value.outcome_unknown
        with pytest.raises(stigmer.DeadlineExceeded) as caught:
            await client.agents.create(name="Reviewer", instructions="Review the change.")
        assert caught.value.outcome_unknown
        assert not caught.value.retryable
        slow.go_on.set()
        assert await client.agents.get("nobody", default=None) is None


async def test_the_time_of_whoever_waits_for_a_client_ends_as_ever(transport: str, pems: Path) -> None:
    """grpclib wakes a call by cancelling its task, and does not take that back."""
    slow = Slow()
    async with calling(transport, pems, slow, timeout_s=0.1) as (client, _):

        async def wait() -> None:
            async with asyncio.timeout(0.3):
                with pytest.raises(stigmer.DeadlineExceeded):
                    await client.agents.get("agt-1")
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            await wait()
        task = asyncio.current_task()
        assert task
        assert task.cancelling() == 0


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    for address in ("127.0.0.1:1", f"unix:/tmp/{tmp_path.name}-none"):
        async with stigmer.Client(address, max_retries=1) as client:
            with pytest.raises(stigmer.Unavailable, match="`stigmer serve` starts one") as caught:
                await client.agents.create(name="Reviewer", instructions="Review the change.")
        assert caught.value.code is Code.UNAVAILABLE
        assert caught.value.retryable
        assert not caught.value.outcome_unknown


async def test_a_connection_that_ended_under_grpclib_is_made_anew(pems: Path) -> None:
    """As its keepalive leaves it: without a transport, and taken for open."""
    async with calling("tcp", pems) as (client, _):
        await client.caller.whoami()
        channel = client._calls.connection._channel
        assert channel
        assert channel._protocol
        channel._protocol.connection.close()
        assert (await client.caller.whoami()).name == "local"


def test_what_is_no_failure_of_a_call_stays_what_it_is() -> None:
    for fault in (TypeError("x"), AttributeError("x", name="y"), AssertionError("x")):
        assert failure_of(fault, "here") is None
    cut = failure_of(AssertionError("Received less data than expected"), "here")
    assert isinstance(cut, stigmer.Unavailable)
    assert isinstance(failure_of(StreamClosedError(1), "here"), stigmer.Unavailable)
    assert isinstance(failure_of(TimeoutError(110, "timed out"), "here"), stigmer.Unavailable)


async def test_a_server_that_is_not_trusted_is_unavailable(pems: Path) -> None:
    async with calling("tls", pems) as (client, _):
        where = str(client._calls.connection.server)
        async with stigmer.Client(where, tls=True, timeout_s=60) as doubtful:
            with pytest.raises(stigmer.Unavailable, match="TLS failed") as caught:
                await doubtful.with_options(max_retries=1_000, retry_s=60).agents.get("agt-1")
            assert not caught.value.retryable
        async with stigmer.Client(where, max_retries=0) as plain:
            with pytest.raises(stigmer.Unavailable, match=r"connection to .* was lost"):
                await plain.agents.get("agt-1")
