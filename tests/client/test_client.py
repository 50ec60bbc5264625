"""A client by itself: how it is made, what its options change, when it ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from transports import calling

import stigmer
import stigmer.app

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


class Noting(stigmer.Interceptor):
    def __init__(self) -> None:
        self.calls: list[stigmer.Call] = []

    async def unary(self, call: stigmer.Call, request: Any, proceed: stigmer.UnaryNext) -> Any:
        self.calls.append(call)
        return await proceed(call, request)


@pytest.fixture
async def noting(transport: str, pems: Path) -> AsyncGenerator[tuple[stigmer.Client, Noting]]:
    interceptor = Noting()
    async with calling(transport, pems, interceptor) as (client, _):
        yield client, interceptor


async def test_each_call_has_a_name_and_a_deadline(noting: tuple[stigmer.Client, Noting]) -> None:
    client, seen = noting
    for _ in range(3):
        await client.caller.whoami()
    await client.with_options(timeout_s=None).caller.whoami()
    assert len({call.request_id for call in seen.calls}) == 4
    assert [call.deadline_s is not None for call in seen.calls] == [True, True, True, False]


async def test_options_hold_for_the_client_that_has_them(noting: tuple[stigmer.Client, Noting]) -> None:
    client, seen = noting
    marked = client.with_options(metadata={"x-secrets": "redacted", "x-request-id": "mine"}).with_options(org="acme")
    await marked.caller.whoami()
    await client.caller.whoami()
    assert [call.metadata.get("x-secrets") for call in seen.calls] == ["redacted", None]
    assert seen.calls[0].request_id == "mine"
    with pytest.raises(stigmer.NotFound) as caught:
        await marked.agents.get("nobody")
    assert caught.value.request_id == "mine"


async def test_a_dry_run_is_refused_where_the_server_knows_none(noting: tuple[stigmer.Client, Noting]) -> None:
    client, seen = noting
    client._calls.connection.features = frozenset()
    dry = client.with_options(dry_run=True)
    with pytest.raises(stigmer.Unimplemented, match="knows no dry runs"):
        await dry.environments.apply(name="Prod", org="acme")
    assert await dry.environments.get("acme/prod", default=None) is None
    assert [call.method.name for call in seen.calls] == ["getByReference"]


async def test_a_client_that_is_closed_makes_no_calls(transport: str, pems: Path) -> None:
    async with calling(transport, pems) as (client, plane):
        other = client.with_options(timeout_s=1)
        await client.close()
        await client.close()
        for closed in (client, other):
            with pytest.raises(RuntimeError, match="closed"):
                await closed.caller.whoami()
        assert (await stigmer.Client(plane.channel).caller.whoami()).name == "local"


class Holding(stigmer.Interceptor):
    def __init__(self) -> None:
        self.is_held = asyncio.Event()

    async def unary(self, call: stigmer.Call, request: Any, proceed: stigmer.UnaryNext) -> Any:
        self.is_held.set()
        return await asyncio.Event().wait()


async def test_calls_that_run_when_a_client_is_closed_are_unavailable(pems: Path) -> None:
    holding = Holding()
    async with calling("tcp", pems, holding) as (client, _):
        call = asyncio.create_task(client.caller.whoami())
        await holding.is_held.wait()
        await client.close()
        with pytest.raises(stigmer.Unavailable):
            await call
        assert call.cancelling() == 0  # grpclib cancels it, twice


async def test_a_plane_has_a_client_and_one_for_each_principal() -> None:
    ann = stigmer.Principal("ann", "editor", frozenset({"acme"}))
    async with stigmer.embedded(":memory:") as plane, stigmer.Client(plane.channel_as(ann)) as anns:
        assert (await plane.client.caller.whoami()).name == "local"
        assert (await anns.caller.whoami()).organizations == ["acme"]
        made = await anns.environments.create(name="Prod")
        assert made.metadata
        assert made.metadata.org == "acme"
        with pytest.raises(stigmer.PermissionDenied) as caught:
            await anns.environments.create(name="Prod", org="globex")
        assert caught.value.kind


@pytest.mark.parametrize(
    ("server", "given", "why"),
    [
        ("localhost", {}, "not HOST:PORT"),
        ("unix:/run/s", {"tls": True}, "has no TLS"),
        ("10.0.0.1:7234", {"token": "t"}, "in plain text"),
        ("10.0.0.1:7234", {"token_file": "t"}, "in plain text"),
        ("127.0.0.1:7234", {"token": "t", "token_file": "f"}, "not both"),
        ("127.0.0.1:7234", {"token": ""}, "no bearer token"),
        ("127.0.0.1:7234", {"token": "a b"}, "no bearer token"),
    ],
)
def test_a_client_that_cannot_be_is_refused_at_once(server: str, given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        stigmer.Client(server, **given)


def test_a_client_is_made_without_a_loop_and_belongs_to_the_first_one(tmp_path: Path) -> None:
    address = f"unix:/tmp/{tmp_path.name}-loops"
    client = stigmer.Client(address)

    async def ask() -> str:
        return (await client.caller.whoami()).name

    async def main() -> None:
        async with stigmer.embedded(":memory:") as plane, plane.listen(address), client:
            assert await ask() == "local"
            with pytest.raises(RuntimeError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, ask())

    asyncio.run(main())


LIGHT = """
import time, sys
before = set(sys.modules)
import stigmer
client = stigmer.Client("127.0.0.1:7234")
wanted = {"h2", "grpclib.client", "stigmer.pipeline", "stigmer.store", "stigmer.server", "stigmer.edge",
          "protovalidate", "opentelemetry", "structlog", "stigmer.handlers", "aiosqlite", "anyio"}
print(sorted(wanted & set(sys.modules)))
"""


def test_a_client_imports_nothing_of_the_server() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
