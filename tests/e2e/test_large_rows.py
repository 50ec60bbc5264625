"""Rows that are longer than a page, or than what clients take: 4 MiB, unless they are told otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import samples
from many_calls import Client, call, client
from served_process import served

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecutionId,
    AgentExecutionStatus,
    AgentExecutionUpdateStatusInput,
    AgentMessage,
    ExecutionPhase,
    ListAgentExecutionsRequest,
)
from stigmer._gen.ai.stigmer.agentic.agentinstance.v1 import GetAgentInstancesByAgentRequest
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
from stigmer._gen.ai.stigmer.commons.rpc import PageInfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MIB = 2**20
LONG = 12 * MIB
"""What a client takes that reads long transcripts."""
COMMANDS, QUERIES = "AgentExecutionCommandController", "AgentExecutionQueryController"


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Client]:
    async with served(tmp_path) as server, client(server) as caller:
        yield caller


def environment(size: int, **metadata: Any) -> Any:
    resource = samples.environment(**metadata)
    resource.spec.description = "x" * size
    return resource


async def reported(caller: Client, *sizes: int) -> list[Any]:
    """Executions with a transcript of so many bytes."""
    agent = await caller.one("AgentCommandController", "create", samples.agent())
    made: list[Any] = []
    for size in sizes:
        one = await caller.one(COMMANDS, "create", samples.agent_execution(agent_id=agent.metadata.id))
        messages = [AgentMessage(content="m" * 1000) for _ in range(size // 1000)]
        status = AgentExecutionStatus(phase=ExecutionPhase.EXECUTION_IN_PROGRESS, messages=messages)
        report = AgentExecutionUpdateStatusInput(execution_id=one.metadata.id, status=status)
        made.append(await caller.one(COMMANDS, "updateStatus", report, limit_bytes=LONG))
    return made


@pytest.mark.parametrize("rpc", ["create", "apply", "update"])
async def test_what_could_not_be_answered_is_refused_before_it_is_committed(caller: Client, rpc: str) -> None:
    """Attack: it was committed, the client saw an error, and wrote it again."""
    commands, queries = "EnvironmentCommandController", "EnvironmentQueryController"
    name, before = "long", samples.environment(name="long")
    if rpc == "update":
        await caller.one(commands, "create", before)
    (refused,) = await caller.all_of([call(commands, rpc, environment(3 * MIB, name=name))])
    assert refused.code == "INVALID_ARGUMENT"
    assert refused.message.startswith("spec: metadata and spec have 31")
    (found,) = await caller.all_of([call(queries, "getByReference", ApiResourceReference(slug=name))])
    assert found.code == ("OK" if rpc == "update" else "NOT_FOUND")
    assert rpc != "update" or found.reply.spec == before.spec
    fits = environment(3 * MIB - 1000, name=name)
    assert (await caller.one(commands, rpc, fits)).spec == fits.spec


async def test_metadata_counts_with_the_spec(caller: Client) -> None:
    annotations = {f"a{number}": "x" * 200_000 for number in range(16)}
    refused = await caller.all_of(
        [call("EnvironmentCommandController", "create", environment(0, annotations=annotations))]
    )
    assert (refused[0].code, refused[0].message.partition(":")[0]) == ("INVALID_ARGUMENT", "metadata")


async def test_rows_longer_than_a_page_do_not_end_a_walk(caller: Client) -> None:
    """Attack: one transcript of 5 MB, and no client got past its page."""
    sizes = [1000, int(3.5 * MIB), 1000, 6 * MIB, 1000, 1000]
    made = await reported(caller, *sizes)
    pages: list[list[Any]] = []
    token = ""
    while not pages or token:
        page = await caller.one(QUERIES, "list", ListAgentExecutionsRequest(page_token=token))
        pages.append(page.entries)
        token = page.next_page_token
    assert [[one.metadata.id for one in page] for page in pages] == [
        [made[5].metadata.id, made[4].metadata.id], [made[3].metadata.id], [made[2].metadata.id], [made[1].metadata.id],
        [made[0].metadata.id],
    ]  # fmt: skip
    (cut,), (whole,) = pages[1], pages[3]
    assert whole == made[1]
    assert (cut.metadata, cut.spec, cut.status.phase, cut.status.messages) == (
        made[3].metadata, made[3].spec, made[3].status.phase, [],
    )  # fmt: skip
    asked = AgentExecutionId(value=made[3].metadata.id)
    assert await caller.one(QUERIES, "get", asked, limit_bytes=LONG) == made[3]


async def test_an_update_that_a_transcript_makes_too_long_to_answer_is_refused(caller: Client) -> None:
    (made,) = await reported(caller, 5 * MIB)
    changed = samples.agent_execution(id=made.metadata.id, labels={"a": "b"})
    changed.spec = made.spec
    (refused,) = await caller.all_of([call(COMMANDS, "update", changed, limit_bytes=LONG)])
    assert refused.code == "RESOURCE_EXHAUSTED"
    assert "--max-resource-bytes" in refused.message
    found = await caller.one(QUERIES, "get", AgentExecutionId(value=made.metadata.id), limit_bytes=LONG)
    assert found == made


async def test_instances_of_an_agent_come_as_many_as_a_reply_takes(caller: Client) -> None:
    """Attack: one reply of 594 MB."""
    agent_id = f"agt-{samples.NOBODY}"
    made: list[Any] = []
    for _ in range(5):
        resource = samples.agent_instance(agent_id)
        resource.spec.description = "x" * MIB
        made.append(await caller.one("AgentInstanceCommandController", "create", resource))
    for info, ids in (
        (None, made[:2:-1]),
        (PageInfo(num=1, size=5), made[:2:-1]),
        (PageInfo(num=2, size=2), made[2:0:-1]),
        (PageInfo(num=5, size=1), made[:1]),
        (PageInfo(num=2**31 - 1, size=1000), []),
    ):
        request = GetAgentInstancesByAgentRequest(agent_id=agent_id, page_info=info)
        found = await caller.one("AgentInstanceQueryController", "getByAgent", request)
        assert ([one.metadata.id for one in found.items], found.total_count) == ([one.metadata.id for one in ids], 5)
