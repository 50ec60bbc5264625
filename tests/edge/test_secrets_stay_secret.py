"""No secret value stands in a log line at any level, in an error, or in a span, however broken the request is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Around, Rig, Stubs, contexts, environments, executions, id_of
from edge_sockets import listening, raw
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError

from stigmer.telemetry.logs import get_logger
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call

CANARY = "hunter2-canary"
CREATE = "/ai.stigmer.agentic.environment.v1.EnvironmentCommandController/create"
CREATE_CONTEXT = "/ai.stigmer.agentic.executioncontext.v1.ExecutionContextCommandController/create"


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.fixture
async def wired(wire: Callable[..., Rig]) -> Rig:
    return wire()


def environment(**metadata: Any) -> Any:
    made: Any = samples.environment(**metadata)
    made.spec.data["TOKEN"] = environments.EnvironmentValue(value=CANARY, is_secret=True)
    return made


def context(**metadata: Any) -> Any:
    made: Any = samples.execution_context(**metadata)
    made.spec.data["TOKEN"] = contexts.ExecutionValue(value=CANARY, is_secret=True)
    return made


def said_nothing(caplog: pytest.LogCaptureFixture, *more: object) -> None:
    """Neither the lines as they are formatted, nor their arguments, nor their tracebacks bear the secret."""
    formatter = logging.Formatter()
    lines = [f"{formatter.format(record)} {record.__dict__}" for record in caplog.records]
    assert lines
    told = [line for line in (*lines, *map(str, more), *map(repr, more)) if CANARY in line]
    assert not told, told[0][:2000]


BREAKS: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda made: made,
    "no name": lambda made: setattr(made.metadata, "name", ""),
    "a name without a slug": lambda made: setattr(made.metadata, "name", "!!!"),
    "a bad slug": lambda made: setattr(made.metadata, "slug", "Not A Slug"),
    "a bad id": lambda made: setattr(made.metadata, "id", "nonsense"),
    "another kind": lambda made: setattr(made, "kind", "Nonsense"),
    "another scope": lambda made: setattr(made.metadata, "owner_scope", 1),
    "no metadata": lambda made: setattr(made, "metadata", None),
    "an empty key": lambda made: made.spec.data.update({"": made.spec.data["TOKEN"]}),
    "a lone surrogate beside it": lambda made: setattr(made.spec.data["TOKEN"], "description", "\ud800"),
    "a lone surrogate in it": lambda made: setattr(made.spec.data["TOKEN"], "value", CANARY + "\ud800"),
    "bytes for text": lambda made: setattr(made.spec.data["TOKEN"], "value", CANARY.encode()),
    "text for the flag": lambda made: setattr(made.spec.data["TOKEN"], "is_secret", "yes"),
    "a list for the value": lambda made: setattr(made.spec.data["TOKEN"], "value", [CANARY]),
    "text for the message": lambda made: made.spec.data.update({"TOKEN": CANARY}),
    "a surrogate key": lambda made: made.spec.data.update({"\ud800": made.spec.data["TOKEN"]}),
    "text for the map": lambda made: setattr(made.spec, "data", CANARY),
    "unknown fields that are none": lambda made: setattr(made.spec, "_unknown_fields", CANARY.encode()),
    "a label of another type": lambda made: made.metadata.labels.update({"x": 1}),
    "too much": lambda made: setattr(made.metadata, "tags", ["x"] * 100_000),
}


@pytest.mark.parametrize("case", BREAKS)
@pytest.mark.parametrize("make", [environment, context])
async def test_however_a_request_is_broken(
    wired: Rig, caplog: pytest.LogCaptureFixture, case: str, make: Callable[[], Any]
) -> None:
    made = make()
    errors: list[object] = []
    BREAKS[case](made)
    commands = wired.environments if make is environment else wired.contexts
    for rpc in ("create", "apply", "update"):
        if not hasattr(commands, rpc):
            continue
        try:
            await getattr(commands, rpc)(made)
        except GRPCError as error:
            errors += [error, error.message, *(error.details or ()), error.__cause__, error.__cause__.__dict__]
    said_nothing(caplog, *errors)


async def test_all_the_calls_that_go_well(wired: Rig, caplog: pytest.LogCaptureFixture) -> None:
    from stigmer._gen.ai.stigmer.commons.apiresource import (
        ApiResourceDeleteInput,
        ApiResourceId,
        ApiResourceReference,
    )

    made = await wired.environments.create(environment())
    await wired.find_environments.get(ApiResourceId(value=id_of(made)))
    await wired.find_environments.get_by_reference(ApiResourceReference(slug=made.metadata.slug))
    await wired.environments.update(made)
    await wired.environments.delete(ApiResourceDeleteInput(resource_id=id_of(made)))
    made = await wired.contexts.create(context())
    with pytest.raises(GRPCError) as caught:
        await wired.contexts.apply(context(name=made.metadata.name))
    said_nothing(caplog, caught.value)


async def test_a_callback_token(wired: Rig, caplog: pytest.LogCaptureFixture) -> None:
    agent = await wired.agent()
    execution: Any = samples.agent_execution(agent_id=id_of(agent))
    execution.spec.callback_token = CANARY.encode()
    made = await wired.executions.create(execution)
    await wired.report(id_of(made), callback_token=CANARY.encode())
    with pytest.raises(GRPCError) as caught:
        await wired.report("aex-none", callback_token=CANARY.encode())
    broken: Any = executions.AgentExecutionStatus(callback_token=CANARY.encode(), error="\ud800")
    with pytest.raises(GRPCError) as worse:
        await wired.executions.update_status(
            executions.AgentExecutionUpdateStatusInput(execution_id=id_of(made), status=broken)
        )
    said_nothing(caplog, caught.value, worse.value)


async def test_a_message_that_somebody_logs_or_fails_with(
    wire: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    log = get_logger("stigmer.test")

    async def talk(call: Call, request: Any, proceed: UnaryNext) -> Any:
        log.info("request", request=request, within={"list": [request]})
        reply = await proceed(call, request)
        log.info("reply", reply=reply)
        return reply

    rig = wire(Around(CREATE, talk))
    await rig.environments.create(environment())
    said_nothing(caplog)


# On the wire.


async def send(channel: Any, path: str, body: bytes) -> list[object]:
    async with channel.request(path, Cardinality.UNARY_UNARY, bytes, bytes) as call:
        await call.send_message(body, end=True)
        try:
            await call.recv_message()
        except GRPCError as error:
            return [error, error.message, *(error.details or ())]
    return []


def mutants(whole: bytes) -> list[bytes]:
    """The message cut off, and with a byte changed, here and there; the secret is whole in many of them."""
    places = range(0, len(whole), 3)
    changed = [whole[:at] + bytes([byte]) + whole[at + 1 :] for at in places for byte in (0x00, 0xFF)]
    return [*changed, *(whole[:at] for at in places)]


async def test_bytes_mutated_in_every_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    said: list[object] = []
    async with listening(tmp_path) as (server, _):
        with raw(server) as channel:
            for path, made in ((CREATE, environment()), (CREATE_CONTEXT, context())):
                for body in mutants(codec.encode(made)):
                    said += await send(channel, path, body)
    assert said
    said_nothing(caplog, *said)


async def test_over_a_network(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    errors: list[object] = []
    async with listening(tmp_path) as (_, channel):
        stubs = Stubs(channel)
        made = await stubs.environments.create(environment())
        for broken in (environment(name=made.metadata.name), environment(slug="Not A Slug")):
            with pytest.raises(GRPCError) as caught:
                await stubs.environments.create(broken)
            errors += [caught.value, *(caught.value.details or ())]
    said_nothing(caplog, *errors)
