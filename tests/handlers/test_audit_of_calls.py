"""Each call that creates, shows, changes or deletes a resource with secrets is in the audit, in its own transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import samples
from audited import count, events
from edge_rig import Stubs, contexts, environments, executions, id_of, sessions
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.commons.apiresource import (
    ApiResourceDeleteInput,
    ApiResourceId,
    ApiResourceReference,
)
from stigmer.access.principal import Principal
from stigmer.app import MEMORY, Plane, embedded
from stigmer.secrets.audit import Event, Op
from stigmer.secrets.fields import MARK
from stigmer.store.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from stigmer.store.changes import Changes

TOKEN = 'spec.data["TOKEN"]'
CANARY = "canary-value-of-a-secret"
EVERYWHERE = frozenset({"*"})
ADMIN, RUNNER = Principal("ada", "admin", EVERYWHERE), Principal("run", "runner", EVERYWHERE)
EDITOR, READER = Principal("eve", "editor", EVERYWHERE), Principal("rea", "reader", EVERYWHERE)


@pytest.fixture(params=["sqlite", "memory"])
async def plane(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Plane]:
    async with embedded(tmp_path / "data" if request.param == "sqlite" else MEMORY) as opened:
        yield opened


def as_(plane: Plane, principal: Principal) -> Stubs:
    return Stubs(plane.channel_as(principal))


def environment(value: str = CANARY, **metadata: Any) -> Any:
    made: Any = samples.environment(**{"org": "acme", **metadata})
    made.spec.data.clear()
    made.spec.data["TOKEN"] = environments.EnvironmentValue(value=value, is_secret=True)
    made.spec.data["PLAIN"] = environments.EnvironmentValue(value="shown")
    return made


def context(value: str = CANARY) -> Any:
    made: Any = samples.execution_context()
    made.spec.data.clear()
    made.spec.data["TOKEN"] = contexts.ExecutionValue(value=value, is_secret=True)
    return made


async def told(plane: Plane, after: int = 0) -> list[tuple[Op, str, str, str, bool]]:
    """What the audit has after a record: op, actor, on whose behalf, kind, and whether values were shown."""
    return [(e.op, e.actor, e.on_behalf_of, e.kind, e.shown) for e in await events(plane._store, after)]


async def last(plane: Plane) -> Event:
    return (await events(plane._store))[-1]


async def test_a_create_is_one_record_with_who_what_and_where_and_no_value(plane: Plane) -> None:
    made = await as_(plane, ADMIN).environments.create(environment(), metadata={"x-request-id": "req-mine"})
    (event,) = await events(plane._store)
    assert event.keys.pop(TOKEN)  # type: ignore[attr-defined]  # a dict, as it was read
    path = "/ai.stigmer.agentic.environment.v1.EnvironmentCommandController/create"
    expected = Event(Op.CREATE, "ada", "", "req-mine", "loopback", path, "Environment", id_of(made), "acme", {}, True)
    assert event == Event(**{**{name: getattr(expected, name) for name in expected.__slots__}, "at_ms": event.at_ms})
    (entry,) = await plane._store.log("audit")
    assert CANARY.encode() not in entry.value


async def test_each_read_that_shows_a_value_is_a_record(plane: Plane) -> None:
    made = await plane_context(plane)
    before, runner = await count(plane._store), as_(plane, RUNNER)
    await runner.find_contexts.get(contexts.ExecutionContextId(value=id_of(made)))
    await runner.find_contexts.get_by_reference(ApiResourceReference(slug=made.metadata.slug))
    await runner.find_contexts.get_by_execution_id(
        contexts.ExecutionContextExecutionIdInput(execution_id=made.spec.execution_id)
    )
    assert await told(plane, before) == [(Op.READ, "run", "", "ExecutionContext", True)] * 3


async def plane_context(plane: Plane) -> Any:
    return await as_(plane, ADMIN).contexts.create(context())


async def test_the_same_value_has_the_same_hash_and_another_one_another(plane: Plane) -> None:
    admin = as_(plane, ADMIN)
    made = await admin.environments.create(environment())
    await admin.find_environments.get(ApiResourceId(id_of(made)))
    await admin.environments.update(environment("another one", id=id_of(made)))
    created, read, updated = [event.keys[TOKEN] for event in await events(plane._store)]
    assert created == read != updated
    assert len(created) == 16


async def test_a_read_that_shows_the_mark_is_no_record_and_is_counted(plane: Plane) -> None:
    made = await as_(plane, ADMIN).environments.create(environment())
    before, reader = await count(plane._store), as_(plane, READER)
    for _ in range(3):
        found = await reader.find_environments.get(ApiResourceId(id_of(made)))
        assert found.spec.data["TOKEN"].value == MARK
    assert await told(plane, before) == []
    await plane._app.trail.counts.write()
    event = await last(plane)
    assert (event.op, event.actor, event.id, event.count) == (Op.REDACTED, "rea", id_of(made), 3)
    assert event.at_ms % 60_000 == 0


async def test_neither_a_run_that_lost_a_race_nor_a_dry_run_counts_as_shown(plane: Plane) -> None:
    stubs, sent, key = as_(plane, EDITOR).environments, environment(), {"idempotency-key": "k"}
    made = await asyncio.gather(*(stubs.create(sent, metadata=key) for _ in range(16)))
    await stubs.create(environment(), metadata={"x-dry-run": "all"})
    await stubs.delete(ApiResourceDeleteInput(resource_id=id_of(made[0])), metadata={"x-dry-run": "all"})
    await plane._app.trail.counts.write()
    created, *counted = await events(plane._store)
    assert (created.op, created.id) == (Op.CREATE, id_of(made[0]))
    assert [(event.op, event.actor, event.id, event.count) for event in counted] == [
        (Op.REDACTED, "eve", id_of(made[0]), 1)
    ]


async def test_an_update_an_apply_and_a_rotate_tell_which_values_are_new(plane: Plane) -> None:
    editor, admin = as_(plane, EDITOR), as_(plane, ADMIN)
    made = await editor.environments.create(environment())
    kept = environment(MARK, id=id_of(made), name=made.metadata.name)
    kept.spec.data["OTHER"] = environments.EnvironmentValue(value="second", is_secret=True)
    await editor.environments.update(kept)
    event = await last(plane)
    assert (event.op, event.actor, event.shown) == (Op.UPDATE, "eve", False)
    assert event.keys[TOKEN] == ""
    assert event.keys['spec.data["OTHER"]']
    await admin.environments.apply(kept)
    event = await last(plane)
    assert (event.op, event.shown) == (Op.UPDATE, True)
    assert event.keys[TOKEN]  # what the answer shows
    held = await plane_context(plane)
    await as_(plane, RUNNER).contexts.rotate(
        contexts.RotateExecutionValueInput(resource_id=id_of(held), key="TOKEN", value="next")
    )
    event = await last(plane)
    assert (event.op, event.actor, event.id, event.shown) == (Op.ROTATE, "run", id_of(held), True)


async def test_a_delete_is_one_record_that_says_whether_it_showed_the_values(plane: Plane) -> None:
    admin, editor = as_(plane, ADMIN), as_(plane, EDITOR)
    for stubs, is_shown in ((admin, True), (editor, False)):
        made = await admin.environments.create(environment())
        before = await count(plane._store)
        await stubs.environments.delete(ApiResourceDeleteInput(resource_id=id_of(made)))
        (event,) = await events(plane._store, before)
        assert (event.op, event.id, event.org, event.shown) == (Op.DELETE, id_of(made), "acme", is_shown)
        assert bool(event.keys[TOKEN]) == is_shown


async def execution(plane: Plane) -> Any:
    admin = as_(plane, ADMIN)
    agent = await admin.agents.create(samples.agent(org="acme"))
    wanted = samples.agent_execution(agent_id=id_of(agent))
    wanted.spec.runtime_env = {"TOKEN": contexts.ExecutionValue(value=CANARY, is_secret=True)}
    return await as_(plane, RUNNER).executions.create(wanted)


async def test_a_context_is_made_by_the_server_on_behalf_of_whose_execution_it_is(plane: Plane) -> None:
    await execution(plane)
    (event,) = await events(plane._store)
    assert (event.op, event.actor, event.on_behalf_of) == (Op.CREATE, "internal", "run")
    assert (event.kind, event.org, event.shown) == ("ExecutionContext", "acme", False)


async def test_what_the_server_opens_for_its_own_work_is_told_and_shown_to_nobody(plane: Plane) -> None:
    admin = as_(plane, ADMIN)
    wanted = samples.agent(org="acme")
    wanted.spec.env_spec = environments.EnvironmentSpec(
        data={"TOKEN": environments.EnvironmentValue(value=CANARY, is_secret=True)}
    )
    agent = await admin.agents.create(wanted)
    before = await count(plane._store)
    await as_(plane, EDITOR).executions.create(samples.agent_execution(agent_id=id_of(agent)))
    found = await events(plane._store, before)
    assert {(event.op, event.kind, event.shown) for event in found} == {
        (Op.USE, "Agent", False),
        (Op.CREATE, "ExecutionContext", False),
    }
    assert len({event.request_id for event in found}) == 1


async def test_the_end_of_an_execution_tells_of_the_context_that_goes_with_it(plane: Plane) -> None:
    made, before = await execution(plane), 0
    before = await count(plane._store)
    await as_(plane, RUNNER).report(id_of(made), phase=executions.ExecutionPhase.EXECUTION_COMPLETED)
    (event,) = await events(plane._store, before)
    assert (event.op, event.actor, event.kind) == (Op.DELETE, "run", "ExecutionContext")
    assert event.method.endswith("/updateStatus")
    assert event.keys == {TOKEN: ""}


async def test_a_cascade_tells_of_each_resource_with_secrets_that_goes(plane: Plane) -> None:
    made = await execution(plane)
    await as_(plane, RUNNER).report(id_of(made), callback_token=b"a token")
    before = await count(plane._store)
    await as_(plane, ADMIN).sessions.delete(sessions.SessionId(made.spec.session_id))
    assert {(event.op, event.kind, event.actor) for event in await events(plane._store, before)} == {
        (Op.DELETE, "AgentExecution", "ada"),
        (Op.DELETE, "ExecutionContext", "ada"),
    }


async def test_lists_subscriptions_and_reports_without_secrets_write_nothing(plane: Plane) -> None:
    made = await execution(plane)
    runner = as_(plane, RUNNER)
    await runner.report(id_of(made), callback_token=b"a token")
    assert (await last(plane)).op == Op.UPDATE
    before = await count(plane._store)
    await runner.report(id_of(made), error="none")
    await runner.find_executions.list(executions.ListAgentExecutionsRequest())
    async for _ in runner.find_executions.subscribe(executions.AgentExecutionId(value=id_of(made))):
        break
    assert await told(plane, before) == []


async def test_resources_without_secrets_write_nothing(plane: Plane) -> None:
    admin, plain = as_(plane, ADMIN), environment()
    plain.spec.data.pop("TOKEN")
    made = await admin.environments.create(plain)
    await admin.find_environments.get(ApiResourceId(id_of(made)))
    await admin.environments.delete(ApiResourceDeleteInput(resource_id=id_of(made)))
    assert await told(plane) == []


@pytest.mark.parametrize("call", ["get", "update", "delete", "create"])
async def test_where_the_record_cannot_be_written_the_call_fails_and_shows_nothing(
    plane: Plane, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = as_(plane, ADMIN)
    made = await admin.environments.create(environment())
    before, commit = await count(plane._store), plane._store.commit

    async def failing(changes: Changes, *, dry_run: bool = False) -> Any:
        if changes.appends or changes.removed:
            raise StoreUnavailableError("the disk is full")
        return await commit(changes, dry_run=dry_run)

    monkeypatch.setattr(plane._store, "commit", failing)
    calls = {
        "get": lambda: admin.find_environments.get(ApiResourceId(id_of(made))),
        "update": lambda: admin.environments.update(environment("other", id=id_of(made))),
        "delete": lambda: admin.environments.delete(ApiResourceDeleteInput(resource_id=id_of(made))),
        "create": lambda: admin.environments.create(environment("another", name="second")),
    }
    with pytest.raises(GRPCError) as caught:
        await calls[call]()
    assert caught.value.status is Status.UNAVAILABLE
    assert CANARY not in str(caught.value)
    monkeypatch.undo()
    assert await count(plane._store) == before
    row = await plane._store.get("Environment", id_of(made))
    assert row is not None
