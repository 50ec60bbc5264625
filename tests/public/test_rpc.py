"""`stigmer.rpc`: channels to a server, in plain text and over TLS, and the stubs on them."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import certificates
import pytest
import samples
from edge_sockets import listening
from google.rpc.error_details_pb2 import BadRequest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer import rpc
from stigmer.types import Agent, AgentId
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from pathlib import Path

    from grpclib.client import Channel

    from stigmer.server.server import Server


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.make(tmp_path_factory.mktemp("pems"))


def channel(server: Server, *, tls: ssl.SSLContext | bool = False) -> Channel:
    return rpc.channel(f"localhost:{server.address[1]}", tls=tls)


def test_there_is_a_stub_for_every_service() -> None:
    services = {method.service.rpartition(".")[2] for method in descriptors.methods().values()}
    assert {name for name in vars(rpc) if name.endswith("Stub")} == {f"{name}Stub" for name in services}


async def test_a_channel_leads_to_the_server_and_brings_the_details_of_errors(tmp_path: Path) -> None:
    async with listening(tmp_path) as (server, _), channel(server) as plane:
        made = await rpc.AgentCommandControllerStub(plane).create(samples.agent(name="Writer"))
        assert made.metadata
        assert await rpc.AgentQueryControllerStub(plane).get(AgentId(made.metadata.id)) == made
        with pytest.raises(GRPCError) as caught:
            await rpc.AgentCommandControllerStub(plane).create(Agent())
        assert caught.value.status is Status.INVALID_ARGUMENT
        (detail,) = caught.value.details
        assert isinstance(detail, BadRequest)
        assert [broken.field for broken in detail.field_violations] == ["api_version", "kind", "metadata", "spec"]


async def test_a_channel_speaks_tls_with_a_certificate_where_the_server_wants_one(tmp_path: Path, pems: Path) -> None:
    files = {"tls_cert": pems / "server.pem", "tls_key": pems / "server.key", "tls_client_ca": pems / "ca.pem"}
    known = await asyncio.to_thread(
        rpc.tls_context, pems / "ca.pem", cert=pems / "client.pem", key=str(pems / "client.key")
    )
    async with listening(tmp_path, **files) as (server, _), channel(server, tls=known) as plane:
        assert (await rpc.AgentCommandControllerStub(plane).create(samples.agent())).metadata


async def test_a_channel_trusts_no_authority_that_it_was_not_told_of(tmp_path: Path, pems: Path) -> None:
    system = await asyncio.to_thread(rpc.tls_context)
    files = {"tls_cert": pems / "server.pem", "tls_key": pems / "server.key"}
    async with listening(tmp_path, **files) as (server, _), channel(server, tls=system) as plane:
        with pytest.raises(ssl.SSLCertVerificationError):
            await rpc.AgentQueryControllerStub(plane).get(AgentId("agt-1"))


def test_files_that_are_no_certificates_are_refused(pems: Path) -> None:
    with pytest.raises(OSError, match=r"NO_CERTIFICATE_OR_CRL_FOUND|no certificate"):
        rpc.tls_context(pems / "nonsense.pem")
    with pytest.raises(OSError, match=r"mismatch|MISMATCH"):
        rpc.tls_context(pems / "ca.pem", cert=pems / "client.pem", key=pems / "server.key")
    for missing in ({"ca": "none.pem"}, {"cert": "none.pem"}, {"cert": pems / "client.pem", "key": "none.pem"}):
        with pytest.raises(FileNotFoundError, match=r"'none\.pem'"):
            rpc.tls_context(**missing)


async def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="not HOST:PORT"):
        rpc.channel("localhost")


async def test_the_codec_takes_the_messages_of_google_protobuf_too() -> None:
    codec = rpc.Codec()
    detail = BadRequest(field_violations=[BadRequest.FieldViolation(field="x")])
    assert codec.decode(codec.encode(detail, BadRequest), BadRequest) == detail
    with pytest.raises(TypeError, match="the method wants Agent, not BadRequest"):
        codec.encode(detail, Agent)
