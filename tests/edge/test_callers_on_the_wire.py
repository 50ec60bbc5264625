"""Calls with credentials over a port, and on grpclib's own server: who is let in, and as whom."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import pytest
import samples
from badge_planes import ANN, Open, Opened, failure, info, opener, stock
from badges import HEADER, Badges
from call_lines import Calls, listener
from edge_rig import Around
from grpclib.const import Cardinality, Status
from store_rows import until

from stigmer.access import failures
from stigmer.types import ApiResourceReference, Environment
from stigmer.wire.descriptors import message_class

if TYPE_CHECKING:
    from collections.abc import Generator

    from stigmer.access.principal import Role
    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call


@pytest.fixture(autouse=True)
def calls() -> Generator[Calls]:
    with listener() as heard:
        yield heard


@pytest.mark.parametrize(("metadata", "said"), [({}, "no credentials"), ({HEADER: "eve"}, "nobody has such a badge")])
async def test_a_call_without_good_credentials_is_refused_and_leaves_its_line(
    serve: Opened, calls: Calls, metadata: dict[str, str], said: str
) -> None:
    async with serve() as opened:
        error = await failure(opened.stubs.agents.create(samples.agent(org="acme"), metadata=metadata))
        assert error.status is Status.UNAUTHENTICATED
        assert error.message == f"{said}; send one of: badge (header 'x-badge')"
        assert info(error) == {"takes": "badge"}
        line = await calls.next()
        assert (line["method"].rpartition("/")[2], line["code"]) == ("create", "UNAUTHENTICATED")
        assert line["caller"] == ""


async def test_a_call_is_made_by_whom_its_credentials_are_for(serve: Opened, badges: Badges, calls: Calls) -> None:
    seen: list[Call] = []

    async def note(call: Call, request: Any, proceed: UnaryNext) -> Any:
        seen.append(call)
        return await proceed(call, request)

    async with serve(Around("AgentCommandController/create", note)) as opened:
        for _ in range(2):
            made = await opened.stubs.agents.create(samples.agent(org="acme"), metadata=ANN)
            assert made.status.audit.spec_audit.created_by.id == "ann"
        assert [call.principal for call in seen] == [badges.holders["ann"]] * 2
        assert badges.asked == 1, "the second call is known"
        while (await calls.next())["caller"] != "ann":
            pass


async def test_a_request_is_not_read_before_it_is_known_who_sends_it(badges: Badges) -> None:
    """On grpclib's own server the door asks before `recv_message`: the body may be what it likes."""
    async with opener(stock, badges)() as opened:
        assert (await failure(withheld(opened))).status is Status.UNAUTHENTICATED


async def withheld(opened: Open) -> None:
    """A call that sends no message, and does not end."""
    create = "/ai.stigmer.agentic.agent.v1.AgentCommandController/create"
    async with opened.channel.request(create, Cardinality.UNARY_UNARY, bytes, bytes) as stream:
        await stream.send_request()
        await stream.recv_initial_metadata()


@pytest.mark.parametrize(
    ("role", "organization", "status"),
    [
        ("", "", Status.UNAUTHENTICATED),
        ("reader", "acme", Status.PERMISSION_DENIED),
        ("editor", "other", Status.PERMISSION_DENIED),
        ("editor", "acme", Status.OK),
    ],
)
async def test_a_request_that_comes_late_is_of_whom_its_credential_is_for_then(
    serve: Opened, badges: Badges, role: Role | Literal[""], organization: str, status: Status
) -> None:
    """Else who keeps calls open could write by a credential that was revoked long ago."""
    create = "/ai.stigmer.agentic.environment.v1.EnvironmentCommandController/create"
    environment = samples.environment(org="acme")
    async with serve() as opened:
        async with opened.channel.request(
            create, Cardinality.UNARY_UNARY, Environment, Environment, metadata=ANN
        ) as call:
            await call.send_request()
            await until(lambda: badges.asked == 1)
            del badges.holders["ann"]
            if role:
                badges.let("ann", role, organization)
            await call.send_message(environment, end=True)
            answer = call.recv_message()
            if status is Status.OK:
                assert await answer is not None
            else:
                assert (await failure(answer)).status is status
        slug = ApiResourceReference(slug=environment.metadata.name.lower(), org="acme")
        found = opened.local.find_environments.get_by_reference(slug)
        if status is Status.OK:
            await found
        else:
            assert (await failure(found)).status is Status.NOT_FOUND


async def test_health_needs_no_credentials_and_reflection_any(serve_own: Opened) -> None:
    async with serve_own() as opened:
        asked, told = (message_class(f"grpc.health.v1.HealthCheck{what}") for what in ("Request", "Response"))
        async with opened.channel.request(
            "/grpc.health.v1.Health/Check", Cardinality.UNARY_UNARY, asked, told
        ) as stream:
            await stream.send_message(asked(), end=True)
            answer: Any = await stream.recv_message()
            assert answer.status == 1
        assert (await failure(reflected(opened, {}))).status is Status.UNAUTHENTICATED
        assert "grpc.health.v1.Health" in await reflected(opened, ANN)


async def reflected(opened: Open, metadata: dict[str, str]) -> list[str]:
    """The names of the services."""
    asked, told = (message_class(f"grpc.reflection.v1.ServerReflection{what}") for what in ("Request", "Response"))
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    async with opened.channel.request(path, Cardinality.STREAM_STREAM, asked, told, metadata=metadata) as stream:
        await stream.send_message(asked(list_services=""), end=True)
        answer: Any = await stream.recv_message()
        return [service.name for service in answer.list_services_response.service]


async def test_refusals_are_held_back_on_a_stock_server_too(serve: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "FREE", 0)
    monkeypatch.setattr(failures, "STEP_S", 1000.0)
    monkeypatch.setattr(failures, "MOST_S", 1000.0)
    async with serve() as opened:
        late = asyncio.ensure_future(failure(opened.stubs.agents.create(samples.agent(org="acme"))))
        for _ in range(3):
            await opened.stubs.agents.create(samples.agent(org="acme"), metadata=ANN)
        assert not late.done()
        late.cancel()
        with suppress(asyncio.CancelledError):
            await late
