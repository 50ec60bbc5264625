"""Who is not of all organizations refers to what is there for it, and to nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import samples
from callers import ANN, BOTH, GIL, ROOT, Callers, everything, missing, of, outcome, to_environment
from edge_rig import Around, Rig, id_of, separately

from stigmer.access.principal import LOCAL
from stigmer.handlers import HANDLERS
from stigmer.wire import descriptors
from stigmer.wire.message_types import full_name_of

if TYPE_CHECKING:
    from callers import Counted, Everything

    from stigmer.access.principal import Principal
    from stigmer.edge.interceptors import UnaryNext
    from stigmer.handlers.base import Handler
    from stigmer.pipeline.call import Call

NAMES_NONE = {("Session", "spec.thread_id"), ("Session", "spec.sandbox_id"), ("Agent", "spec.skill_refs")}
"""Of other systems, or of a kind that is still to come."""


def said(handler: Handler[Any]) -> set[tuple[str, str, str]]:
    kind = handler.kind
    references = (*kind.refers_to, *((kind.belongs_to,) if kind.belongs_to is not None else ()))
    return {(kind.name, one.path, one.kind) for one in references}


def test_the_kinds_say_what_they_refer_to() -> None:
    assert set[Any]().union(*map(said, HANDLERS)) == {
        ("AgentInstance", "spec.agent_id", "Agent"),
        ("AgentInstance", "spec.environment_refs", "Environment"),
        ("Session", "spec.agent_instance_id", "AgentInstance"),
        ("AgentExecution", "spec.agent_id", "Agent"),
        ("AgentExecution", "spec.session_id", "Session"),
        ("ExecutionContext", "spec.execution_id", "AgentExecution"),
    }


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.kind.name)
def test_no_reference_of_a_spec_is_forgotten(handler: Handler[Any]) -> None:
    """A new field that names a resource stands in its kind's file; one that names none stands above."""
    spec = descriptors.descriptor(full_name_of(handler.kind.generated)).fields_by_name["spec"].message_type
    assert spec is not None
    for field in spec.fields:
        message = field.message_type
        names = field.name.endswith("_id") or (message is not None and message.name == "ApiResourceReference")
        paths = {path for _, path, _ in said(handler)}
        assert not names or f"spec.{field.name}" in paths or (handler.kind.name, f"spec.{field.name}") in NAMES_NONE


def instance_on(agent_id: str, *environments: Any) -> Any:
    """An instance of the agent with the environments."""
    instance = samples.agent_instance(agent_id)
    refs = [to_environment(one.metadata.slug, one.metadata.org) for one in environments]
    instance.spec.environment_refs = refs
    return instance


def referring(to: Everything, own: Everything) -> dict[str, Any]:
    """Resources that each refer to one thing of the other's, and else to what is their maker's own."""
    ours = id_of(own.agent)
    return {
        "the instance's agent": instance_on(id_of(to.agent)),
        "the instance's environment": instance_on(ours, own.environment, to.environment),
        "the session's instance": samples.session(id_of(to.instance)),
        "the execution's agent": samples.agent_execution(agent_id=id_of(to.agent)),
        "the execution's session": samples.agent_execution(id_of(to.session)),
    }


CASES = (
    "the instance's agent",
    "the instance's environment",
    "the session's instance",
    "the execution's agent",
    "the execution's session",
)


async def sent(callers: Callers, by: Principal, rpc: str, resource: Any) -> Any:
    return await callers(by).kind(resource.kind).write(rpc, resource)


@pytest.mark.parametrize("rpc", ["create", "apply"])
@pytest.mark.parametrize("case", CASES)
async def test_what_is_new_refers_to_what_is_there_for_its_maker(case: str, rpc: str, callers: Callers) -> None:
    theirs, own = await everything(callers, GIL), await everything(callers, ANN)
    resource = referring(theirs, own)[case]
    if rpc == "apply" and resource.kind == "AgentExecution":
        rpc = "create"  # it has no apply
    assert " not found" in await missing(sent(callers, ANN, rpc, resource))
    resource.metadata.org = "acme"
    assert await sent(callers, BOTH, rpc, resource)


async def test_what_is_there_for_all_may_be_referred_to(callers: Callers) -> None:
    platform = await callers(ROOT).agents.create(samples.agent(owner_scope=1))
    instance = await callers(ANN).instances.create(instance_on(id_of(platform)))
    assert instance.spec.agent_id == id_of(platform)


async def test_an_environment_is_looked_for_as_a_reference_names_it(callers: Callers) -> None:
    own, stubs = await everything(callers, BOTH, org="acme"), callers(BOTH)
    name = samples.unique("env")
    for org in ("acme", "globex"):
        await stubs.environments.create(samples.environment(name=name, org=org))
    instance = samples.agent_instance(id_of(own.agent), org="acme")
    instance.spec.environment_refs = [to_environment(own.environment.metadata.slug), to_environment(name)]
    found = await outcome(stubs.instances.create(instance))
    assert found.code == "INVALID_ARGUMENT"
    assert found.message.startswith("spec.environment_refs[1].org: is needed")
    instance.spec.environment_refs[1].org = "globex"
    made = await stubs.instances.create(instance)
    assert [one.slug for one in made.spec.environment_refs] == [own.environment.metadata.slug, name]


async def test_an_update_checks_what_it_sets_newly_and_leaves_what_was_set(callers: Callers) -> None:
    """What somebody of all organizations set, or has gone since, does not stand in the way of other changes."""
    theirs, own = await everything(callers, GIL), await everything(callers, ANN)
    lost = to_environment("lost", "acme")
    instance = instance_on(f"agt-{samples.NOBODY}", theirs.environment)
    instance.metadata.org = "acme"
    instance.spec.environment_refs.append(lost)
    instance = await callers(LOCAL).instances.create(instance)
    instance.metadata.labels = {"changed": "by ann"}
    instance.spec.environment_refs.reverse()
    for rpc in ("update", "apply"):
        instance.metadata.version = None
        instance = await sent(callers, ANN, rpc, instance)
    another = await callers(GIL).create(samples.environment())
    instance.spec.environment_refs.append(to_environment(another.metadata.slug, "globex"))
    instance.metadata.version = None
    for rpc in ("update", "apply"):
        assert "in org 'globex'" in await missing(sent(callers, ANN, rpc, instance))
    instance.spec.environment_refs[-1] = to_environment(own.environment.metadata.slug)
    assert await sent(callers, ANN, "update", instance)


@pytest.mark.parametrize("by", [LOCAL, ROOT, of("editor", "*")], ids=lambda by: by.name)
async def test_who_is_of_all_organizations_refers_to_anything(by: Principal, callers: Callers) -> None:
    stubs = callers(by)
    instance = samples.agent_instance()
    instance.spec.environment_refs = [to_environment("no-such")]
    assert await stubs.instances.create(instance)
    assert await stubs.sessions.create(samples.session())


class AroundRuns(Around):
    around = "run"


@pytest.mark.parametrize("case", CASES)
async def test_a_target_that_goes_between_the_check_and_the_commit_is_not_found(case: str, store: Counted) -> None:
    """The first run finds it, the commit does not, the second run says so."""

    async def delete_it(call: Call, request: Any, proceed: UnaryNext) -> Any:
        reply = await proceed(call, request)
        if doomed:
            await separately(callers(LOCAL).delete(doomed.pop()))
        return reply

    kind = {"instance": "AgentInstance", "session": "Session", "execution": "AgentExecution"}[
        case.partition("'")[0][4:]
    ]
    callers = Callers(Rig(store, [AroundRuns(f"{kind}CommandController/create", delete_it)]))  # type: ignore[arg-type]  # as the fixture's
    doomed: list[Any] = []
    there, own = await everything(callers, ANN), await everything(callers, ANN)
    doomed.append(getattr(there, case.rpartition(" ")[2]))
    assert " not found" in await missing(sent(callers, ANN, "create", referring(there, own)[case]))
    assert not doomed
