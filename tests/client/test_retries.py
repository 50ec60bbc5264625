"""What is safe is tried again, within the deadline and never twice, where connections are cut, refused or silent."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from cutting_proxy import CuttingProxy

import stigmer
import stigmer.app
from stigmer.client import connection
from stigmer.types import Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

INSTRUCTIONS = "Review the change, name what is wrong."


class Watched(stigmer.Interceptor):
    """Notes each call, and does to its reply what a test wants.

    Attributes:
        done: set when a call of the method `marked` has been carried out.
        features: what whoami says in place of the server's own.
        unknown: a method that is not there.
        failures: raised, one for each call of `marked`, before it is carried out.
    """

    def __init__(self, marked: str = "") -> None:
        self.marked, self.done = marked, asyncio.Event()
        self.features: list[str] | None = None
        self.unknown = ""
        self.failures: list[Exception] = []
        self.calls: list[stigmer.Call] = []

    def of(self, name: str) -> list[stigmer.Call]:
        return [call for call in self.calls if call.method.name == name and call.parent is None]

    async def unary(self, call: stigmer.Call, request: Any, proceed: stigmer.UnaryNext) -> Any:
        self.calls.append(call)
        if call.method.name == self.marked and self.failures:
            raise self.failures.pop(0)
        if call.method.name == self.unknown:
            raise stigmer.Unimplemented("unknown method")
        reply = await proceed(call, request)
        if call.method.name == self.marked:
            self.done.set()
        if call.method.name == "whoami" and self.features is not None:
            return Caller(name="local", features=self.features)
        return reply


@asynccontextmanager
async def proxied(
    watched: Watched, **options: Any
) -> AsyncGenerator[tuple[stigmer.Client, CuttingProxy, stigmer.Client]]:
    """A client of a plane behind a proxy, whose connection is open; the proxy; a client in the plane's process."""
    async with (
        stigmer.embedded(":memory:", [watched]) as plane,
        plane.listen("127.0.0.1:0") as server,
        CuttingProxy(server.address) as proxy,
        stigmer.Client(proxy.address, org="acme", **{"timeout_s": 60.0, **options}) as client,
    ):
        await client.agents.get("nobody", default=None)
        watched.calls.clear()
        yield client, proxy, plane.client.with_options(org="acme")


async def cut_when_done(watched: Watched, proxy: CuttingProxy) -> None:
    """Lose the reply of the call that is marked, and let the next ones pass."""
    proxy.is_mute = True
    await watched.done.wait()
    proxy.is_mute = False
    proxy.cut()


async def test_a_read_is_tried_again_where_its_connection_is_cut() -> None:
    watched = Watched("get")
    async with proxied(watched) as (client, proxy, _):
        agent = await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
        cut = asyncio.create_task(cut_when_done(watched, proxy))
        assert await client.agents.get(agent) == agent
        await cut
        calls = watched.of("get")
        assert len(calls) == 2
        assert calls[0].request_id == calls[1].request_id


async def test_a_write_is_not_tried_again_where_it_may_have_been_carried_out() -> None:
    watched = Watched("apply")
    async with proxied(watched) as (client, proxy, _):
        cut = asyncio.create_task(cut_when_done(watched, proxy))
        with pytest.raises(stigmer.Unavailable) as caught:
            await client.agents.apply(name="Reviewer", instructions=INSTRUCTIONS)
        await cut
        assert caught.value.outcome_unknown
        assert not caught.value.retryable
        assert len(watched.of("apply")) == 1
        assert await client.agents.get("reviewer")


async def test_a_write_is_tried_again_where_it_never_left(tmp_path: Path) -> None:
    address = f"unix:/tmp/{tmp_path.name}-later"
    async with stigmer.embedded(":memory:") as plane, stigmer.Client(address, org="acme") as client:
        with pytest.raises(stigmer.Unavailable) as caught:
            await client.with_options(max_retries=1).agents.apply(name="Reviewer", instructions=INSTRUCTIONS)
        assert caught.value.retryable
        applied = asyncio.create_task(client.agents.apply(name="Reviewer", instructions=INSTRUCTIONS))
        await asyncio.sleep(0)
        async with plane.listen(address):
            assert (await applied).metadata


async def test_a_create_is_tried_again_with_its_key_and_done_once() -> None:
    watched = Watched("create")
    async with proxied(watched) as (client, proxy, near):
        agent = await near.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
        watched.calls.clear()
        watched.done.clear()
        cut = asyncio.create_task(cut_when_done(watched, proxy))
        run = await client.executions.create(agent=agent, message="Hello", runtime_env={"A": "b"})
        await cut
        assert [one async for one in near.executions.list()] == [run]
        assert len(watched.of("whoami")) == 1
        assert run.metadata
        assert (run.metadata.name or "").startswith("run-")


async def test_a_key_of_another_request_is_refused(client: stigmer.Client) -> None:
    first = await client.environments.create(name="Prod", idempotency_key="k")
    assert await client.environments.create(name="Prod", idempotency_key="k") == first
    with pytest.raises(stigmer.FailedPrecondition) as caught:
        await client.environments.create(name="Staging", idempotency_key="k")
    assert caught.value.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_a_dry_run_answers_and_leaves_nothing(client: stigmer.Client) -> None:
    dry = client.with_options(dry_run=True)
    tried = await dry.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
    assert tried.metadata
    assert tried.metadata.slug == "reviewer"
    assert await client.agents.get("reviewer", default=None) is None
    with pytest.raises(stigmer.InvalidArgument):
        await dry.agents.create(name="Reviewer", instructions="")
    made = await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
    assert (await dry.agents.delete(made)) == made
    assert await client.agents.get("reviewer") == made


async def test_a_dry_run_of_an_execution_does_not_wait_for_its_end(client: stigmer.Client) -> None:
    agent = await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
    tried = await client.with_options(dry_run=True).executions.run(agent, "Please review change 1.", timeout_s=5)
    assert tried.status
    assert tried.status.phase.name == "EXECUTION_PENDING"
    assert [run async for run in client.executions.list()] == []


async def test_a_create_is_not_tried_again_where_the_server_keeps_no_keys() -> None:
    watched = Watched("create")
    watched.features = []
    async with proxied(watched) as (client, proxy, _):
        cut = asyncio.create_task(cut_when_done(watched, proxy))
        with pytest.raises(stigmer.Unavailable) as caught:
            await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
        await cut
        assert caught.value.outcome_unknown
        assert len(watched.of("create")) == 1


async def test_a_server_that_knows_no_whoami_keeps_no_keys() -> None:
    watched = Watched("create")
    async with proxied(watched) as (client, proxy, _):
        watched.unknown = "whoami"
        cut = asyncio.create_task(cut_when_done(watched, proxy))
        with pytest.raises(stigmer.Unavailable) as caught:
            await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
        await cut
        assert caught.value.outcome_unknown


async def test_a_key_of_the_callers_own_is_sent_as_it_is() -> None:
    watched = Watched()
    async with proxied(watched, max_retries=0) as (client, _, _):
        await client.agents.create(name="a", instructions=INSTRUCTIONS, idempotency_key="mine")
        await client.agents.create(name="b", instructions=INSTRUCTIONS)
        assert [call.metadata.get("idempotency-key") for call in watched.of("create")] == ["mine", None]


async def test_a_cancellation_counts_where_the_connection_is_lost_at_the_same_time() -> None:
    watched = Watched("get")
    async with proxied(watched) as (client, proxy, near):
        agent = await near.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
        proxy.is_mute = True
        reading = asyncio.create_task(client.agents.get(agent))
        await watched.done.wait()
        channel = client._calls.connection._channel
        assert channel
        channel.close()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert reading.cancelling() == 1


async def test_a_server_that_says_unavailable_is_asked_again() -> None:
    watched = Watched("get")
    async with proxied(watched) as (client, _, near):
        agent = await near.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
        watched.failures = [stigmer.Unavailable("stops", retry_after_s=0.01)] * 3
        assert await client.agents.get(agent) == agent
        watched.failures = [stigmer.Unavailable("stops", retry_after_s=0.01)]
        with pytest.raises(stigmer.Unavailable):
            await client.with_options(max_retries=0).agents.get(agent)
        watched.failures = [stigmer.Aborted("raced", "CONTENTION")]
        with pytest.raises(stigmer.Aborted):  # nothing but UNAVAILABLE
            await client.agents.get(agent)


async def test_the_deadline_is_not_passed_by_waiting() -> None:
    watched = Watched("get")
    async with proxied(watched, timeout_s=5.0) as (client, _, near):
        agent = await near.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
        watched.failures = [stigmer.Unavailable("stops", retry_after_s=60)]
        started_s = time.monotonic()
        with pytest.raises(stigmer.Unavailable):
            await client.agents.get(agent)
        assert time.monotonic() - started_s < 4


async def test_a_connection_that_is_silent_ends_and_another_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "KEEPALIVE_S", 0.3)
    watched = Watched()
    async with proxied(watched) as (client, proxy, near):
        agent = await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
        run = await client.executions.create(agent=agent, message="Hello")
        async with aclosing(client.executions.watch(run)) as states:
            await anext(states)
            proxy.is_mute = True
            waiting = asyncio.ensure_future(anext(states))
            while proxy.accepted < 2:  # noqa: ASYNC110 - the proxy counts
                await asyncio.sleep(0.01)
            proxy.is_mute = False
            proxy.cut()
            await near.executions.update_status(execution=run, status={"phase": "EXECUTION_IN_PROGRESS"})
            state = await waiting
            assert state.status
            assert state.status.phase.name == "EXECUTION_IN_PROGRESS"


async def test_a_watcher_sees_each_state_once_over_connections_that_are_cut() -> None:
    watched = Watched()
    async with proxied(watched) as (client, proxy, near):
        agent = await client.agents.create(name="Reviewer", instructions=INSTRUCTIONS)
        run = await client.executions.create(agent=agent, message="Hello")
        seen: list[str] = []
        async for state in client.executions.watch(run):
            assert state.status
            seen.append(f"{state.status.phase.name} {state.status.error}")
            before = proxy.accepted
            proxy.cut()
            while proxy.accepted == before:
                await client.agents.get(agent)
            last = len(seen) == 8
            phase = "EXECUTION_FAILED" if last else "EXECUTION_IN_PROGRESS"
            if len(seen) < 9:
                status: Any = {"phase": phase, "error": f"step {len(seen)}"}
                await near.executions.update_status(execution=run, status=status)
        assert seen == [
            "EXECUTION_PENDING ",
            *(f"EXECUTION_IN_PROGRESS step {number}" for number in range(1, 8)),
            "EXECUTION_FAILED step 8",
        ]
