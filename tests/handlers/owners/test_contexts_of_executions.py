"""The context that AgentExecution.create makes: what is in it, whose it is, and that nothing of it stands elsewhere."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import samples
from callers import ANN, BOTH, GIL, ROOT, Callers, Outcome, missing, of, outcome, runner_of, to_environment
from edge_rig import contexts, environments, executions, id_of, said

from stigmer.access.principal import LOCAL
from stigmer.types import ApiResourceOwnerScope as Scope
from stigmer.types import ExecutionPhase

if TYPE_CHECKING:
    from callers import Counted

    from stigmer.access.principal import Principal

CANARY = "hunter2-canary"


class World:
    """An agent of one caller's, on whose instance executions are made."""

    def __init__(self, callers: Callers, who: Principal = ANN, **metadata: Any) -> None:
        self.callers, self.who, self.metadata = callers, who, metadata or {"org": "acme"}

    async def environment(self, who: Principal | None = None, secret: tuple[str, ...] = (), **values: str) -> Any:
        return await self.environment_of(who or self.who, self.metadata, secret, **values)

    async def environment_of(
        self, who: Principal, metadata: dict[str, Any], secret: tuple[str, ...] = (), **values: str
    ) -> Any:
        sent = samples.environment(**metadata)
        sent.spec.data = _layer(values, secret)
        return await self.callers(who).environments.create(sent)

    async def session(self, *refs: Any, declares: dict[str, str] | None = None, secret: tuple[str, ...] = ()) -> Any:
        """A session on an instance with these references, of an agent that declares these keys."""
        theirs, sent = self.callers(self.who), samples.agent(**self.of_agents)
        if declares is not None:
            sent.spec.env_spec = environments.EnvironmentSpec(data=_layer(declares, secret))
        self.agent = await theirs.agents.create(sent)
        instance = samples.agent_instance(id_of(self.agent), **self.metadata)
        instance.spec.environment_refs = list(refs)
        everybody = self.callers(LOCAL if self.metadata.get("owner_scope") != Scope.identity_account else self.who)
        self.instance = await everybody.instances.create(instance)
        return await theirs.sessions.create(samples.session(id_of(self.instance), **self.metadata))

    @property
    def of_agents(self) -> dict[str, Any]:
        own = self.metadata.get("owner_scope") == Scope.identity_account
        return {"org": "acme"} if own else self.metadata

    async def run(self, session: Any, who: Principal | None = None, **runtime_env: str) -> Any:
        return await self.callers(who or self.who).executions.create(execution(session, **runtime_env))

    async def values(self, made: Any, who: Principal | None = None) -> dict[str, tuple[str, bool]]:
        """The values of the execution's context, and whether each is secret."""
        context = await self.context(made, who)
        return {key: (one.value, one.is_secret) for key, one in context.spec.data.items()}

    async def context(self, made: Any, who: Principal | None = None) -> Any:
        request = contexts.ExecutionContextExecutionIdInput(execution_id=id_of(made))
        return await self.callers(who or runner_of(self.who)).find_contexts.get_by_execution_id(request)


def _layer(values: dict[str, str], secret: tuple[str, ...]) -> dict[str, Any]:
    return {key: environments.EnvironmentValue(value=one, is_secret=key in secret) for key, one in values.items()}


def execution(session: Any, **runtime_env: str) -> Any:
    sent = samples.agent_execution(id_of(session))
    sent.spec.runtime_env = {key: contexts.ExecutionValue(value=value) for key, value in runtime_env.items()}
    return sent


def refused(found: Outcome, subject: str) -> None:
    assert found.code == "FAILED_PRECONDITION", found
    assert f"Environment with slug '{subject.partition('/')[2]}' not found" in found.message
    assert "spec.environment_refs[" in found.message
    (detail,) = found.details
    assert '"ENVIRONMENT_MISSING"' in detail
    assert f'"{subject}"' in detail


async def test_later_layers_count_before_earlier_ones(callers: Callers) -> None:
    world = World(callers)
    first = await world.environment(A="first", B="first", C="first")
    second = await world.environment(A="second", B="second", D="")
    refs = [to_environment(one.metadata.slug) for one in (first, second)]
    made = await world.run(await world.session(*refs), A="given", E="given")
    assert await world.values(made) == {
        "A": ("given", False),
        "B": ("second", False),
        "C": ("first", False),
        "E": ("given", False),
    }


async def test_what_the_agent_declares_is_kept_and_has_defaults(
    callers: Callers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = World(callers)
    environment = await world.environment(TOKEN=CANARY, STRAY=CANARY)
    session = await world.session(
        to_environment(environment.metadata.slug), declares={"TOKEN": "", "TZ": "Europe/Berlin", "UNSET": ""}
    )
    made = await world.run(session, OTHER=CANARY)
    assert await world.values(made) == {"TOKEN": (CANARY, False), "TZ": ("Europe/Berlin", False)}
    (line,) = said(caplog, "Left out what the agent does not declare")
    assert (line["keys"], line["count"], line["execution_id"]) == (["OTHER", "STRAY"], 2, id_of(made))
    (line,) = said(caplog, "Successfully created execution context")
    assert line["execution_id"] == id_of(made)
    assert CANARY not in caplog.text


async def test_a_value_is_secret_where_any_layer_has_its_key_secret(callers: Callers) -> None:
    world = World(callers)
    environment = await world.environment(None, ("B",), A="a", B="b", C="c")
    session = await world.session(
        to_environment(environment.metadata.slug), declares={"A": "", "B": "", "C": ""}, secret=("A",)
    )
    made = await world.run(session, B="given")
    assert await world.values(made) == {"A": ("a", True), "B": ("given", True), "C": ("c", False)}


async def test_no_context_is_made_where_nothing_would_be_in_it(callers: Callers, store: Counted) -> None:
    world = World(callers)
    made = await world.run(await world.session(declares={"A": ""}), B="left out")
    await missing(world.context(made))
    assert await callers.rig.ids("ExecutionContext") == set()
    plain = await world.session()
    store.reads.clear()
    await world.run(plain)
    assert [read for read in store.reads if "Environment" in read or "ExecutionContext" in read] == []


async def test_an_execution_never_has_runtime_env_and_its_keys_are_noted(callers: Callers, store: Any) -> None:
    world = World(callers)
    session = await world.session()
    made = await world.run(session, B=CANARY, A=CANARY)
    assert made.spec.runtime_env == {}
    made.spec.runtime_env = execution(session, C=CANARY).spec.runtime_env
    made.metadata.version = None
    made = await callers(ANN).executions.update(made)
    assert made.spec.runtime_env == {}
    assert (await callers(ANN).get(made)).spec.runtime_env == {}
    row = await store.get("AgentExecution", id_of(made))
    assert CANARY.encode() not in row.data
    assert await world.values(made) == {"A": (CANARY, False), "B": (CANARY, False)}
    assert json.loads((await store.record("runtime_env_keys", id_of(made))).value) == ["A", "B"]


@pytest.mark.parametrize("by", ["execution", "session"])
async def test_the_noted_keys_go_with_the_execution(callers: Callers, store: Any, by: str) -> None:
    world = World(callers)
    session = await world.session()
    made = await world.run(session, A="a")
    await callers(ANN).delete(made if by == "execution" else session)
    assert await store.records("runtime_env_keys") == []
    assert await callers.rig.ids("ExecutionContext") == set()


async def test_the_context_is_named_for_its_execution_and_is_whose_it_is(callers: Callers) -> None:
    world = World(callers)
    made = await world.run(await world.session(), A="a")
    context = await world.context(made)
    name = f"exec-ctx-{id_of(made)}"
    assert (context.metadata.name, context.metadata.slug, context.metadata.org) == (name, name, "acme")
    assert context.status.audit.spec_audit.created_by.id == "ann"
    await missing(callers(runner_of(GIL)).get(context))
    assert await callers(of("runner", "acme", name="work")).get(context) == context


async def test_the_context_of_a_single_callers_execution_is_that_callers_whoever_makes_it(callers: Callers) -> None:
    world = World(callers, owner_scope=Scope.identity_account, org="acme")
    session = await world.session()
    for maker in (ANN, ROOT):
        context = await world.context(await world.run(session, maker, A="a"))
        assert context.metadata.org == ""
        await missing(callers(of("runner", "acme", name="amy")).get(context))
        assert await callers(of("runner", "acme", name="ann")).get(context) == context


async def test_on_a_platform_agent_the_context_is_its_sessions_organizations(callers: Callers) -> None:
    agent = await callers(ROOT).agents.create(samples.agent(owner_scope=Scope.platform))
    sent = samples.agent_execution(agent_id=id_of(agent))
    sent.spec.runtime_env = {"A": contexts.ExecutionValue(value="a")}
    made = await callers(ANN).executions.create(sent)
    world = World(callers)
    assert await world.values(made, of("runner", "acme")) == {"A": ("a", False)}
    await missing(world.context(made, of("runner", "globex")))


async def test_a_missing_environment_is_a_failed_precondition_that_names_the_reference(callers: Callers) -> None:
    world = World(callers)
    there = await world.environment(A="a")
    session = await world.session(to_environment(there.metadata.slug), to_environment("gone"))
    found = await outcome(world.run(session, B=CANARY))
    refused(found, "acme/gone")
    assert "environment_refs[1]" in found.message
    assert CANARY not in str(found)
    assert await callers.rig.ids("AgentExecution") == set()


async def test_more_than_a_context_may_hold_is_a_failed_precondition_that_says_so(callers: Callers) -> None:
    world = World(callers)
    many = [{f"{name}{number}": CANARY for number in range(600)} for name in "AB"]
    refs = [to_environment((await world.environment(ANN, (), **values)).metadata.slug) for values in many]
    found = await outcome(world.run(await world.session(*refs)))
    assert (found.code, "CONTEXT_REFUSED" in "".join(found.details)) == ("FAILED_PRECONDITION", True)
    assert "at most 1000 entries, not 1200" in found.message
    assert CANARY not in str(found)
    assert await callers.rig.ids("AgentExecution") == set()


async def test_an_environment_of_another_organization_is_missing_but_for_callers_of_all(callers: Callers) -> None:
    """The caller is of both; the instance is not."""
    foreign = await World(callers, GIL, org="globex").environment(A="globex")
    world = World(callers)
    session = await world.session(to_environment(foreign.metadata.slug, "globex"))
    for who in (ANN, BOTH):
        refused(await outcome(world.run(session, who)), f"globex/{foreign.metadata.slug}")
    assert await world.values(await world.run(session, ROOT)) == {"A": ("globex", False)}


async def test_the_callers_own_environment_is_merged_and_nobody_elses(callers: Callers) -> None:
    own = {"owner_scope": Scope.identity_account, "slug": "mine"}
    world = World(callers)
    await world.environment_of(ANN, own, A="of ann")
    session = await world.session(to_environment("mine"))
    assert await world.values(await world.run(session)) == {"A": ("of ann", False)}
    amy = of("editor", "acme", name="amy")
    refused(await outcome(world.run(session, amy)), "acme/mine")
    await world.environment_of(amy, {**own, "org": "acme"}, A="of amy")
    assert await world.values(await world.run(session, amy)) == {"A": ("of amy", False)}
    await world.environment_of(ANN, {"org": "acme", "slug": "mine"}, A="of acme")
    assert await world.values(await world.run(session)) == {"A": ("of acme", False)}


@pytest.mark.parametrize(
    "phase",
    [ExecutionPhase.EXECUTION_COMPLETED, ExecutionPhase.EXECUTION_FAILED, ExecutionPhase.EXECUTION_CANCELLED],
)
async def test_the_end_of_an_execution_takes_all_its_contexts_with_it(callers: Callers, phase: Any) -> None:
    world = World(callers)
    session = await world.session()
    made, other = await world.run(session, A="a"), await world.run(session, A="a")
    runner = callers(of("runner", "acme", name="work"))
    await runner.contexts.create(samples.execution_context(id_of(made)))
    await runner.report(id_of(made), phase=ExecutionPhase.EXECUTION_IN_PROGRESS)
    assert len(await callers.rig.ids("ExecutionContext")) == 3
    await runner.report(id_of(made), phase=phase)
    assert await callers.rig.ids("ExecutionContext") == {id_of(await world.context(other))}
    await missing(world.context(made))
    await runner.report(id_of(made), phase=phase, error="said again")


async def test_an_execution_that_has_ended_gets_no_context_any_more(callers: Callers) -> None:
    world = World(callers)
    made = await world.run(await world.session())
    runner = callers(of("runner", "acme", name="work"))
    await runner.report(id_of(made), phase=ExecutionPhase.EXECUTION_FAILED)
    for call in (runner.contexts.create, runner.contexts.apply):
        found = await outcome(call(samples.execution_context(id_of(made))))
        assert found.code == "FAILED_PRECONDITION"
        assert f"AgentExecution {id_of(made)} has ended with EXECUTION_FAILED" in found.message
        assert "TERMINAL_PHASE" in "".join(found.details)
    await missing(callers(runner_of(GIL)).get(made))


async def test_a_session_made_by_the_call_and_a_given_one_are_merged_alike(callers: Callers) -> None:
    world = World(callers)
    await world.session(declares={"A": "default"})
    made = await callers(ANN).executions.create(samples.agent_execution(agent_id=id_of(world.agent)))
    assert await world.values(made) == {"A": ("default", False)}


async def test_no_list_subscription_or_reply_shows_a_value(callers: Callers) -> None:
    world = World(callers)
    session = await world.session()
    made = await world.run(session, A=CANARY)
    ann = callers(ANN)
    listed = await ann.find_executions.list(executions.ListAgentExecutionsRequest())
    follow = ann.find_executions.subscribe(executions.AgentExecutionId(value=id_of(made)))
    first = await anext(follow)
    await follow.aclose()
    report = await ann.report(id_of(made), phase=ExecutionPhase.EXECUTION_IN_PROGRESS)
    assert CANARY not in "".join(map(repr, (made, listed, first, report)))
