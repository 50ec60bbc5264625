"""Who calls by which socket: a Unix socket, TLS with or without a certificate, plain TCP; on both loops."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import certificates
import pytest
from bearing import token, tokens_file
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from served_process import served

from stigmer import rpc
from stigmer.rpc import CallerQueryControllerStub
from stigmer.types import (
    Agent,
    AgentExecution,
    AgentExecutionId,
    AgentExecutionSpec,
    AgentSpec,
    ApiResourceMetadata,
    ApiResourceOwnerScope,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grpclib.client import Channel
    from served_process import Served

LOOPS = pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
API = "agentic.stigmer.ai/v1"
SECRET = "stg_of-a-reader"
BEARER = {"authorization": f"Bearer {SECRET}"}
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")

STRANGER = """
import os, sys, grpc, grpc._channel
os.setgroups([]); os.setgid(12345); os.setuid(12345)
channel = grpc.insecure_channel(sys.argv[1])
whoami = channel.unary_unary("/ai.stigmer.iam.caller.v1.CallerQueryController/whoami")
try:
    print("OK", b"ann" in whoami(b"", timeout=30, metadata=[tuple(pair.split("=")) for pair in sys.argv[2:]]))
except grpc.RpcError as error:
    print(error.code().name)
"""


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return tokens_file(tmp_path / "tokens", token(SECRET, "ann", "reader"))


async def whoami(channel: Channel, metadata: dict[str, str] | None = None) -> str:
    async with channel:
        try:
            return (await CallerQueryControllerStub(channel).whoami(metadata=metadata)).name
        except GRPCError as error:
            return error.status.name


def by_tcp(server: Served, **more: object) -> Channel:
    return rpc.channel(f"localhost:{server.address[1]}", **more)  # type: ignore[arg-type]  # tls alone


def as_stranger(path: Path, *metadata: str) -> str:
    """What another user is told."""
    command = [sys.executable, "-c", STRANGER, f"unix:{path}", *metadata]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@LOOPS
async def test_without_authenticators_all_callers_of_this_machine_are_local(tmp_path: Path, loop: str) -> None:
    path = tmp_path / "s.sock"
    async with served(tmp_path, loop, "--listen", "127.0.0.1:0", "--listen", f"unix:{path}") as server:
        assert await whoami(rpc.channel(f"unix:{path}")) == "local"
        assert await whoami(by_tcp(server)) == "local"


@LOOPS
async def test_beside_tokens_the_servers_own_user_is_local_by_a_unix_socket(
    tmp_path: Path, tokens: Path, loop: str
) -> None:
    path = tmp_path / "s.sock"
    flags = (loop, "--tokens-file", str(tokens), "--listen", "127.0.0.1:0", "--listen", f"unix:{path}")
    async with served(tmp_path, *flags) as server:
        assert await whoami(rpc.channel(f"unix:{path}")) == "local"
        assert await whoami(by_tcp(server)) == "UNAUTHENTICATED"
        assert await whoami(by_tcp(server), BEARER) == "ann"


@AS_ROOT
@LOOPS
async def test_another_user_is_kept_out_or_asked_for_credentials(tmp_path: Path, tokens: Path, loop: str) -> None:
    """The directories of pytest are for their owner alone, so that this one is elsewhere."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "s.sock"
        await asyncio.to_thread(path.parent.chmod, 0o755)
        async with served(tmp_path, loop, "--tokens-file", str(tokens), "--listen", f"unix:{path}"):
            assert as_stranger(path) == "UNAVAILABLE"
            await asyncio.to_thread(path.chmod, 0o666)
            assert as_stranger(path) == "UNAUTHENTICATED"
            assert as_stranger(path, f"authorization=Bearer {SECRET}") == "OK True"


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.make(tmp_path_factory.mktemp("pems"))


def tls_flags(pems: Path, directory: Path) -> tuple[str, ...]:
    file = directory / "certificates"
    file.touch(mode=0o600)
    file.write_text("bob:editor:acme::DNS:localhost\n")
    names = {"cert": "server.pem", "key": "server.key", "client-ca": "ca.pem"}
    flags = [part for name, pem in names.items() for part in (f"--tls-{name}", str(pems / pem))]
    return (*flags, "--certificates-file", str(file))


@LOOPS
async def test_beside_tokens_a_certificate_is_asked_for_and_not_required(
    tmp_path: Path, tokens: Path, pems: Path, loop: str
) -> None:
    showing = rpc.tls_context(pems / "ca.pem", cert=pems / "client.pem", key=pems / "client.key")
    bare = rpc.tls_context(pems / "ca.pem")
    async with served(tmp_path, loop, "--tokens-file", str(tokens), *tls_flags(pems, tmp_path)) as server:
        assert await whoami(by_tcp(server, tls=showing)) == "cert:bob"
        assert await whoami(by_tcp(server, tls=bare)) == "UNAUTHENTICATED"
        assert await whoami(by_tcp(server, tls=bare), BEARER) == "ann"
        assert await whoami(by_tcp(server, tls=showing), BEARER) == "ann"  # what the call brings goes first
        assert await whoami(by_tcp(server, tls=showing), {"authorization": "Bearer stg_x"}) == "UNAUTHENTICATED"


@LOOPS
async def test_alone_a_certificate_is_required(tmp_path: Path, pems: Path, loop: str) -> None:
    showing = rpc.tls_context(pems / "ca.pem", cert=pems / "client.pem", key=pems / "client.key")
    async with served(tmp_path, loop, *tls_flags(pems, tmp_path)) as server:
        assert await whoami(by_tcp(server, tls=showing)) == "cert:bob"
        with pytest.raises((OSError, StreamTerminatedError)):
            async with by_tcp(server, tls=rpc.tls_context(pems / "ca.pem")) as channel:
                await CallerQueryControllerStub(channel).whoami()


OFTEN = "from stigmer.edge import running; running.RECHECK_S = 0.1; from stigmer.cli import main; main()"


async def followed(channel: Channel) -> AsyncIterator[AgentExecution]:
    """A stream that has begun, of an execution that goes on."""
    metadata = ApiResourceMetadata(name="Helper", org="acme", owner_scope=ApiResourceOwnerScope.organization)
    agent = await rpc.AgentCommandControllerStub(channel).create(
        Agent(api_version=API, kind="Agent", metadata=metadata, spec=AgentSpec(instructions="Answer in a sentence."))
    )
    assert agent.metadata
    execution = await rpc.AgentExecutionCommandControllerStub(channel).create(
        AgentExecution(
            api_version=API,
            kind="AgentExecution",
            metadata=ApiResourceMetadata(name="Run"),
            spec=AgentExecutionSpec(agent_id=agent.metadata.id, message="Go"),
        )
    )
    assert execution.metadata
    states = rpc.AgentExecutionQueryControllerStub(channel).subscribe(AgentExecutionId(execution.metadata.id))
    await anext(states)
    return states


async def test_a_stream_ends_when_its_certificate_is_mapped_to_nobody_any_more(tmp_path: Path, pems: Path) -> None:
    showing = rpc.tls_context(pems / "ca.pem", cert=pems / "client.pem", key=pems / "client.key")
    async with (
        served(tmp_path, *tls_flags(pems, tmp_path), program=OFTEN) as server,
        by_tcp(server, tls=showing) as channel,
    ):
        states = await followed(channel)
        await asyncio.to_thread((tmp_path / "certificates").write_text, "# nobody\n")
        with pytest.raises(GRPCError, match="have expired or were revoked") as ended:
            await asyncio.wait_for(anext(states), 60)
        assert ended.value.status is Status.UNAUTHENTICATED
        assert await whoami(by_tcp(server, tls=showing)) == "UNAUTHENTICATED"


@pytest.mark.long
async def test_a_stream_ends_when_its_certificate_expires(tmp_path: Path, pems: Path) -> None:
    """Fifteen seconds, which is what the certificate lasts: enough for a loaded machine to begin the stream."""
    async with served(tmp_path, *tls_flags(pems, tmp_path), program=OFTEN) as server:
        certificate, key = await asyncio.to_thread(certificates.short_lived, pems, 15)
        async with by_tcp(server, tls=rpc.tls_context(pems / "ca.pem", cert=certificate, key=key)) as channel:
            states = await followed(channel)
            with pytest.raises(GRPCError, match="have expired or were revoked") as ended:
                await asyncio.wait_for(anext(states), 60)
            assert ended.value.status is Status.UNAUTHENTICATED
            with pytest.raises(GRPCError, match="has expired"):  # by the connection that is open still
                await CallerQueryControllerStub(channel).whoami()


@LOOPS
async def test_a_certificate_whose_name_is_no_text_is_no_connection(
    tmp_path: Path, tokens: Path, pems: Path, loop: str
) -> None:
    """With a good token, too."""
    bad = rpc.tls_context(pems / "ca.pem", cert=pems / "odd.pem", key=pems / "odd.key")
    async with served(tmp_path, loop, "--tokens-file", str(tokens), *tls_flags(pems, tmp_path)) as server:
        with pytest.raises((OSError, StreamTerminatedError)):
            async with by_tcp(server, tls=bad) as channel:
                await CallerQueryControllerStub(channel).whoami(metadata=BEARER)
        assert await whoami(by_tcp(server, tls=rpc.tls_context(pems / "ca.pem")), BEARER) == "ann"
