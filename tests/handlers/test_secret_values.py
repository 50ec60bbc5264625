"""Secret values: sealed beside the row, shown to runners and admins, a mark for all others, which keeps a value."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Stubs, contexts, environments, executions, id_of
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceDeleteInput, ApiResourceId
from stigmer.access.principal import Principal
from stigmer.app import MEMORY, Plane, embedded
from stigmer.secrets.fields import MARK
from stigmer.store.changes import Changes
from stigmer.store.rows import sealed_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

CANARY = f"canary-{os.urandom(8).hex()}"
TOKEN = f"token-{os.urandom(8).hex()}".encode()
ROLES = ("reader", "runner", "editor", "admin")
SHOWN = {"runner", "admin"}


class Vaulted:
    """A plane, with stubs for a caller of each role."""

    def __init__(self, plane: Plane) -> None:
        self.plane, self.store = plane, plane._store
        self.local = Stubs(plane.channel)
        everywhere = frozenset({"*"})
        self.by_role = {role: Stubs(plane.channel_as(Principal(role, role, everywhere))) for role in ROLES}  # type: ignore[arg-type]  # each is a role

    async def stored(self, kind: str, id_: str) -> bytes:
        row = await self.store.get(kind, id_)
        assert row is not None
        return row.data

    async def is_sealed(self, kind: str, id_: str) -> bool:
        row, record = await self.store.get(kind, id_), await self.store.record(*sealed_key(kind, id_))
        assert row is not None
        assert row.sealed == (record is not None)
        return row.sealed

    async def execution(self, **spec: Any) -> Any:
        agent = await self.local.agents.create(samples.agent(org="acme"))
        made = samples.agent_execution(agent_id=id_of(agent))
        for name, value in spec.items():
            setattr(made.spec, name, value)
        return await self.local.executions.create(made)


@pytest.fixture(params=["sqlite", "memory"])
async def vaulted(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Vaulted]:
    async with embedded(tmp_path / "data" if request.param == "sqlite" else MEMORY) as plane:
        yield Vaulted(plane)


def environment(value: str = CANARY, *, is_secret: bool = True, **metadata: Any) -> Any:
    made: Any = samples.environment(**{"org": "acme", **metadata})
    made.spec.data.clear()
    made.spec.data["TOKEN"] = environments.EnvironmentValue(value=value, is_secret=is_secret, description="a token")
    made.spec.data["PLAIN"] = environments.EnvironmentValue(value="shown")
    made.spec.data["DECLARED"] = environments.EnvironmentValue(is_secret=True)
    return made


def context(value: str = CANARY, **metadata: Any) -> Any:
    made: Any = samples.execution_context(**metadata)
    made.spec.data.clear()
    made.spec.data["TOKEN"] = contexts.ExecutionValue(value=value, is_secret=True)
    return made


def values(resource: Any) -> dict[str, str]:
    return {key: one.value for key, one in resource.spec.data.items()}


async def refused(call: Any, *paths: str) -> str:
    with pytest.raises(GRPCError) as caught:
        await call
    assert caught.value.status is Status.INVALID_ARGUMENT, caught.value
    (detail,) = [one for one in caught.value.details or () if hasattr(one, "field_violations")]
    assert [one.field for one in detail.field_violations] == list(paths)
    message = str(caught.value.message)
    assert CANARY not in message
    return message


async def test_a_row_keeps_names_flags_and_descriptions_and_no_secret_value(vaulted: Vaulted) -> None:
    made = await vaulted.local.environments.create(environment())
    data = await vaulted.stored("Environment", id_of(made))
    assert CANARY.encode() not in data
    row = environments.Environment.parse(data)
    assert row.spec is not None
    assert row.spec.data["TOKEN"] == environments.EnvironmentValue(is_secret=True, description="a token")
    assert row.spec.data["PLAIN"].value == "shown"
    assert await vaulted.is_sealed("Environment", id_of(made))
    record = await vaulted.store.record(*sealed_key("Environment", id_of(made)))
    assert record is not None
    assert CANARY.encode() not in record.value


@pytest.mark.parametrize("role", ROLES)
async def test_get_shows_values_to_runners_and_admins_and_the_mark_to_others(vaulted: Vaulted, role: str) -> None:
    made = await vaulted.local.environments.create(environment())
    seen = CANARY if role in SHOWN else MARK
    stubs = vaulted.by_role[role]
    assert values(await stubs.find_environments.get(ApiResourceId(value=id_of(made)))) == {
        "TOKEN": seen,
        "PLAIN": "shown",
        "DECLARED": "",
    }
    for _ in range(2):
        asked = await stubs.find_environments.get(ApiResourceId(value=id_of(made)), metadata={"x-secrets": "redacted"})
        assert values(asked)["TOKEN"] == MARK


async def test_what_writes_answer_is_for_who_may_see_it(vaulted: Vaulted) -> None:
    for role, stubs in vaulted.by_role.items():
        if role == "admin":
            seen = CANARY
        elif role == "editor":
            seen = MARK
        else:
            continue
        made = await stubs.environments.create(environment())
        assert values(made)["TOKEN"] == seen
        made.spec.data["PLAIN"].value = "changed"
        changed = await stubs.environments.update(made)
        assert values(changed) == {"TOKEN": seen, "PLAIN": "changed", "DECLARED": ""}
        applied = await stubs.environments.apply(changed)
        assert values(applied)["TOKEN"] == seen
        found = await vaulted.local.find_environments.get(ApiResourceId(value=id_of(made)))
        assert values(found)["TOKEN"] == CANARY
        gone = await stubs.environments.delete(ApiResourceDeleteInput(resource_id=id_of(made)))
        assert values(gone)["TOKEN"] == seen
        assert await vaulted.store.record(*sealed_key("Environment", id_of(made))) is None


async def test_a_new_value_replaces_one_and_the_mark_keeps_the_other(vaulted: Vaulted) -> None:
    sent = environment()
    sent.spec.data["OTHER"] = environments.EnvironmentValue(value="other-secret", is_secret=True)
    editor = vaulted.by_role["editor"]
    made = await editor.environments.create(sent)
    made.spec.data["OTHER"].value = "new-secret"
    made.spec.data["DECLARED"].value = "declared-secret"
    await editor.environments.update(made)
    found = await vaulted.local.find_environments.get(ApiResourceId(value=id_of(made)))
    assert values(found) == {
        "TOKEN": CANARY,
        "OTHER": "new-secret",
        "DECLARED": "declared-secret",
        "PLAIN": "shown",
    }


async def test_a_value_that_is_left_out_or_emptied_is_gone(vaulted: Vaulted) -> None:
    made = await vaulted.local.environments.create(environment())
    made.spec.data["TOKEN"].value = ""
    emptied = await vaulted.local.environments.update(made)
    assert values(emptied)["TOKEN"] == ""
    assert not await vaulted.is_sealed("Environment", id_of(made))
    seen = await vaulted.by_role["reader"].find_environments.get(ApiResourceId(value=id_of(made)))
    assert values(seen)["TOKEN"] == ""


async def test_a_flag_that_is_taken_off_needs_a_new_value(vaulted: Vaulted) -> None:
    editor = vaulted.by_role["editor"]
    made = await editor.environments.create(environment())
    made.spec.data["TOKEN"].is_secret = False
    for value in (MARK, ""):
        made.spec.data["TOKEN"].value = value
        await refused(editor.environments.update(made), 'spec.data["TOKEN"].value')
    made.spec.data["TOKEN"].value = "for all to see"
    assert values(await editor.environments.update(made))["TOKEN"] == "for all to see"
    assert not await vaulted.is_sealed("Environment", id_of(made))


async def test_a_value_that_becomes_secret_leaves_the_row(vaulted: Vaulted) -> None:
    editor = vaulted.by_role["editor"]
    made = await editor.environments.create(environment(is_secret=False))
    assert values(made)["TOKEN"] == CANARY
    made.spec.data["TOKEN"].is_secret = True
    assert values(await editor.environments.update(made))["TOKEN"] == MARK
    assert CANARY.encode() not in await vaulted.stored("Environment", id_of(made))


async def test_the_mark_elsewhere_is_refused_by_its_path(vaulted: Vaulted) -> None:
    local = vaulted.local
    said = await refused(local.environments.create(environment(MARK)), 'spec.data["TOKEN"].value')
    assert "send the value itself" in said
    await refused(local.environments.apply(environment(MARK)), 'spec.data["TOKEN"].value')
    await refused(local.contexts.create(context(MARK)), 'spec.data["TOKEN"].value')
    made = await local.environments.create(environment())
    made.spec.data["DECLARED"].value = MARK
    await refused(local.environments.update(made), 'spec.data["DECLARED"].value')
    plain = await local.environments.create(environment(MARK, is_secret=False))
    assert values(plain)["TOKEN"] == MARK


async def test_the_ciphertext_of_another_server_is_refused(vaulted: Vaulted) -> None:
    sent = environment("enc:v1:abc")
    sent.spec.data["PLAIN"].value = "enc:v1:def"
    sent.metadata.name = ""
    with pytest.raises(GRPCError) as caught:
        await vaulted.local.environments.create(sent)
    (detail,) = [one for one in caught.value.details or () if hasattr(one, "field_violations")]
    fields = {one.field for one in detail.field_violations}
    assert fields == {'spec.data["TOKEN"].value', 'spec.data["PLAIN"].value', "metadata.name"}
    execution = samples.agent_execution(agent_id=f"agt-{samples.NOBODY}")
    execution.spec.callback_token = b"enc:v1:x"
    await refused(vaulted.local.executions.create(execution), "spec.callback_token")


async def test_a_context_is_read_by_its_runner_and_marked_for_a_reader(vaulted: Vaulted) -> None:
    made = await vaulted.by_role["admin"].contexts.create(context(execution_id=f"aex-{samples.NOBODY}"))
    asked = contexts.ExecutionContextExecutionIdInput(execution_id=made.spec.execution_id)
    for role, stubs in vaulted.by_role.items():
        try:
            found = await stubs.find_contexts.get_by_execution_id(asked)
        except GRPCError as error:
            assert error.status is Status.PERMISSION_DENIED  # noqa: PT017 - of roles that may not ask at all
            continue
        assert values(found)["TOKEN"] == (CANARY if role in SHOWN else MARK)


async def test_a_callback_token_is_sealed_kept_by_a_report_and_marked_in_lists_and_streams(vaulted: Vaulted) -> None:
    made = await vaulted.execution(callback_token=TOKEN)
    assert made.spec.callback_token == TOKEN
    id_ = id_of(made)
    assert TOKEN not in await vaulted.stored("AgentExecution", id_)
    report = executions.AgentExecutionUpdateStatusInput(
        execution_id=id_, status=executions.AgentExecutionStatus(error="none yet", callback_token=b"second" + TOKEN)
    )
    mark = MARK.encode()
    reported = await vaulted.local.executions.update_status(report)
    assert (reported.spec.callback_token, reported.status.callback_token) == (mark, mark)
    report.status = executions.AgentExecutionStatus(phase=executions.ExecutionPhase.EXECUTION_IN_PROGRESS)
    await vaulted.local.executions.update_status(report)
    report.status = executions.AgentExecutionStatus(error="still", callback_token=mark)
    await vaulted.local.executions.update_status(report)
    found = await vaulted.local.find_executions.get(executions.AgentExecutionId(value=id_))
    assert (found.spec.callback_token, found.status.callback_token) == (TOKEN, b"second" + TOKEN)
    assert found.status.error == "still"
    (listed,) = (await vaulted.local.find_executions.list(executions.ListAgentExecutionsRequest())).entries
    assert (listed.spec.callback_token, listed.status.callback_token) == (mark, mark)
    stream = vaulted.local.find_executions.subscribe(executions.AgentExecutionId(value=id_))
    first = await anext(stream)
    assert (first.spec.callback_token, first.status.callback_token) == (mark, mark)
    report.status = executions.AgentExecutionStatus(phase=executions.ExecutionPhase.EXECUTION_COMPLETED)
    await vaulted.local.executions.update_status(report)
    last = await anext(stream)
    assert (last.spec.callback_token, last.status.callback_token) == (mark, mark)
    assert last.status.phase is executions.ExecutionPhase.EXECUTION_COMPLETED
    await stream.aclose()


async def test_a_report_cannot_keep_a_token_that_is_not_there(vaulted: Vaulted) -> None:
    made = await vaulted.execution()
    report = executions.AgentExecutionUpdateStatusInput(
        execution_id=id_of(made), status=executions.AgentExecutionStatus(callback_token=MARK.encode())
    )
    await refused(vaulted.local.executions.update_status(report), "status.callback_token")


async def test_unknown_fields_within_a_secret_are_dropped_and_others_are_kept(
    vaulted: Vaulted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    unknown = b"\xfa\x3f" + bytes([len(CANARY)]) + CANARY.encode()  # field 127
    sent = environment()
    sent.spec.data["TOKEN"] = environments.EnvironmentValue.parse(bytes(sent.spec.data["TOKEN"]) + unknown)
    sent.spec.data["PLAIN"] = environments.EnvironmentValue.parse(bytes(sent.spec.data["PLAIN"]) + unknown)
    sent.spec.data["TOKEN"].value = "another"
    made = await vaulted.local.environments.create(sent)
    found = await vaulted.local.find_environments.get(ApiResourceId(value=id_of(made)))
    assert unknown not in bytes(found.spec.data["TOKEN"])
    assert unknown in bytes(found.spec.data["PLAIN"])
    (line,) = [record.msg for record in caplog.records if "were dropped" in str(record.msg)]
    assert isinstance(line, dict)
    assert line["fields"] == 1


async def test_readers_of_a_value_that_changes_see_one_or_the_other(vaulted: Vaulted) -> None:
    made = await vaulted.local.environments.create(environment("value-0"))
    written = ["value-0"]

    async def change() -> None:
        for number in range(1, 20):
            made.spec.data["TOKEN"].value = f"value-{number}"
            made.metadata.version = None
            written.append(f"value-{number}")
            await vaulted.local.environments.update(made)
            await asyncio.sleep(0)

    async def read() -> None:
        for _ in range(20):
            found = await vaulted.by_role["runner"].find_environments.get(ApiResourceId(value=id_of(made)))
            assert values(found)["TOKEN"] in written
            await asyncio.sleep(0)  # the writer's turn, where the store answers at once

    await asyncio.gather(change(), *(read() for _ in range(4)))


async def test_racing_updates_of_different_keys_never_lose_a_kept_value(vaulted: Vaulted) -> None:
    made = await vaulted.local.environments.create(environment())

    async def rename(number: int) -> None:
        mine = await vaulted.by_role["editor"].find_environments.get(ApiResourceId(value=id_of(made)))
        mine.spec.data["PLAIN"].value = str(number)
        mine.metadata.version = None
        await vaulted.by_role["editor"].environments.update(mine)

    await asyncio.gather(*(rename(number) for number in range(16)))
    found = await vaulted.local.find_environments.get(ApiResourceId(value=id_of(made)))
    assert values(found)["TOKEN"] == CANARY


async def test_a_record_of_another_resource_does_not_open(vaulted: Vaulted) -> None:
    first = await vaulted.local.environments.create(environment())
    second = await vaulted.local.environments.create(environment("other"))
    record = await vaulted.store.record(*sealed_key("Environment", id_of(first)))
    assert record is not None

    await vaulted.store.commit(Changes(records={sealed_key("Environment", id_of(second)): record.value}))
    with pytest.raises(GRPCError) as caught:
        await vaulted.local.find_environments.get(ApiResourceId(value=id_of(second)))
    assert caught.value.status is Status.DATA_LOSS
    assert CANARY not in str(caught.value)
