"""kill -9 while callers race with one idempotency key: they all get one reply in the end, and one thing is made."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import id_of
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from served_process import Served, served

from stigmer import rpc, types

if TYPE_CHECKING:
    from pathlib import Path

LONG = (pytest.mark.long, pytest.mark.timeout(7200))
RACERS = 16
LATEST_KILL_S = 0.06
"""About as long as the server takes for all of them on a busy machine."""


class Round:
    """One key, sent by many callers to one server after another."""

    def __init__(self, number: int, agent_id: str) -> None:
        self.number = number
        self._execution = samples.agent_execution(agent_id=agent_id, labels={"round": str(number)})
        self._execution.spec.runtime_env = {"TOKEN": types.ExecutionValue(value="s3cret", is_secret=True)}
        self.replies: list[Any] = []

    async def race(self, server: Served) -> None:
        """Every caller calls once; what is answered is noted, before the server dies as well."""
        async with rpc.channel(address_of(server)) as channel:
            stub = rpc.AgentExecutionCommandControllerStub(channel)
            metadata = {"idempotency-key": f"round-{self.number}"}

            async def call() -> None:
                try:
                    self.replies.append(await stub.create(self._execution, metadata=metadata))
                except (StreamTerminatedError, OSError):
                    return  # the server is gone
                except GRPCError as error:
                    if error.status is not Status.UNAVAILABLE:
                        raise

            await asyncio.gather(*(call() for _ in range(RACERS)))


def address_of(server: Served) -> str:
    host, port = server.address
    return f"{host}:{port}"


async def made_in(server: Served, number: int) -> tuple[list[str], int]:
    """The executions of a round, and how many sessions there are of all rounds."""
    async with rpc.channel(address_of(server)) as channel:
        executions = rpc.AgentExecutionQueryControllerStub(channel)
        asked = types.ListAgentExecutionsRequest(label_selector=f"round={number}")
        found = [one.metadata.id for one in (await executions.list(asked)).entries if one.metadata]
        sessions = await rpc.SessionQueryControllerStub(channel).list(types.ListSessionsRequest(page_size=1))
    return found, sessions.total_pages


@pytest.mark.parametrize("rounds", [1, pytest.param(500, marks=LONG)])
async def test_racing_callers_of_a_server_that_is_killed_make_one_thing(tmp_path: Path, rounds: int) -> None:
    dice, cut_short, before = random.Random(rounds), 0, None
    for number in range(rounds + 1):
        async with served(tmp_path) as server:
            if before is None:
                async with rpc.channel(address_of(server)) as channel:
                    agent = id_of(await rpc.AgentCommandControllerStub(channel).create(samples.agent()))
            else:
                await finish(before, server)
            before = Round(number, agent)
            kill = asyncio.get_running_loop().call_later(dice.uniform(0, LATEST_KILL_S), server.process.kill)
            await before.race(server)
            kill.cancel()
            cut_short += len(before.replies) < RACERS
    assert cut_short or rounds < 10, "the kills come too late to cut anything short"


async def finish(one: Round, server: Served) -> None:
    """Have every caller of a round call again, after the server has died in it; one thing is made by then."""
    answered = len(one.replies)
    await one.race(server)
    found, sessions = await made_in(server, one.number)
    assert len(one.replies) == answered + RACERS, "after the restart each of them is answered"
    assert found == [id_of(one.replies[0])]
    assert [reply == one.replies[0] for reply in one.replies] == [True] * len(one.replies)
    assert sessions == one.number + 1
