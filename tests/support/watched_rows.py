"""Rows that change all the time, and readers who see to it that no read goes back behind an earlier one of theirs."""

from __future__ import annotations

import asyncio
import random
from itertools import count
from typing import TYPE_CHECKING, Any

import samples
from conformance import Resources
from conformance_facts import AGENT_INSTANCE

from stigmer._gen.ai.stigmer.agentic.agentinstance.v1 import GetAgentInstancesByAgentRequest
from stigmer._gen.ai.stigmer.commons.rpc import PageInfo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROWS = 4
READERS = 8


class Watched:
    """A few instances whose label `n` only ever grows, and every way to read them."""

    def __init__(self, channel: Any) -> None:
        self.instances = Resources(AGENT_INSTANCE, channel)
        self.agent_id = f"agt-{samples.NOBODY}"
        self.made: list[Any] = []
        self.done = False

    async def fill(self) -> None:
        for _ in range(ROWS):
            resource = samples.agent_instance(self.agent_id, labels={"n": "0"})
            self.made.append(await self.instances.create(resource))

    async def write(self, row: int) -> None:
        made = self.made[row]
        for number in count(1):
            if self.done:
                return
            made.metadata.labels, made.metadata.version = {"n": str(number)}, None
            await self.instances.update(made)

    async def listed(self) -> list[Any]:
        request = GetAgentInstancesByAgentRequest(agent_id=self.agent_id, page_info=PageInfo(num=1, size=ROWS))
        return list((await self.instances.queries.get_by_agent(request)).items)

    async def got(self) -> list[Any]:
        return [await self.instances.get(random.choice(self.made).metadata.id)]

    async def referred_to(self) -> list[Any]:
        return [await self.instances.by_reference(random.choice(self.made).metadata.slug)]

    async def read(self, times: int) -> None:
        reads: list[Callable[[], Awaitable[list[Any]]]] = [self.listed, self.got, self.referred_to]
        known: dict[str, int] = {}
        for _ in range(times):
            read = random.choice(reads)
            for one in await read():
                number = int(one.metadata.labels["n"])
                assert number >= known.get(one.metadata.id, 0), (read.__name__, number, known)
                known[one.metadata.id] = number


async def read_beside_writers(channel: Any, reads: int) -> None:
    """So many reads of each reader, each beside all the others and the writers."""
    watched = Watched(channel)
    await watched.fill()
    writing = [asyncio.create_task(watched.write(row)) for row in range(ROWS)]
    try:
        await asyncio.gather(*(watched.read(reads) for _ in range(READERS)))
    finally:
        watched.done = True
        await asyncio.gather(*writing)
