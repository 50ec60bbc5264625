"""What a start costs, a subscription that is told nothing, and how far a server of the C core is that does nothing."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import echo_server, messages, servers
from benchmarks.rounds import Row, interleave
from benchmarks.wire import Wire

if TYPE_CHECKING:
    from benchmarks.scenarios import Bench

CONNECTIONS, STREAMS_EACH = 4, 250
GRPCIO = "bare grpcio.aio echo"


def beside_grpcio(bench: Bench) -> dict[str, Row]:
    """Get and create beside a server of the C core that does nothing."""
    data, ids = bench.filled("beside-grpcio", bench.size.few)
    gets = tuple(messages.get(id_) for id_ in ids)
    with servers.stigmer(data) as server, servers.grpcio_echo() as echo:
        variants = {
            "get": bench.calls(server, messages.GET, gets, 64),
            "create": bench.calls(server, messages.CREATE, (), 64),
            "echo": bench.calls(echo, echo_server.EMPTY, (b"",), 64),
        }
        taken = interleave(bench.size, variants)
    return {
        f"beside grpcio {name}": Row(f"{name}, 64 callers", "calls", GRPCIO, taken[name], taken["echo"])
        for name in ("get", "create")
    }


def _agent(wire: Wire) -> str:
    request = messages.agent(f"a{secrets.token_hex(4)}")
    id_: str = messages.parsed(messages.AGENT, wire.unary(messages.CREATE_AGENT, request)).metadata.id
    return id_


def _execution(wire: Wire) -> str:
    reply = wire.unary(messages.CREATE_EXECUTION, messages.execution("e", _agent(wire)))
    id_: str = messages.parsed(messages.EXECUTION, reply).metadata.id
    return id_


@dataclass(frozen=True)
class Start:
    """What a start of the command takes, medians.

    Attributes:
        serving_s: from the command to a server that listens.
        help_s: `stigmer --help`, from its start to its end.
        memory_mb: of a server that has just started.
        subscriber_kb: what a subscription adds that nothing is told of; of `STREAMS_EACH` on each connection.
    """

    serving_s: float
    help_s: float
    memory_mb: float
    subscriber_kb: float


def starts(bench: Bench) -> Start:
    """Start the command a few times."""
    serving, memory = zip(*(_served(bench, number) for number in range(bench.size.rounds)), strict=True)
    helped = [_helped() for _ in range(bench.size.rounds)]
    subscribers = _subscriber_kb(bench)
    return Start(median(serving), median(helped), median(memory), subscribers)


def _served(bench: Bench, number: int) -> tuple[float, float]:
    began = time.perf_counter()
    with servers.stigmer(bench.directory / f"start-{number}") as server:
        return time.perf_counter() - began, _memory_kb(server.pid) / 1024


def _helped() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "stigmer", "--help"], stdout=subprocess.DEVNULL, check=True, cwd=servers.ROOT)
    return time.perf_counter() - began


def _subscriber_kb(bench: Bench) -> float:
    """Memory by subscription, the second thousand beside the first, which has the allocator grow."""
    with servers.stigmer(bench.directory / "subscribers") as server:
        with Wire(server.address) as wire:
            body = messages.get(_execution(wire))
        wires: list[Wire] = []
        held: list[float] = []
        each = min(STREAMS_EACH, bench.size.streams)
        for _ in range(2):
            wires += [_following(server.address, body, each) for _ in range(CONNECTIONS)]
            held.append(_memory_kb(server.pid))
        for wire in wires:
            wire.socket.close()
    return (held[1] - held[0]) / (CONNECTIONS * each)


def _following(address: tuple[str, int], body: bytes, streams: int) -> Wire:
    wire = Wire(address)
    for _ in range(streams):
        wire.call(messages.SUBSCRIBE, body)
    wire.flush()
    told = 0
    while told < streams:
        told += len(wire.receive())
        wire.flush()
    return wire


def _memory_kb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024
