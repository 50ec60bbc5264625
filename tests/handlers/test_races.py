"""Many callers at once, on one kind: exactly one wins where one may, and nobody's work is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from conformance import Resources
from conformance_facts import AGENT, ENVIRONMENT, EXECUTION_CONTEXT, KINDS, SESSION
from conformance_plane import CANCELLED, COMPLETED, FAILED, IN_PROGRESS, Plane
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentMessage, ToolCall
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadataVersion as Version

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from stigmer.app.assembly import App

MANY = 32


@pytest.fixture
def plane(app: App) -> Plane:
    return Plane(app)


async def outcomes(calls: Iterable[Awaitable[Any]]) -> tuple[list[Any], list[Status]]:
    """What was answered, and the statuses of what was refused; anything else fails the test."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    refused = [one.status for one in done if isinstance(one, GRPCError)]
    others = [one for one in done if isinstance(one, BaseException) and not isinstance(one, GRPCError)]
    assert others == []
    return [one for one in done if not isinstance(one, BaseException)], refused


@pytest.fixture(params=[facts for facts in KINDS if facts.slug_unique], ids=repr)
def slugged(request: pytest.FixtureRequest, loopback: Any) -> Resources:
    return Resources(request.param, loopback)


async def test_of_many_creators_of_one_slug_one_wins(slugged: Resources) -> None:
    resources = [slugged.facts.make(name="contended", labels={"n": str(n)}) for n in range(MANY)]
    made, refused = await outcomes(slugged.create(one) for one in resources)
    assert (len(made), refused) == (1, [Status.ALREADY_EXISTS] * (MANY - 1))
    assert await slugged.get(made[0].metadata.id) == made[0]


@pytest.mark.parametrize("facts", [AGENT, SESSION, ENVIRONMENT], ids=repr)
async def test_of_many_appliers_one_creates_and_the_others_update(facts: Any, loopback: Any) -> None:
    kind = Resources(facts, loopback)
    resources = [facts.make(name="contended", labels={"n": str(n)}) for n in range(MANY)]
    made, refused = await outcomes(kind.apply(one) for one in resources)
    assert refused == []
    assert len({one.metadata.id for one in made}) == 1
    assert sorted(one.status.audit.spec_audit.event for one in made) == ["created"] + ["updated"] * (MANY - 1)
    assert {one.metadata.labels["n"] for one in made} == {str(n) for n in range(MANY)}
    by_version = {one.metadata.version.id: one for one in made}
    current, chain = await kind.get(made[0].metadata.id), list[str]()
    version = current.metadata.version.id
    while version:
        chain.append(version)
        version = by_version[version].metadata.version.previous_version_id
    assert len(chain) == MANY


async def test_of_many_appliers_of_a_context_one_creates(loopback: Any) -> None:
    kind = Resources(EXECUTION_CONTEXT, loopback)
    made, refused = await outcomes(kind.apply(kind.facts.make(name="contended")) for _ in range(MANY))
    assert (len(made), refused) == (1, [Status.ALREADY_EXISTS] * (MANY - 1))


async def test_of_many_creators_with_one_id_one_wins(slugged: Resources) -> None:
    gone = await slugged.created()
    await slugged.delete(gone.metadata.id)
    made, refused = await outcomes(slugged.create(slugged.facts.make(id=gone.metadata.id)) for _ in range(MANY))
    assert (len(made), refused) == (1, [Status.ALREADY_EXISTS] * (MANY - 1))


async def test_many_updaters_of_one_row_all_succeed(loopback: Any) -> None:
    kind = Resources(ENVIRONMENT, loopback)
    made = await kind.created()
    changes = [kind.facts.make(id=made.metadata.id, labels={"n": str(n)}) for n in range(64)]
    after, refused = await outcomes(kind.update(change) for change in changes)
    assert refused == []
    versions = {one.metadata.version.previous_version_id: one.metadata.version.id for one in after}
    assert len(versions) == 64
    assert made.metadata.version.id in versions


async def test_of_many_updaters_with_one_version_one_wins(loopback: Any) -> None:
    kind = Resources(ENVIRONMENT, loopback)
    made = await kind.created()
    version = Version(id=made.metadata.version.id)
    calls = [kind.update(kind.facts.make(id=made.metadata.id, version=version)) for _ in range(MANY)]
    after, refused = await outcomes(calls)
    assert (len(after), refused) == (1, [Status.ABORTED] * (MANY - 1))


async def test_many_deleters_delete_once(slugged: Resources) -> None:
    made = await slugged.created()
    gone, refused = await outcomes(slugged.delete(made.metadata.id) for _ in range(MANY))
    assert (len(gone), refused) == (1, [Status.NOT_FOUND] * (MANY - 1))


async def test_writers_of_different_fields_lose_nothing(plane: Plane) -> None:
    id_ = (await plane.execution()).metadata.id
    rounds = 40

    async def messages() -> None:
        for n in range(1, rounds + 1):
            after = await plane.report(id_, messages=[AgentMessage(content=str(i)) for i in range(n)])
            assert len(after.status.messages) == n

    async def tools() -> None:
        for n in range(1, rounds + 1):
            after = await plane.report(id_, tool_calls=[ToolCall(id=str(i)) for i in range(n)])
            assert len(after.status.tool_calls) == n

    async def metadata() -> None:
        for n in range(rounds):
            execution = await plane.executions.get(id_)
            execution.metadata.labels, execution.metadata.version = {"n": str(n)}, None
            assert (await plane.executions.update(execution)).metadata.labels == {"n": str(n)}

    await asyncio.gather(messages(), tools(), metadata())
    after = await plane.executions.get(id_)
    assert (len(after.status.messages), len(after.status.tool_calls)) == (rounds, rounds)
    assert after.metadata.labels == {"n": str(rounds - 1)}


async def test_of_writers_of_different_terminal_phases_one_wins(plane: Plane) -> None:
    for _ in range(5):
        id_ = (await plane.execution()).metadata.id
        phases = (COMPLETED, FAILED, CANCELLED)
        ended, refused = await outcomes(plane.report(id_, phase=phase) for phase in phases)
        assert (len(ended), refused) == (1, [Status.FAILED_PRECONDITION] * 2)
        assert (await plane.executions.get(id_)).status.phase == ended[0].status.phase


async def test_whoever_subscribes_while_an_execution_ends_sees_its_end(plane: Plane) -> None:
    for _ in range(10):
        id_ = (await plane.execution()).metadata.id

        async def follow(id_: str = id_) -> list[int]:
            return [int(state.status.phase) async for state in plane.follow(id_)]

        async def finish(id_: str = id_) -> None:
            await plane.report(id_, phase=IN_PROGRESS)
            await plane.report(id_, phase=COMPLETED)

        *seen, _ = await asyncio.gather(*(follow() for _ in range(8)), finish(), *(follow() for _ in range(8)))
        for phases in (one for one in seen if one is not None):
            assert phases == sorted(set(phases))
            assert phases[-1] == COMPLETED


async def test_whoever_subscribes_while_an_execution_is_deleted_is_told(plane: Plane) -> None:
    for _ in range(10):
        id_ = (await plane.execution()).metadata.id

        async def follow(id_: str = id_) -> None:
            async for _ in plane.follow(id_):
                pass

        ended, refused = await outcomes([follow(), follow(), plane.executions.delete(id_), follow(), follow()])
        assert (len(ended), refused) == (1, [Status.NOT_FOUND] * 4)
