"""Attacks by JWTs, over the wire and by grpcio: no forged, foreign or spent one gets in, whatever its issuer does."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import samples
from bearing import token, tokens_file
from edge_rig import Stubs, executions
from edge_sockets import dial, grpcio_client
from grpclib.exceptions import GRPCError
from issuer import AUDIENCE, ISSUER, claims, encoded, key_for, public, publishing, signed
from served_process import Served, served

from stigmer.access.watched_file import WATCH_S
from stigmer.edge.running import RECHECK_S
from stigmer.types import Caller
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from edge_sockets import Send
    from issuer import Publisher

WHOAMI = "/ai.stigmer.iam.caller.v1.CallerQueryController/whoami"
TOKEN = "stg_good-canary-0123456789"
NONE = f"{encoded(json.dumps({'alg': 'none', 'kid': '1'}).encode())}.{encoded(json.dumps(claims()).encode())}."
BAD = {
    "without a signature": signed().rpartition(".")[0] + ".",
    "of the algorithm none": NONE,
    "cut": signed()[:-4],
    "of another issuer": signed(claims(iss="https://other.example.com")),
    "of another audience": signed(claims(aud="another")),
    "of nobody": signed(claims(sub=None)),
    "of no role": signed(claims(role=None)),
    "expired": signed(claims(exp=int(time.time()) - 100)),
    "of tomorrow": signed(claims(iat=int(time.time()) + 86_400)),
    "of a foreign key": signed(key=key_for("ES256", "2"), kid="1"),
    "of an unknown key": signed(key=key_for("ES256", "2")),
    "with a key of its own": signed(key=key_for("ES256", "2"), kid="1", jwk=public(key_for("ES256", "2"))),
    "with crit": signed(crit=["exp"], exp=1),
    "garbage": "a.b.c",
    "20 KiB": signed(claims(more="x" * 20_000)),
}  # fewer than what a minute allows before answers are held back


def bearer(secret: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {secret}")]


async def named(send: Send, secret: str) -> tuple[str, str, list[str]]:
    """Name, role and organizations of who calls."""
    answer = await send(WHOAMI, b"", metadata=bearer(secret))
    assert answer["code"] == "OK", answer
    caller = codec.decode(Caller, base64.b64decode(answer["reply"]))
    return caller.name, caller.role, list(caller.organizations)


@asynccontextmanager
async def attacked(place: Path, issuer: Publisher) -> AsyncGenerator[tuple[Served, Send]]:
    """A server that takes JWTs of an issuer, and a token; a client of it."""
    file = tokens_file(place / "tokens", token(TOKEN))
    jwt = ("--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE, "--jwt-keys", issuer.url, "--jwt-role-claim", "role")
    orgs = ("--jwt-organizations-claim", "orgs")
    async with served(place / "data", "--tokens-file", str(file), *jwt, *orgs) as server, grpcio_client(server) as send:
        yield server, send


async def test_nobody_gets_in_by_anything_but_a_good_jwt_and_none_is_ever_told_of(tmp_path: Path) -> None:
    async with publishing(public(key_for("ES256"))) as issuer, attacked(tmp_path, issuer) as (server, send):
        assert await named(send, signed(claims(orgs=["acme", "b"]))) == ("oidc:ann", "editor", ["acme", "b"])
        answers: dict[str, Any] = {what: await send(WHOAMI, b"", metadata=bearer(one)) for what, one in BAD.items()}
        answers["two"] = await send(WHOAMI, b"", metadata=bearer(signed()) * 2)
        answers["a JWT and a token"] = await send(WHOAMI, b"", metadata=[*bearer(TOKEN), *bearer(signed())])
        assert {what: answer["code"] for what, answer in answers.items()} == dict.fromkeys(answers, "UNAUTHENTICATED")
        takes = f"send one of: bearer token (header 'authorization'), JWT of {ISSUER} (header 'authorization')"
        assert [what for what, answer in answers.items() if takes not in answer["message"]] == []
        assert await named(send, TOKEN) == ("ann", "editor", ["acme"])
        server.process.terminate()
        assert await server.ended() == 0
    signatures = [one.rpartition(".")[2] for one in BAD.values()]
    for text in (json.dumps(server.lines), json.dumps(answers)):
        assert [part for part in signatures if len(part) > 8 and part[:20] in text] == []


async def test_an_issuer_that_is_away_is_no_yes_and_takes_nothing_from_those_with_tokens(tmp_path: Path) -> None:
    async with publishing() as issuer:
        issuer.answer = lambda: ("503 Service Unavailable", "", b"")
        async with attacked(tmp_path, issuer) as (_, send):
            answer = await send(WHOAMI, b"", metadata=bearer(signed()))
            assert answer["code"] == "UNAVAILABLE"
            assert answer["message"] == "the issuer's keys cannot be fetched: try again"
            assert await named(send, TOKEN) == ("ann", "editor", ["acme"])


@pytest.mark.long
async def test_an_open_stream_ends_within_ten_seconds_of_its_token(tmp_path: Path) -> None:
    """Long for the seconds between two looks at open streams."""
    async with publishing() as issuer, attacked(tmp_path, issuer) as (server, _), dial(server, bearer=TOKEN) as channel:
        stubs = Stubs(channel)
        agent = await stubs.agents.create(samples.agent(org="acme"))
        run = await stubs.executions.create(samples.agent_execution(agent_id=agent.metadata.id))
        states = stubs.find_executions.subscribe(executions.AgentExecutionId(value=run.metadata.id))
        assert (await anext(states)).metadata.id == run.metadata.id
        await asyncio.to_thread(tokens_file, tmp_path / "tokens")
        revoked_s = time.monotonic()
        with pytest.raises(GRPCError) as ended:
            async with asyncio.timeout(60):
                await anext(states)
        assert ended.value.status.name == "UNAUTHENTICATED"
        assert time.monotonic() - revoked_s < 15
    assert WATCH_S + RECHECK_S <= 7, "what is left of ten seconds is for a loaded machine"
