"""Every broken field is named at once, whichever step would refuse it; and what else a caller may count on."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Around, Rig, agents, executions, id_of, sessions
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadataVersion, ApiResourceReference
from stigmer.store.sqlite import SqliteStore
from stigmer.telemetry.logs import Event
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UNKNOWN = b"\xfa\x3f\x05newer"


async def broken(call: Any) -> list[str]:
    with pytest.raises(GRPCError) as caught:
        await call
    assert caught.value.status.name == "INVALID_ARGUMENT"
    (detail,) = caught.value.details
    return [violation.field for violation in detail.field_violations]


async def test_an_execution_is_refused_for_all_that_is_wrong_with_it(rig: Rig) -> None:
    execution = samples.agent_execution(name="!!!", id="bad")
    execution.spec.message = ""
    fields = await broken(rig.executions.create(execution))
    assert sorted(fields) == ["metadata.id", "metadata.name", "spec.message", "spec.session_id"]


async def test_an_update_without_id_is_refused_with_the_rest(rig: Rig) -> None:
    execution = samples.agent_execution(name="x")
    execution.spec.message = ""
    assert sorted(await broken(rig.executions.update(execution))) == ["metadata.id", "spec.message"]


async def test_a_reference_is_refused_for_scope_kind_and_slug(rig: Rig) -> None:
    reference = ApiResourceReference(scope=77, kind=1)  # type: ignore[arg-type]  # a scope that nobody knows
    assert sorted(await broken(rig.find_agents.get_by_reference(reference))) == ["kind", "scope", "slug"]


async def test_a_list_is_refused_for_size_and_token(rig: Rig) -> None:
    request = sessions.ListSessionsRequest(page_size=-1, page_token="nonsense")
    assert sorted(await broken(rig.find_sessions.list(request))) == ["page_size", "page_token"]


async def test_a_resource_without_metadata_is_refused_for_that(rig: Rig) -> None:
    agent = agents.Agent(api_version="agentic.stigmer.ai/v1", kind="Agent", spec=samples.agent().spec)
    assert await broken(rig.agents.create(agent)) == ["metadata"]
    assert await broken(rig.agents.update(agent)) == ["metadata"]


@pytest.mark.parametrize("given_s", [0, -1])
async def test_a_deadline_that_has_passed_is_one_for_what_is_cached_too(rig: Rig, given_s: float) -> None:
    agent = await rig.agent()
    with pytest.raises(GRPCError) as caught:
        await rig.find_agents.get(agents.AgentId(value=id_of(agent)), timeout=given_s)
    assert caught.value.status.name == "DEADLINE_EXCEEDED"


async def test_a_task_that_outlives_its_call_outlives_its_deadline(rig: Rig) -> None:
    over = asyncio.Event()
    tasks: list[asyncio.Task[Any]] = []

    async def later() -> Any:
        await over.wait()
        return await rig.agent()

    async def start() -> None:
        tasks.append(asyncio.create_task(later()))

    await rig.outer(start, timeout=0.5)
    async with asyncio.timeout(60):
        await asyncio.to_thread(__import__("time").sleep, 0.55)  # the call's deadline passes, on the real clock
        over.set()
        assert id_of(await tasks[0])


async def test_two_control_planes_in_one_process_keep_their_rows_apart(
    wire: Callable[..., Rig], tmp_path: Path
) -> None:
    made: list[str] = []

    async def hook(call: Any, request: Any, proceed: Any) -> Any:
        made.append(id_of(await other.environments.create(samples.environment())))
        return await proceed(call, request)

    plane = wire(Around("create", hook))
    async with SqliteStore(tmp_path / "other") as store:
        other = Rig(store)
        mine = id_of(await plane.environments.create(samples.environment()))
        await plane.outer(lambda: other.environments.create(samples.environment()))
        await other.unit_of_work.settled()
        assert set(made) <= await other.ids("Environment")
        assert len(await other.ids("Environment")) == len(made) + 1
        assert mine in await plane.ids("Environment")
        assert not await plane.ids("Environment") & await other.ids("Environment")


async def test_unknown_fields_of_the_version_are_kept(rig: Rig) -> None:
    agent = samples.agent()
    agent.metadata.version = codec.decode(ApiResourceMetadataVersion, UNKNOWN)
    created = await rig.agents.create(agent)
    assert created.metadata.version._unknown_fields == UNKNOWN
    assert created.metadata.version.id


async def test_a_step_that_fails_has_its_line_too(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="stigmer.pipeline")
    with pytest.raises(GRPCError):
        await rig.executions.update(samples.agent_execution(id=f"aex-{samples.NOBODY}", session_id="ses-1"))
    lines = {line.msg["name"]: line.msg["outcome"] for line in caplog.records if isinstance(line.msg, Event)}
    assert lines["ResolveSlug"] == "ok"
    assert lines["LoadExisting"] == "NotFound"
    assert lines["agent_execution.update"] == "NotFound"


async def test_a_call_that_finds_nothing_tells_the_log_for_what(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="stigmer.call")
    with pytest.raises(GRPCError):
        await rig.report("aex-nobody", phase=executions.ExecutionPhase.EXECUTION_IN_PROGRESS)
    assert caplog.records[-1].msg["id"] == "aex-nobody"  # type: ignore[index]  # an Event
