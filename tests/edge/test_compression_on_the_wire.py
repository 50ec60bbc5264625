"""Compressed calls of a served process, from grpcio and frame by frame.

The attack: one gzip'd request was answered UNKNOWN with 5 kB of traceback; a bomb is 10 MB that inflate to 10 GB.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import random
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Stubs, agents, executions, id_of
from edge_sockets import dial, grpcio_client
from served_process import served
from server_wire import connect, message

from stigmer.wire import codec

if TYPE_CHECKING:
    from pathlib import Path

    from served_process import Listening
    from server_wire import Wire

CREATE = "/ai.stigmer.agentic.agent.v1.AgentCommandController/create"
GET = "/ai.stigmer.agentic.agent.v1.AgentQueryController/get"
SUBSCRIBE = "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/subscribe"
CHECK = "/grpc.health.v1.Health/Check"
ACCEPTED = "identity,deflate,gzip"
MIB = 2**20

_words = random.Random(7)


def prose(size: int) -> str:
    """Text that shrinks to half."""
    return " ".join(map(str, _words.choices(range(10_000), k=size // 4)))[:size]


def noise(size: int) -> str:
    """Text that does not shrink by a quarter."""
    return "".join(map(chr, _words.choices(range(0x21, 0x7F), k=size)))


@pytest.fixture(params=["--uvloop", "--no-uvloop"])
def uvloop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def made(server: Listening, instructions: str) -> Any:
    """An agent of that length, made without compression."""
    channel = dial(server)
    try:
        return await Stubs(channel).agents.create(samples.agent(instructions))
    finally:
        channel.close()


def get(wire: Wire, agent: Any, accepted: str | None) -> int:
    request = codec.encode(agents.AgentId(value=id_of(agent)))
    return wire.request(message(request), path=GET, headers={"grpc-accept-encoding": accepted})


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
async def test_grpcio_compresses_a_call_or_a_whole_channel(server_on_each_loop: Listening, compression: str) -> None:
    for whole, single in (("", compression), (compression, "")):
        async with grpcio_client(server_on_each_loop, whole) as send:
            for size in (20, 5_000, 300_000, 2 * MIB):
                agent = samples.agent(prose(size))
                answer = await send(CREATE, codec.encode(agent), compression=single)
                assert answer["code"] == "OK", answer
                kept: Any = codec.decode(agents.Agent, base64.b64decode(answer["reply"]))
                assert kept.spec.instructions == agent.spec.instructions
                request = codec.encode(agents.AgentId(value=id_of(kept)))
                assert (await send(GET, request, compression=single))["reply"] == answer["reply"]


async def test_a_large_reply_is_compressed_for_who_takes_it(server_on_each_loop: Listening) -> None:
    async with connect(server_on_each_loop) as wire:
        agent = await made(server_on_each_loop, prose(300_000))
        plain, packed = get(wire, agent, None), get(wire, agent, ACCEPTED)
        assert [await wire.status(one) for one in (plain, packed)] == ["0", "0"]
    sent, data = wire.data(plain), wire.data(packed)
    assert "grpc-encoding" not in wire.headers(plain)
    assert wire.headers(plain)["grpc-accept-encoding"] == ACCEPTED
    assert wire.headers(packed)["grpc-encoding"] == "gzip"
    assert (data[0], int.from_bytes(data[1:5], "big")) == (1, len(data) - 5)
    assert gzip.decompress(data[5:]) == sent[5:]
    assert len(data) < len(sent) * 0.6


@pytest.mark.parametrize(
    ("instructions", "accepted"),
    [
        (prose(300_000), "identity,deflate"),
        (prose(300_000), None),
        (prose(1_000), ACCEPTED),
        (noise(300_000), ACCEPTED),
    ],
    ids=["another client", "a client that does not say", "a small reply", "a reply that does not shrink"],
)
async def test_no_other_reply_is(server: Listening, instructions: str, accepted: str | None) -> None:
    async with connect(server) as wire:
        agent = await made(server, instructions)
        assert await wire.status(got := get(wire, agent, accepted)) == "0"
    assert wire.data(got)[0] == 0
    assert "grpc-encoding" not in wire.headers(got)


async def test_what_goes_to_many_followers_is_sent_as_it_is_stored(server: Listening) -> None:
    async with connect(server) as wire:
        channel = dial(server)
        stubs = Stubs(channel)
        agent = await stubs.agents.create(samples.agent())
        execution = await stubs.executions.create(samples.agent_execution(agent_id=id_of(agent)))
        await stubs.report(id_of(execution), error=prose(100_000), phase=executions.ExecutionPhase.EXECUTION_FAILED)
        channel.close()
        request = message(codec.encode(executions.AgentExecutionId(value=id_of(execution))))
        follow = wire.request(request, path=SUBSCRIBE, headers={"grpc-accept-encoding": ACCEPTED})
        assert await wire.status(follow) == "0"
    assert wire.data(follow)[0] == 0
    assert len(wire.data(follow)) > 90_000


REFUSED: dict[str, tuple[bytes, str | None, str]] = {
    "an unknown encoding": (message(b"x", compressed=True), "snappy", "12"),
    "no encoding": (message(gzip.compress(b""), compressed=True), None, "13"),
    "none by name": (message(gzip.compress(b""), compressed=True), "identity", "13"),
    "not what it says": (message(zlib.compress(b""), compressed=True), "gzip", "3"),
    "noise": (message(bytes(range(256)), compressed=True), "gzip", "3"),
    "cut short": (message(gzip.compress(b"hello")[:-1], compressed=True), "gzip", "3"),
    "the stream cut short": (message(b"", size=20, compressed=True), "gzip", "3"),
    "empty": (message(b"", compressed=True), "gzip", "3"),
    "over the limit as it comes": (message(b"", size=11 * MIB, compressed=True), "gzip", "8"),
    "over the limit when inflated": (message(gzip.compress(bytes(11 * MIB)), compressed=True), "gzip", "8"),
    "a message that is none": (message(gzip.compress(b"\xff"), compressed=True), "gzip", "3"),
}


async def test_what_cannot_be_inflated_is_refused_and_harms_nobody(tmp_path: Path, uvloop: str) -> None:
    async with served(tmp_path, uvloop) as server, connect(server) as wire:
        for name, (body, encoding, code) in REFUSED.items():
            refused = wire.request(body, path=GET, headers={"grpc-encoding": encoding})
            assert (await wire.status(refused)).split()[0] == code, name
            assert wire.headers(refused)["grpc-accept-encoding"] == ACCEPTED, name
            line = await server.logged("call")
            assert (line["method"], line["level"]) == (GET, "info"), "no caller can fill the log with errors"
            assert await wire.status(checked(wire)) == "0", name


def checked(wire: Wire) -> int:
    """A compressed call of a service that is not stigmer's own."""
    return wire.request(message(gzip.compress(b""), compressed=True), path=CHECK, headers={"grpc-encoding": "gzip"})


async def test_an_encoding_that_no_message_uses_is_none(server: Listening) -> None:
    async with connect(server) as wire:
        assert await wire.status(wire.request(message(b""), path=CHECK, headers={"grpc-encoding": "snappy"})) == "0"


def bomb(chunk: int, times: int) -> bytes:
    """Zeros, as gzip, of which only the end is missing; each chunk is a block of its own."""
    work = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = work.compress(b"x") + work.flush(zlib.Z_FULL_FLUSH)
    block = work.compress(bytes(chunk)) + work.flush(zlib.Z_FULL_FLUSH)
    return head + block * times


async def test_bombs_take_no_memory_and_no_time_of_others(tmp_path: Path, uvloop: str) -> None:
    large, small = bomb(10 * MIB, 1000), bomb(MIB, 50)
    assert len(small) < 60_000 < len(large) < 11 * MIB
    async with served(tmp_path, uvloop) as server, connect(server) as wire, connect(server) as other:
        assert await other.status(checked(other)) == "0"
        before = server.forget_peak()
        headers = {"grpc-encoding": "gzip"}
        exploding = asyncio.create_task(exploded(wire, [small] * 40, headers))
        for _ in range(50):
            assert await asyncio.wait_for(other.status(checked(other)), 30) == "0"
        assert {code.split()[0] for code in await exploding} == {"8"}
        assert (await exploded(wire, [large], headers))[0].startswith("8 ")
        assert server.memory_bytes("VmHWM") - before < 100 * MIB


async def exploded(wire: Wire, bombs: list[bytes], headers: dict[str, str]) -> list[str]:
    """What becomes of them."""
    sent = [await wire.large_request(message(one, compressed=True), path=GET, headers=headers) for one in bombs]
    return [await wire.status(one) for one in sent]
