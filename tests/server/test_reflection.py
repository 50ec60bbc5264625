"""Reflection as grpcurl and grpcio's own client use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from stigmer.server import health, reflection
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from server_rig import Serve, Start

OURS = "ai.stigmer.agentic.agent.v1.AgentCommandController"


async def nothing() -> None:
    return None


def test_custom_options_survive() -> None:
    sent = FileDescriptorProto.FromString(descriptors.file_bytes(descriptors.POOL.FindServiceByName(OURS).file.name))
    assert sent.service[0].options.ByteSize()
    assert b"owner_scope.allowed" in descriptors.file_bytes("ai/stigmer/agentic/agentexecution/v1/api.proto")


def test_comments_are_sent_too() -> None:
    file = FileDescriptorProto.FromString(descriptors.file_bytes("ai/stigmer/agentic/agent/v1/command.proto"))
    said = {tuple(one.path): one.leading_comments.strip() for one in file.source_code_info.location}
    assert said[(6, 0)] == "Changes agents."  # the first service
    methods = [said[(6, 0, 2, number)] for number in range(len(file.service[0].method))]
    assert len(methods) == 4
    assert all(methods)


async def test_grpcio_s_client_resolves_every_service(serve: Serve, peer: Start) -> None:
    names = [OURS, health.NAME]
    monitor = health.Monitor(nothing)
    async with serve(monitor, *reflection.services(names)) as server:
        asked = [OURS, health.NAME, *reflection.NAMES]
        listed, *found = await (await peer("reflection", server, ",".join(asked))).lines()
        assert listed.split() == sorted(asked)
        assert [line.split()[0] for line in found] == asked


async def test_v1_answers_with_every_dependency_and_extension(serve: Serve, peer: Start) -> None:
    names = [OURS, health.NAME]
    async with serve(*reflection.services(names)) as server:
        lines = await (await peer("reflection_v1", server, ",".join([*names, *reflection.NAMES]))).lines()
        files = lines[0].split()
        assert {"buf/validate/validate.proto", "google/protobuf/timestamp.proto"} <= set(files)
        assert {"grpc/health/v1/health.proto", "grpc/reflection/v1/reflection.proto"} <= set(files)
        first, *imported = lines[1].split()  # of a method, its file comes first, then all that one needs to read it
        assert first == "ai/stigmer/agentic/agent/v1/command.proto"
        assert set(imported) < set(files)
        assert {"ai/stigmer/agentic/agent/v1/api.proto", "google/protobuf/descriptor.proto"} <= set(imported)
        assert lines[2:5] == ["error 5"] * 3
        assert "1159" in lines[5].split()
