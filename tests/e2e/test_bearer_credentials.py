"""Bearer tokens and JWTs from outside: an attack by grpcio on a served process, and what its log says of it."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import edge_grpcio
import pytest
import samples
from bearing import placed, token, tokens_file
from child_process import Child, child
from edge_rig import Stubs, executions
from grpclib.exceptions import GRPCError
from issuer import AUDIENCE, ISSUER, claims, key_for, public, publishing, signed
from served_process import Served, served

from stigmer import rpc
from stigmer.access import token_file
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from issuer import Publisher

WHOAMI = "/ai.stigmer.iam.caller.v1.CallerQueryController/whoami"
HEALTH = "/grpc.health.v1.Health/Check"
GOOD, EXPIRED = "stg_good-canary-0123456789", "stg_old-canary-0123456789"
CHANGED = "Callers are known by a changed file"
Metadata = list[tuple[str, str]]


def bearer(secret: str, scheme: str = "Bearer") -> Metadata:
    return [("authorization", f"{scheme} {secret}")]


class Outside:
    """A grpcio client of one server."""

    def __init__(self, client: Child) -> None:
        self._client = client

    async def call(self, metadata: Metadata, path: str = WHOAMI) -> dict[str, Any]:
        """How a call without fields ends."""
        self._client.tell(json.dumps({"path": path, "body": "", "metadata": metadata}))
        answer: dict[str, Any] = json.loads(await self._client.line())
        return answer

    async def whoami(self, metadata: Metadata) -> tuple[str, str, list[str]]:
        """Name, role and organizations of who calls."""
        answer = await self.call(metadata)
        assert answer["code"] == "OK", answer
        caller: Any = descriptors.message_class("ai.stigmer.iam.caller.v1.Caller")
        said = caller.FromString(base64.b64decode(answer["reply"]))
        return said.name, said.role, list(said.organizations)


@asynccontextmanager
async def attacked(place: Path, issuer: Publisher) -> AsyncGenerator[tuple[Served, Outside, Path]]:
    """A server that takes tokens of a file and JWTs of an issuer; a client of it; the file."""
    day = dt.timedelta(1)
    yesterday = dt.datetime.now(dt.UTC).date() - day
    file = tokens_file(place / "tokens", token(GOOD), token(EXPIRED, "old", not_after=yesterday))
    jwt = ("--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE, "--jwt-keys", issuer.url, "--jwt-role-claim", "role")
    async with (
        served(place / "data", "--tokens-file", str(file), *jwt, "--jwt-organizations-claim", "orgs") as server,
        child(edge_grpcio.__file__, str(server.address[1])) as client,
    ):
        yield server, Outside(client), file


# fewer than what a minute allows before answers are held back
BAD: dict[str, Metadata] = {
    "nothing": [],
    "another scheme": bearer(GOOD, "Basic"),
    "a wrong token": bearer("stg_wrong-canary-0123456789"),
    "an expired token": bearer(EXPIRED),
    "a cut token": bearer(GOOD[:-1]),
    "its digest": bearer(f"stg_{token(GOOD).digest.hex()}"),
    "one token twice": bearer(GOOD) * 2,
    "two tokens": [*bearer(GOOD), *bearer("stg_wrong-canary-0123456789")],
    "a token and a JWT": [*bearer(GOOD), *bearer(signed())],
    "a claim to be internal": [("x-principal", "internal"), ("x-stigmer-user", "local"), ("on-behalf-of", "local")],
    "a claim to be on loopback": [("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1")],
    "a JWT of nobody": bearer(signed(claims(sub=None))),
    "a JWT of a name that is reserved": bearer(signed(claims(iss="https://other.example.com", sub="local"))),
    "a JWT for others": bearer(signed(claims(aud="another"))),
    "a JWT that has expired": bearer(signed(claims(exp=int(time.time()) - 100))),
    "a JWT of an unknown key": bearer(signed(key=key_for("ES256", "2"))),
    "a JWT without a signature": bearer(signed().rpartition(".")[0] + "."),
    "garbage": bearer("\x01\x7f~.~.~"[2:]),
    "20 KiB": bearer("stg_" + "a" * 20_000),
}


async def test_nobody_gets_in_by_anything_but_good_credentials_and_no_log_line_has_one(tmp_path: Path) -> None:
    async with publishing(public(key_for("ES256"))) as issuer, attacked(tmp_path, issuer) as (server, outside, _):
        assert await outside.whoami(bearer(GOOD)) == ("ann", "editor", ["acme"])
        assert await outside.whoami(bearer(signed(claims(orgs=["acme", "b"])))) == ("oidc:ann", "editor", ["acme", "b"])
        for what, metadata in BAD.items():
            answer = await outside.call(metadata)
            assert answer["code"] == "UNAUTHENTICATED", (what, answer)
            assert f"send one of: bearer token (header 'authorization'), JWT of {ISSUER}" in answer["message"], what
            assert "canary" not in answer["message"]
        assert (await outside.call([], HEALTH))["code"] == "OK"
        assert await outside.whoami(bearer(GOOD, "bearer")) == ("ann", "editor", ["acme"])
        server.process.terminate()
        assert await server.ended() == 0
    text = json.dumps(server.lines)
    assert len(server.calls()) >= len(BAD)
    assert "canary" not in text
    assert signed().partition(".")[0] not in text


async def test_an_issuer_that_is_away_is_no_yes_and_takes_nothing_from_those_with_tokens(tmp_path: Path) -> None:
    async with publishing() as issuer:
        issuer.answer = lambda: ("503 Service Unavailable", "", b"")
        async with attacked(tmp_path, issuer) as (_, outside, _file):
            answer = await outside.call(bearer(signed()))
            assert (answer["code"], answer["message"]) == (
                "UNAVAILABLE",
                "the issuer's keys cannot be fetched: try again",
            )
            assert await outside.whoami(bearer(GOOD)) == ("ann", "editor", ["acme"])


async def test_tokens_are_made_and_revoked_while_the_server_runs_and_a_broken_file_changes_nothing(
    tmp_path: Path,
) -> None:
    async with publishing() as issuer, attacked(tmp_path, issuer) as (server, outside, file):
        made = "stg_made-canary-0123456789"
        await asyncio.to_thread(token_file.add, file, token(made, "bob", "reader", ()))
        await server.logged(CHANGED)
        assert await outside.whoami(bearer(made)) == ("bob", "reader", [])
        await asyncio.to_thread(placed, file, "nonsense\n")
        line = await server.logged("A file of callers is broken; what was good stays so")
        assert line["reason"] == f"{file}: line 1: 1 fields; write name:role:organizations:not_after:sha256"
        assert (await outside.call(bearer(made)))["code"] == "OK"
        await asyncio.to_thread(tokens_file, file, token(GOOD))
        await server.logged(CHANGED)
        assert (await outside.call(bearer(made)))["code"] == "UNAUTHENTICATED"
        assert await outside.whoami(bearer(GOOD)) == ("ann", "editor", ["acme"])


@pytest.mark.long
async def test_an_open_stream_ends_within_ten_seconds_of_its_token(tmp_path: Path) -> None:
    """Long for the seconds between two looks at open streams."""
    async with publishing() as issuer, attacked(tmp_path, issuer) as (server, _, file):
        host, port = server.address
        async with rpc.channel(f"{host}:{port}") as channel:
            stubs, metadata = Stubs(channel), dict(bearer(GOOD))
            agent = await stubs.agents.create(samples.agent(org="acme"), metadata=metadata)
            run = await stubs.executions.create(samples.agent_execution(agent_id=agent.metadata.id), metadata=metadata)
            states = stubs.find_executions.subscribe(
                executions.AgentExecutionId(value=run.metadata.id), metadata=metadata
            )
            assert (await anext(states)).metadata.id == run.metadata.id
            await asyncio.to_thread(tokens_file, file)
            revoked_s = time.monotonic()
            with pytest.raises(GRPCError) as ended:
                async with asyncio.timeout(60):
                    await anext(states)
            assert ended.value.status.name == "UNAUTHENTICATED"
            assert time.monotonic() - revoked_s < 15
