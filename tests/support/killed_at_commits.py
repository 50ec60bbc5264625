"""A server that kills itself at a commit, and what a client that writes executions with secrets expects of the next.

`PROGRAM` serves as `stigmer serve` does; KILLED_AT in its environment says at which commit it dies: `create/written/7`
at the seventh one that has a new execution in it, `end/committed/3` at the third one that ends one. At `begun` nothing
of it is written, at `written` all but the COMMIT is done, at `committed` nobody has been told of it.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import samples
from edge_rig import Stubs, contexts, executions, id_of
from grpclib.exceptions import GRPCError, StreamTerminatedError

from stigmer.types import ExecutionPhase

if TYPE_CHECKING:
    from collections.abc import Awaitable

PROGRAM = """
import os, signal
from stigmer.cli import main
from stigmer.store.sqlite import writer
from stigmer.types import AgentExecution, ExecutionPhase
from stigmer.wire import codec

WHAT, WHEN, COUNT = os.environ["KILLED_AT"].split("/")
ENDED = (ExecutionPhase.EXECUTION_COMPLETED, ExecutionPhase.EXECUTION_FAILED, ExecutionPhase.EXECUTION_CANCELLED)
run, left = writer.Writer.run, int(COUNT)

def phases(batch):
    rows = [put.row for commit in batch for put in commit.changes.puts if put.row.kind == "AgentExecution"]
    return [codec.decode(AgentExecution, row.data).status.phase for row in rows]

def is_meant(batch):
    found = phases(batch)
    return any((phase in ENDED) == (WHAT == "end") and (WHAT == "end" or phase == 1) for phase in found)

class Connection:
    def __init__(self, connection):
        self.connection = connection

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def execute(self, text, *arguments):
        if text == "COMMIT" and WHEN == "written":
            os.kill(os.getpid(), signal.SIGKILL)
        done = self.connection.execute(text, *arguments)
        if (text == "COMMIT" and WHEN == "committed") or WHEN == "begun":
            os.kill(os.getpid(), signal.SIGKILL)
        return done

def killed(self, connection, batch):
    global left
    left -= is_meant(batch)
    return run(self, Connection(connection) if is_meant(batch) and left <= 0 else connection, batch)

writer.Writer.run = killed
main()
"""

CANARY = f"canary-{os.urandom(8).hex()}"
DIED = (StreamTerminatedError, OSError)
ENDS = (
    ExecutionPhase.EXECUTION_COMPLETED,
    ExecutionPhase.EXECUTION_FAILED,
    ExecutionPhase.EXECUTION_CANCELLED,
)


class Executions:
    """Writes executions with secrets, and knows what it was told of them.

    Attributes:
        made: the ids of those whose creation was acknowledged.
        ended: of those, whose end was acknowledged.
        maybe_ended: of those, whose end was reported and not acknowledged.
    """

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.ended: set[str] = set()
        self.maybe_ended: set[str] = set()

    async def write(self, stubs: Stubs, agent_id: str, number: int) -> None:
        """Make one after the other and end each, until the server dies."""
        while True:
            made = samples.agent_execution(agent_id=agent_id)
            made.spec.runtime_env = {"TOKEN": contexts.ExecutionValue(value=CANARY, is_secret=True)}
            id_ = id_of(await stubs.executions.create(made))
            self.made.add(id_)
            self.maybe_ended.add(id_)
            await stubs.report(id_, phase=ENDS[number % len(ENDS)])
            self.ended.add(id_)

    async def until_killed(self, channel: Any, writers: int = 8) -> None:
        """Write from several callers at once until the server dies; whatever else goes wrong is raised."""
        stubs = Stubs(channel)
        agent_id = id_of(await stubs.agents.create(samples.agent(org="acme")))
        await asyncio.gather(*(died(self.write(stubs, agent_id, number)) for number in range(writers)))

    async def check(self, channel: Any) -> None:
        """What is there is what was acknowledged; a context is where its execution has not ended, and nowhere else."""
        stubs = Stubs(channel)
        found = {id_of(one): one async for one in _all(stubs)}
        assert self.made <= found.keys()
        for id_, execution in found.items():
            has_ended = execution.status.phase in ENDS
            assert has_ended or id_ not in self.ended
            assert not has_ended or id_ in self.maybe_ended
            assert await _value(stubs, id_) == ("" if has_ended else CANARY), f"{id_} in {execution.status.phase}"


async def died(work: Awaitable[None]) -> None:
    try:
        await work
    except GRPCError as error:
        if error.status.name != "UNAVAILABLE":
            raise
    except DIED:
        pass


async def _all(stubs: Stubs) -> Any:
    request = executions.ListAgentExecutionsRequest(page_size=1000)
    while True:
        page = await stubs.find_executions.list(request)
        for one in page.entries:
            yield one
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def _value(stubs: Stubs, execution_id: str) -> str:
    """The secret that an execution runs with; empty where it has no context."""
    try:
        asked = contexts.ExecutionContextExecutionIdInput(execution_id=execution_id)
        return str((await stubs.find_contexts.get_by_execution_id(asked)).spec.data["TOKEN"].value)
    except GRPCError as error:
        assert error.status.name == "NOT_FOUND", error  # noqa: PT017 - whatever else it is
        return ""
