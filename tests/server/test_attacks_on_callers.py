"""Attacks on callers, over the wire and by another implementation of gRPC: who has no right to an answer gets none."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
from subprocess import PIPE
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import samples
from callers import CLAIMS
from conformance import invalid
from edge_rig import Stubs, id_of, sessions
from edge_sockets import dial, grpcio_client
from google.rpc import error_details_pb2, status_pb2
from grpclib.exceptions import GRPCError
from matrix import CALLERS, ROOT, Owned, is_list, line_of, request_of, tokens_file
from served_process import Listening, served, serving
from store_rows import until

from stigmer.access.principal import Principal
from stigmer.types import AgentId, Caller
from stigmer.wire import codec, descriptors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator
    from pathlib import Path

    from edge_sockets import Send
    from grpclib.client import Channel

    from stigmer.wire.descriptors import Method

WHOAMI = "/ai.stigmer.iam.caller.v1.CallerQueryController/whoami"
HEALTH, REFLECTION = "/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
ANN, OLD, GONE = (Principal(name, "editor", frozenset({"acme"})) for name in ("ann", "old", "gone"))
NAMED = [method for method in descriptors.methods().values() if method.kind is not None and not is_list(method)]


def bearer(token: str, header: str = "authorization", scheme: str = "Bearer ") -> list[tuple[str, str]]:
    return [(header, f"{scheme}{token}")]


def bad(good: str, expired: str, revoked: str) -> dict[str, list[tuple[str, str]]]:
    """What is no credential, though much of it looks like one."""
    claims = base64.urlsafe_b64encode(b'{"sub":"ann"}').decode().rstrip("=")
    return {
        "none": [],
        "empty": [("authorization", "")],
        "a scheme alone": [("authorization", "Bearer")],
        "no scheme": bearer(good, scheme=""),
        "another scheme": bearer(base64.b64encode(f"ann:{good}".encode()).decode(), scheme="Basic "),
        "truncated": bearer(good[:-1]),
        "longer": bearer(f"{good}0"),
        "one letter off": bearer(good[:-1] + ("0" if good[-1] != "0" else "1")),
        "its digest": bearer(hashlib.sha256(good.encode()).hexdigest()),
        "its prefix": bearer("stg_"),
        "unknown": bearer("stg_" + "0" * 43),
        "expired": bearer(expired),
        "revoked": bearer(revoked),
        "twice the same": bearer(good) * 2,
        "a good and a bad one": [*bearer(good), *bearer("stg_0")],
        "two in one": bearer(f"{good}, Bearer {good}"),
        "in another header": [*bearer(good, "x-authorization"), *bearer(good, "proxy-authorization"), ("cookie", good)],
        "an unsigned JWT": bearer(f"eyJhbGciOiJub25lIn0.{claims}."),
    }


def told(answer: dict[str, Any]) -> tuple[str, str, bytes]:
    return answer["code"], answer["message"], base64.b64decode(answer["details"])


async def test_nobody_gets_in_with_less_than_a_good_token_and_no_token_is_ever_told_of(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    tokens = tokens_file(file, [ANN, OLD, GONE])
    lines = [line_of(ANN, tokens["ann"]), line_of(OLD, tokens["old"], "2020-01-01")]
    file.write_text("".join(lines))
    async with served(tmp_path / "data", "--tokens-file", str(file)) as server, grpcio_client(server) as send:
        cases = bad(*tokens.values())
        answers = {case: await send(WHOAMI, b"", metadata=sent) for case, sent in cases.items()}
        assert {case: answer["code"] for case, answer in answers.items()} == dict.fromkeys(cases, "UNAUTHENTICATED")
        assert {info_of(answer) for answer in answers.values()} == {("UNAUTHENTICATED", "bearer token")}
        alike = ("truncated", "longer", "one letter off", "its prefix", "unknown", "revoked")
        assert len({told(answers[case]) for case in alike}) == 1
        good = await send(WHOAMI, b"", metadata=bearer(tokens["ann"]))
        assert codec.decode(Caller, base64.b64decode(good["reply"])).name == "ann"
        server.process.terminate()
        await server.ended()
    secrets = [*tokens.values(), *(hashlib.sha256(one.encode()).hexdigest() for one in tokens.values())]
    for text in (json.dumps(server.lines), json.dumps(answers)):
        assert [secret for secret in secrets if secret[4:-1] in text] == []


def info_of(answer: dict[str, Any]) -> tuple[str, str]:
    """Reason and accepted sorts of credentials, of a refusal's one detail."""
    (detail,) = status_pb2.Status.FromString(base64.b64decode(answer["details"])).details
    info = error_details_pb2.ErrorInfo()
    assert detail.Unpack(info)
    return info.reason, info.metadata["takes"]


async def test_who_has_no_credentials_learns_nothing_of_the_server_but_its_health(world: World) -> None:
    services = {method.service: path for path, method in descriptors.methods().items()}
    paths = [*services.values(), REFLECTION, "/a.Service/that", "/isNotThere"]
    answers = [await world.send(path, b"\xff" * 10) for path in paths]
    assert {told(answer) for answer in answers} == {told(answers[0])}
    assert answers[0]["code"] == "UNAUTHENTICATED"
    assert (await world.send(HEALTH, b""))["code"] == "OK"


async def test_what_a_role_may_not_call_is_refused_before_its_request_is_looked_at(world: World) -> None:
    """Not even that it cannot be read is told; who may call is told so."""
    commands = [method for method in NAMED if method.service.endswith("CommandController")]
    answers = [await world.asks("reader-acme", method, b"\xff" * 10) for method in commands]
    assert {answer["code"] for answer in answers} == {"PERMISSION_DENIED"}
    answers = [await world.asks("admin-acme", method, b"\xff" * 10) for method in commands]
    assert {answer["code"] for answer in answers} == {"INVALID_ARGUMENT"}


class Guarded(NamedTuple):
    """A server that many of these tests attack."""

    server: Listening
    file: Path
    tokens: dict[str, str]


class World:
    """A server, its tokens, a grpcio client of it, and our own client for what an attack begins with."""

    def __init__(self, guarded: Guarded, send: Send) -> None:
        (self.server, self.file, self.tokens), self.send = guarded, send
        self._channels: dict[str, Channel] = {}

    def stubs(self, name: str) -> Stubs:
        """What the caller of that name calls by."""
        if name not in self._channels:
            self._channels[name] = dial(self.server, bearer=self.tokens[name])
        return Stubs(self._channels[name])

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    async def asks(self, name: str, method: Method, body: bytes, *more: tuple[str, str]) -> dict[str, Any]:
        """The answer to the caller of that name."""
        told = {"take": 1} if method.server_streaming else {}
        sent = [*bearer(self.tokens[name]), *more]
        answer: dict[str, Any] = await self.send(method.path, body, metadata=sent, **told)
        return answer


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("guarded")
    file = directory / "tokens"
    tokens = tokens_file(file, [ROOT, ANN, *CALLERS])
    with serving("--data-dir", str(directory / "data"), "--tokens-file", str(file)) as server:
        yield Guarded(server, file, tokens)


@pytest.fixture
async def world(guarded: Guarded) -> AsyncIterator[World]:
    async with grpcio_client(guarded.server) as send:
        world = World(guarded, send)
        yield world
        world.close()


async def test_no_metadata_makes_a_caller_somebody_else_or_shows_it_more(world: World) -> None:
    foreign = await Owned(world.stubs("root"), "acme").one("Agent")
    get = descriptors.methods()["/ai.stigmer.agentic.agent.v1.AgentQueryController/get"]
    delete = descriptors.methods()["/ai.stigmer.agentic.agent.v1.AgentCommandController/delete"]
    whoami, body = descriptors.methods()[WHOAMI], codec.encode(AgentId(value=id_of(foreign)))
    harmless = ((whoami, b""), (get, body))
    plain = [await world.asks("admin-umbrella", *call) for call in (*harmless, (delete, body))]
    assert [answer["code"] for answer in plain] == ["OK", "NOT_FOUND", "NOT_FOUND"]
    claims = [(name, value) for name, value in CLAIMS.items() if isinstance(value, str) and name != "authorization"]
    claims += [
        ("host", "localhost"),
        ("x-real-ip", "127.0.0.1"),
        ("x-stigmer-peer", "loopback"),
        ("grpc-caller", "local"),
    ]
    for claim in claims:
        said = [await world.asks("admin-umbrella", *call, claim) for call in harmless]
        assert said == plain[:2], claim
    every = await world.asks("admin-umbrella", delete, body, *claims)
    assert every == plain[2]
    assert (await world.stubs("root").find_agents.get(AgentId(value=id_of(foreign)))).metadata.id == id_of(foreign)


async def test_a_guessed_id_is_answered_byte_for_byte_like_one_that_is_not_there(world: World) -> None:
    """Whatever is asked of it: the answers differ in the id alone."""
    owned, answers = Owned(world.stubs("root"), "acme"), dict[str, tuple[Any, Any]]()
    for method in NAMED:
        request, target = await request_of(method, owned)
        if target is None:  # something is made; what it refers to is another test's
            continue
        body, (_, _, there) = codec.encode(request), id_of(target).partition("-")
        if there.encode() not in body:  # it goes by the execution, or by a slug
            there = getattr(request, "execution_id", "-").partition("-")[2] or request.slug
        absent = (samples.NOBODY * 2)[: len(there)]
        guessed = await world.asks("admin-umbrella", method, body)
        missing = await world.asks("admin-umbrella", method, body.replace(there.encode(), absent.encode()))
        code, message, details = told(guessed)
        assert code == "NOT_FOUND"
        answers[method.path] = (
            told(missing),
            (
                code,
                message.replace(there, absent),
                details.replace(there.encode(), absent.encode()),
            ),
        )
    assert len(answers) > 20
    assert {path: both for path, both in answers.items() if both[0] != both[1]} == {}


async def test_a_page_token_is_its_caller_s_alone(world: World) -> None:
    owned = Owned(world.stubs("root"), "acme")
    for _ in range(2):
        await owned.make("Session")
    asked = sessions.ListSessionsRequest(page_size=1)
    asked.page_token = (await world.stubs("reader-acme").find_sessions.list(asked)).next_page_token
    assert asked.page_token
    assert len((await world.stubs("reader-acme").find_sessions.list(asked)).entries) == 1
    for name in ("reader-umbrella", "editor-acme", "reader-all", "admin-all"):
        await invalid(world.stubs(name).find_sessions.list(asked), "page_token")


async def test_a_tokens_file_that_is_replaced_under_load_lets_in_whom_it_names_and_nobody_else(
    world: World,
) -> None:
    file, calls, stop = world.file, 0, asyncio.Event()
    whole, without = file.read_text(), "".join(line_of(one, world.tokens[one.name]) for one in (ROOT, ANN))

    async def calling() -> None:
        nonlocal calls
        while not stop.is_set():
            assert (await world.stubs("ann").callers.whoami()).name == "ann"
            calls += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(calling())
        for text in ("nonsense", whole, without, "\x00", whole) * 4:
            replace(file, text)
            enough = calls + 20
            await until(lambda: calls >= enough)  # noqa: B023 - called within this turn alone
        replace(file, without)
        while await code_of(world.stubs("reader-acme").callers.whoami()) == "OK":
            pass  # the file is looked at again and again
        stop.set()
    assert await code_of(world.stubs("reader-acme").callers.whoami()) == "UNAUTHENTICATED"
    replace(file, whole)


def replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(file)


async def code_of(call: Awaitable[Any]) -> str:
    try:
        await call
    except GRPCError as error:
        return error.status.name
    return "OK"


DIGEST = "0" * 64
WIDE = {
    "for all to read": (0o644, f"ann:editor:acme::{DIGEST}", "chmod"),
    "of the server itself": (0o600, f"internal:admin:*::{DIGEST}", "internal"),
}


def test_a_tokens_file_that_would_let_in_more_than_it_says_starts_no_server(tmp_path: Path) -> None:
    starts = dict[str, subprocess.Popen[str]]()
    for what, (mode, line, _) in WIDE.items():
        file = tmp_path / what
        file.write_text(f"{line}\n")
        file.chmod(mode)
        flags = ["--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / f"data {what}"), "--tokens-file", str(file)]
        starts[what] = subprocess.Popen([sys.executable, "-m", "stigmer", "serve", *flags], stderr=PIPE, text=True)
    for what, (_, _, says) in WIDE.items():
        _, said = starts[what].communicate(timeout=100)
        (refusal,) = [line for line in said.splitlines() if line.startswith("stigmer: ")]
        assert (starts[what].returncode, says in refusal) == (1, True), said
