"""`x-dry-run: all`: the call is run, checked and answered, and nothing of it is kept."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
import samples
from callers import ANN, GIL, ROOT, Callers
from conformance import detail_of, invalid, refused
from edge_rig import Around, Rig, executions, id_of, said, separately
from edge_sockets import serving
from google.rpc import error_details_pb2
from grpclib.const import Status
from kept import everything_kept
from matrix import GIVEN, Owned, request_of

from stigmer import types
from stigmer._gen.service_stub import ServiceStub
from stigmer.app.assembly import assemble
from stigmer.downstream import SessionClient
from stigmer.rpc import CallerQueryControllerStub
from stigmer.secrets.fields import MARK
from stigmer.store.memory import MemoryStore
from stigmer.store.rows import Query, Window
from stigmer.store.sqlite import SqliteStore
from stigmer.wire import descriptors
from stigmer.wire.message_types import object_class

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call
    from stigmer.wire.descriptors import Method

DRY: dict[str, Any] = {"metadata": {"x-dry-run": "all"}}
WRITES = [
    method
    for method in descriptors.methods().values()
    if method.kind is not None and method.service.endswith("CommandController")
]


@pytest.fixture(params=["sqlite", "memory"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteStore | MemoryStore]:
    async with SqliteStore(tmp_path / "either") if request.param == "sqlite" else MemoryStore() as opened:
        yield opened


def once(method: Method) -> str:
    assert method.kind is not None
    return f"{method.kind.name}.{method.name}"


def plain(resource: Any) -> Any:
    """Without what differs from one making to the next."""
    resource.metadata.id, resource.metadata.version = "", None
    resource.status.audit = None
    if hasattr(resource.status, "default_instance_id"):
        resource.status.default_instance_id = ""
    if hasattr(resource.spec, "session_id"):
        resource.spec.session_id = ""
    return resource


@pytest.mark.parametrize("method", WRITES, ids=once)
async def test_every_write_is_answered_as_if_it_were_done_and_nothing_is_kept(
    either: SqliteStore | MemoryStore, method: Method
) -> None:
    rig = Rig(either)
    stub: Any = ServiceStub(rig.loopback)
    request, _ = await request_of(method, Owned(rig, "acme"))
    before, told = everything_kept(either), list[object]()
    either.feed.listen(told.append)
    reply = object_class(method.reply)
    tried = await stub._unary_unary(method.path, request, reply, **{**GIVEN, **DRY})
    assert everything_kept(either) == before
    assert told == []
    done = await stub._unary_unary(method.path, request, reply, **GIVEN)
    assert told
    assert everything_kept(either) != before
    assert plain(tried) == plain(done)


async def test_what_is_only_tried_is_not_there(rig: Rig) -> None:
    """Neither by its id nor by its slug, nor in any cache."""
    tried = await rig.environments.create(samples.environment(), **DRY)
    await refused(rig.find_environments.get(types.ApiResourceId(value=id_of(tried))), Status.NOT_FOUND)
    reference = types.ApiResourceReference(slug=tried.metadata.slug)
    await refused(rig.find_environments.get_by_reference(reference), Status.NOT_FOUND)
    made = await rig.environments.create(samples.environment(name=tried.metadata.name))
    changed = samples.environment(name=tried.metadata.name)
    changed.spec.description = "Changed"
    assert (await rig.environments.apply(changed, **DRY)).spec.description == "Changed"
    assert await rig.find_environments.get(types.ApiResourceId(value=id_of(made))) == made
    gone = types.ApiResourceDeleteInput(resource_id=id_of(made))
    assert await rig.environments.delete(gone, **DRY) == made
    assert await rig.find_environments.get(types.ApiResourceId(value=id_of(made))) == made


@pytest.mark.parametrize("value", ["ALL", "true", "server", "all,all", " all x"])
async def test_another_value_is_refused_before_anything_is_done(rig: Rig, value: str) -> None:
    error = await invalid(rig.environments.create(samples.environment(), metadata={"x-dry-run": value}), "x-dry-run")
    assert "'all'" in (error.message or "")
    assert await rig.ids("Environment") == set()


async def test_of_several_values_each_must_be_it(rig: Rig) -> None:
    several = [("x-dry-run", "all"), ("x-dry-run", "none")]
    await invalid(rig.environments.create(samples.environment(), metadata=several), "x-dry-run")
    await rig.environments.create(samples.environment(), metadata=[("x-dry-run", "all")] * 2)
    assert await rig.ids("Environment") == set()


async def test_reads_do_not_care(rig: Rig) -> None:
    made = await rig.environments.create(samples.environment())
    asked = types.ApiResourceId(value=id_of(made))
    assert await rig.find_environments.get(asked, metadata={"x-dry-run": "whatever"}) == made


async def test_what_the_real_call_is_refused_for_the_dry_one_is(rig: Rig) -> None:
    made = await rig.environments.create(samples.environment())
    again = samples.environment(name=made.metadata.name)
    await refused(rig.environments.create(again, **DRY), Status.ALREADY_EXISTS)
    stale = await rig.find_environments.get(types.ApiResourceId(value=id_of(made)))
    stale.metadata.version.id = f"ver-{samples.NOBODY}"
    await refused(rig.environments.update(stale, **DRY), Status.ABORTED)
    missing = types.ApiResourceDeleteInput(resource_id=f"env-{samples.NOBODY}")
    await refused(rig.environments.delete(missing, **DRY), Status.NOT_FOUND)
    await invalid(rig.environments.create(types.Environment(), **DRY), "api_version", "kind", "metadata", "spec")
    execution = await rig.execution()
    await rig.report(id_of(execution), phase=executions.ExecutionPhase.EXECUTION_FAILED)
    status = executions.AgentExecutionStatus(phase=executions.ExecutionPhase.EXECUTION_COMPLETED)
    late = executions.AgentExecutionUpdateStatusInput(execution_id=id_of(execution), status=status)
    await refused(rig.executions.update_status(late, **DRY), Status.FAILED_PRECONDITION)


async def test_what_only_the_commit_would_refuse_is_refused_too(rig: Rig) -> None:
    """Another caller takes the slug while the call runs."""
    taken = samples.environment()

    rival = samples.environment(name=taken.metadata.name)

    async def race(_ctx: Any) -> None:
        rig.inside.action = None
        await separately(rig.environments.create(rival))

    rig.inside.action = race
    await refused(rig.environments.create(taken, **DRY), Status.ALREADY_EXISTS)


async def test_callers_may_try_what_they_may_do(rig: Rig) -> None:
    callers = Callers(rig)
    of_acme = samples.environment(org="acme")
    await callers(ANN).environments.create(of_acme, **DRY)
    await refused(callers(GIL).environments.create(of_acme, **DRY), Status.PERMISSION_DENIED)
    await refused(callers(ANN).contexts.create(samples.execution_context(), **DRY), Status.PERMISSION_DENIED)


async def test_secret_values_are_marks_even_for_those_who_may_see_them(rig: Rig) -> None:
    root = Callers(rig)(ROOT)
    environment = samples.environment()
    environment.spec.data["KEY"] = types.EnvironmentValue(value="s3cret", is_secret=True)
    tried = await root.environments.create(environment, **DRY)
    assert (tried.spec.data["KEY"].value, tried.spec.data["TZ"].value) == (MARK, "Europe/Berlin")
    made = await root.environments.create(environment)
    assert made.spec.data["KEY"].value == "s3cret"
    for call in (root.environments.apply(environment, **DRY), root.environments.update(made, **DRY)):
        assert (await call).spec.data["KEY"].value == MARK
    deleted = await root.environments.delete(types.ApiResourceDeleteInput(resource_id=id_of(made)), **DRY)
    assert deleted.spec.data["KEY"].value == MARK


async def test_an_execution_with_secrets_is_tried_with_its_session_and_context(rig: Rig) -> None:
    agent = samples.agent()
    agent.spec.env_spec = types.EnvironmentSpec(data={"A": types.EnvironmentValue(value="s3cret", is_secret=True)})
    agent = await rig.agents.create(agent)
    execution = samples.agent_execution(agent_id=id_of(agent))
    execution.spec.runtime_env = {"A": types.ExecutionValue(value="other", is_secret=True)}
    before = everything_kept(rig.store)
    tried = await rig.executions.create(execution, **DRY)
    assert tried.spec.session_id.startswith("ses-")
    assert everything_kept(rig.store) == before


async def test_nothing_is_logged_as_done(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "stigmer")
    agent = await rig.agents.create(samples.agent(), **DRY)
    assert agent.status.default_instance_id
    assert not [line for line in map(str, caplog.messages) if "Successfully" in line]
    assert [line["dry_run"] for line in said(caplog, "call")] == [True, True]
    caplog.clear()
    agent = await rig.agent()
    await rig.executions.create(samples.agent_execution(agent_id=id_of(agent)), **DRY)
    assert not [line for line in map(str, caplog.messages) if "Successfully" in line and "session" in line]


async def test_where_another_server_would_make_something_nothing_can_be_tried(
    tmp_path: Path, wire: Callable[..., Rig]
) -> None:
    async with serving(tmp_path / "far") as (channel, far):
        rig = wire(Session=SessionClient(channel))
        agent = await rig.agent()
        error = await refused(
            rig.executions.create(samples.agent_execution(agent_id=id_of(agent)), **DRY), Status.FAILED_PRECONDITION
        )
        info = detail_of(error, error_details_pb2.ErrorInfo)
        assert (info.reason, info.metadata["subject"]) == ("DRY_RUN_UNSUPPORTED", "Session")
        assert (await far.store.page(Query("Session"), Window(1))).total == 0
        session = await rig.sessions.create(samples.session(agent.status.default_instance_id), **DRY)
        assert id_of(session), "what this server makes alone can be tried"


OF_NO_KIND = [
    method
    for method in descriptors.methods().values()
    if method.kind is None and not method.service.endswith("QueryController")
]


@pytest.mark.parametrize("method", OF_NO_KIND, ids=lambda method: method.path)
async def test_a_method_about_no_kind_that_may_write_is_refused_rather_than_done(rig: Rig, method: Method) -> None:
    """Keys that are rotated are committed by themselves: no transaction could be rolled back."""
    stub: Any = ServiceStub(rig.loopback)
    request, reply = object_class(method.request)(), object_class(method.reply)
    call = stub._unary_unary(method.path, request, reply, **{**GIVEN, **DRY})
    error = await refused(call, Status.FAILED_PRECONDITION)
    assert detail_of(error, error_details_pb2.ErrorInfo).reason == "DRY_RUN_UNSUPPORTED"


async def test_a_dry_call_within_a_real_one_leaves_nothing_in_it(rig: Rig) -> None:
    within: list[Any] = []

    async def both() -> None:
        within.append(await rig.agents.create(samples.agent(), **DRY))
        within.append(await rig.sessions.create(samples.session()))

    await rig.outer(both)
    assert await rig.ids("Agent") == await rig.ids("AgentInstance") == set()
    assert await rig.ids("Session") == {id_of(within[1])}
    assert len(await rig.ids("Environment")) == 1


async def test_a_real_call_within_a_dry_one_is_tried_with_it(rig: Rig) -> None:
    async def more() -> None:
        await rig.agents.create(samples.agent())

    before = everything_kept(rig.store)
    await rig.outer(more, **DRY)
    assert everything_kept(rig.store) == before


async def test_what_an_interceptor_calls_around_a_dry_call_is_dry_as_well(wire: Callable[..., Rig]) -> None:
    async def more(_call: Call, request: Any, proceed: UnaryNext) -> Any:
        await rig.agents.create(samples.agent())
        return await proceed(_call, request)

    rig = wire(Around("EnvironmentCommandController/create", more))
    before = everything_kept(rig.store)
    await rig.environments.create(samples.environment(), **DRY)
    assert everything_kept(rig.store) == before


async def test_many_at_once_are_tried_beside_one_that_is_done(rig: Rig) -> None:
    """Dry calls in one batch of the writer with real ones take nothing of them along, and give no revision."""
    real = [rig.environments.create(samples.environment()) for _ in range(16)]
    dry = [rig.environments.create(samples.environment(), **DRY) for _ in range(48)]
    replies = await asyncio.gather(*(call for group in zip(*[iter(dry)] * 3, real, strict=True) for call in group))
    made = {id_of(reply) for reply in replies[3::4]}
    assert await rig.ids("Environment") == made
    assert everything_kept(rig.store)["counters"] == sorted(["('', 16)", "('Environment', 16)"])


async def test_callers_are_told_that_the_server_knows_it() -> None:
    async with MemoryStore() as store:
        told = await CallerQueryControllerStub(assemble(store).loopback).whoami(types.WhoamiRequest())
    assert {"dry-run", "idempotency"} <= set(told.features)
