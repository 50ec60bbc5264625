"""ExecutionContext.rotate: one value given anew."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
import samples
from callers import ANN, GIL, ROOT, Callers, denied, everything, missing, of, outcome, runner_of
from edge_rig import contexts, id_of

from stigmer.telemetry.logs import get_logger
from stigmer.types import RotateExecutionValueInput

if TYPE_CHECKING:
    from callers import Caller

CANARY = "hunter2-canary"


@pytest.fixture
async def runner(callers: Callers) -> Caller:
    return callers(ROOT)


async def made(runner: Caller, **more: contexts.ExecutionValue) -> Any:
    sent: Any = samples.execution_context(annotations={"kept": "yes"})
    sent.spec.data |= {"TOKEN": contexts.ExecutionValue(value="old", is_secret=True), **more}
    return await runner.contexts.create(sent)


def rotated(context: Any, key: str = "TOKEN", value: str = "new", version_id: str = "") -> RotateExecutionValueInput:
    return RotateExecutionValueInput(resource_id=id_of(context), key=key, value=value, version_id=version_id)


async def test_the_value_is_new_and_all_else_stays(runner: Caller) -> None:
    before = await made(runner)
    after = await runner.contexts.rotate(rotated(before))
    assert after == await runner.get(before)
    assert after.spec.data == {**before.spec.data, "TOKEN": contexts.ExecutionValue(value="new", is_secret=True)}
    assert after.metadata.version.previous_version_id == before.metadata.version.id != after.metadata.version.id
    audit = after.status.audit.spec_audit
    assert (audit.event, audit.updated_by.id, audit.created_at) == (
        "updated",
        "root",
        before.status.audit.spec_audit.created_at,
    )
    after.metadata.version, after.spec, after.status = before.metadata.version, before.spec, before.status
    assert after == before


async def test_a_version_that_has_passed_is_aborted(runner: Caller) -> None:
    first = await made(runner)
    second = await runner.contexts.rotate(rotated(first, version_id=first.metadata.version.id))
    found = await outcome(runner.contexts.rotate(rotated(first, value="late", version_id=first.metadata.version.id)))
    assert (found.code, "VERSION_MISMATCH" in "".join(found.details)) == ("ABORTED", True)
    assert await runner.get(first) == second


@pytest.mark.parametrize(
    ("field", "request_of"),
    [
        ("key", lambda one: rotated(one, key="NONE")),
        ("key", lambda one: rotated(one, key="")),
        ("value", lambda one: rotated(one, value="")),
        ("value", lambda one: rotated(one, value="***REDACTED***")),
        ("value", lambda one: rotated(one, value="enc:v1:abc")),
        ("resource_id", lambda one: RotateExecutionValueInput(key="TOKEN", value="new")),
    ],
)
async def test_unknown_keys_and_what_is_no_new_value_are_refused(runner: Caller, field: str, request_of: Any) -> None:
    before = await made(runner)
    found = await outcome(runner.contexts.rotate(request_of(before)))
    assert (found.code, found.message.partition(":")[0]) == ("INVALID_ARGUMENT", field)
    assert await runner.get(before) == before


async def test_it_is_for_runners_of_those_whose_the_context_is(callers: Callers) -> None:
    context = (await everything(callers, ANN)).context
    request = rotated(context, "TZ")
    await denied(callers(ANN).contexts.rotate(request), "operator", "platform")
    await missing(callers(runner_of(GIL)).contexts.rotate(request))
    await missing(callers(of("runner", "acme")).contexts.rotate(RotateExecutionValueInput("exec-none", "TZ", "new")))
    after = await callers(of("runner", "acme", name="work")).contexts.rotate(request)
    assert after.spec.data["TZ"].value == "new"


async def test_concurrent_rotations_of_different_keys_all_count(runner: Caller) -> None:
    keys = [f"KEY_{number}" for number in range(16)]
    context = await made(runner, **{key: contexts.ExecutionValue(value="old") for key in keys})
    await asyncio.gather(*(runner.contexts.rotate(rotated(context, key, key)) for key in keys))
    data = (await runner.get(context)).spec.data
    assert {key: data[key].value for key in keys} == {key: key for key in keys}


async def test_no_log_line_or_error_has_the_value(runner: Caller, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    context = await made(runner)
    request = rotated(context, value=CANARY)
    get_logger("stigmer.test").info("asked", request=request)
    await runner.contexts.rotate(request)
    found = [await outcome(runner.contexts.rotate(rotated(context, key="NONE", value=CANARY)))]
    found.append(await outcome(runner.contexts.rotate(rotated(context, value=CANARY, version_id="ver-old"))))
    assert CANARY not in caplog.text + "".join(str(record.__dict__) for record in caplog.records) + str(found)
