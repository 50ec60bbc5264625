"""Executions: status reports that grow with the transcript, and an execution that makes its session."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import stigmer
from benchmarks import load, messages, outside, servers
from benchmarks.load import Calls, Sample
from benchmarks.local import repeat
from benchmarks.rounds import Row, interleave
from benchmarks.wire import Wire
from stigmer import rpc
from stigmer.wire import codec

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.scenarios import Bench
    from benchmarks.servers import Running

FEW, MANY = 16, 1_600
MESSAGE_BYTES = 200
CALLERS = 16


def executions(bench: Bench) -> dict[str, Row]:
    """Reports of few and many messages over TCP and in process, and creates beside those of a context."""
    seconds = bench.size.seconds
    with servers.stigmer(bench.directory / "executions") as server:
        agent_id, reports = _prepared(server)
        creates = Calls(messages.CREATE_EXECUTION, (messages.execution("e", agent_id),), CALLERS, seconds)
        contexts = Calls(messages.CREATE, (), CALLERS, seconds)
        keyed = replace(contexts, keyed=True)
        taken = interleave(
            bench.size,
            {
                "many": partial(bench.sample, outside.unary, server, _reporting(reports[MANY], seconds)),
                "few": partial(bench.sample, outside.unary, server, _reporting(reports[FEW], seconds)),
                "create": partial(bench.sample, load.unary, server, creates),
                "context": partial(bench.sample, load.unary, server, contexts),
                "keyed": partial(bench.sample, load.unary, server, keyed),
                "many in process": partial(bench.sample, in_process, bench.directory / "reports-many", MANY, seconds),
                "few in process": partial(bench.sample, in_process, bench.directory / "reports-few", FEW, seconds),
            },
        )
    title, floor = f"updateStatus, {MANY:,} messages of {MESSAGE_BYTES} bytes", f"the same with {FEW}"
    create = f"AgentExecution.create with its new session, {CALLERS} callers"
    return {
        "report": Row(f"{title}, grpcio.aio as the client", "calls", floor, taken["many"], taken["few"]),
        "report in process": Row(
            f"{title}, in process, as objects", "calls", floor, taken["many in process"], taken["few in process"]
        ),
        "create execution": Row(create, "calls", "create of a context", taken["create"], taken["context"]),
        "create keyed": Row(
            f"create of a context with an idempotency key, {CALLERS} callers",
            "calls",
            "the same without",
            taken["keyed"],
            taken["context"],
        ),
    }


def _reporting(body: bytes, seconds: float) -> Calls:
    return Calls(messages.UPDATE_STATUS, (body,), 1, seconds)


def _prepared(server: Running) -> tuple[str, dict[int, bytes]]:
    """An agent's id, and reports on executions of it by their number of messages."""
    with Wire(server.address) as wire:
        request = messages.agent(f"a{secrets.token_hex(4)}")
        agent_id = messages.parsed(messages.AGENT, wire.unary(messages.CREATE_AGENT, request)).metadata.id
        reports: dict[int, bytes] = {}
        for number in (FEW, MANY):
            made = wire.unary(messages.CREATE_EXECUTION, messages.execution("e", agent_id))
            id_ = messages.parsed(messages.EXECUTION, made).metadata.id
            reports[number] = messages.transcript(id_, number, MESSAGE_BYTES)
        return agent_id, reports


def in_process(directory: Path, number: int, seconds: float) -> Sample:
    """Reports of so many messages by one caller, who makes them and reads what comes back; "server" is all of it."""
    return asyncio.run(_in_process(directory, number, seconds))


async def _in_process(directory: Path, number: int, seconds: float) -> Sample:
    async with stigmer.embedded(directory) as plane:
        agents: Any = rpc.AgentCommandControllerStub(plane.channel)
        commands: Any = rpc.AgentExecutionCommandControllerStub(plane.channel)
        agent = await agents.create(_object(messages.AGENT, messages.agent(f"a{secrets.token_hex(4)}")))
        made = await commands.create(_object(messages.EXECUTION, messages.execution("e", agent.metadata.id)))
        body = messages.transcript(made.metadata.id, number, MESSAGE_BYTES)
        costs: list[float] = []

        async def report() -> None:
            began = time.process_time()
            after = await commands.update_status(_object(messages.REPORT, body))
            if [one.content for one in after.status.messages][-1][:1] != "x":
                raise load.Failed("the transcript is not what was reported")
            costs.append(time.process_time() - began)

        taken = await repeat(report, seconds)
        return Sample(taken.rate, taken.p50_ms, server_us=median(costs) * 1e6)


def _object(full_name: str, data: bytes) -> Any:
    return codec.from_wire(messages.parsed(full_name, data))
