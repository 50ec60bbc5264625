"""Reflection as grpcurl and grpcio's own client use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from stigmer import health, reflection
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from transport_rig import Serve, Start

OURS = "ai.stigmer.agentic.agent.v1.AgentCommandController"


async def nothing() -> None:
    return None


def test_custom_options_survive() -> None:
    file = reflection.LayeredPool(descriptors.POOL).FindFileContainingSymbol(OURS)
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    assert proto.SerializeToString(deterministic=True) == FileDescriptorProto.FromString(
        file.serialized_pb
    ).SerializeToString(deterministic=True)


def test_a_method_is_a_symbol_too() -> None:
    pool = reflection.LayeredPool(descriptors.POOL)
    service = descriptors.POOL.FindServiceByName(OURS)
    assert pool.FindFileContainingSymbol(service.methods[0].full_name).name == service.file.name
    with pytest.raises(KeyError):
        pool.FindFileContainingSymbol("nothing")


async def test_grpcio_s_client_resolves_every_service(serve: Serve, peer: Start) -> None:
    names = [OURS, health.NAME]
    monitor = health.Monitor(nothing)
    async with serve(monitor, *reflection.services(names, descriptors.POOL)) as server:
        asked = [OURS, health.NAME, *reflection.NAMES]
        listed, *found = await (await peer("reflection", server, ",".join(asked))).lines()
        assert listed.split() == sorted(asked)
        assert [line.split()[0] for line in found] == asked


async def test_v1_answers_with_every_dependency_and_extension(serve: Serve, peer: Start) -> None:
    names = [OURS, health.NAME]
    async with serve(*reflection.services(names, descriptors.POOL)) as server:
        lines = await (await peer("reflection_v1", server, ",".join([*names, *reflection.NAMES]))).lines()
        files = lines[0].split()
        assert {"buf/validate/validate.proto", "google/protobuf/timestamp.proto"} <= set(files)
        assert {"grpclib/health/v1/health.proto", "grpclib/reflection/v1/reflection.proto"} <= set(files)
        assert lines[1:4] == ["error 5"] * 3
        assert "1159" in lines[4].split()
