"""Nobody gets at what is another's by having the server, or the host's code, ask in its stead."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import samples
from callers import ANN, CLAIMS, GIL, ROOT, Callers, denied, everything, missing, of, outcome
from edge_rig import Around, Rig, Seen, Stubs, agents, executions, id_of, sessions

from stigmer.access.principal import INTERNAL, LOCAL, organization
from stigmer.types import ApiResourceOwnerScope as Scope

if TYPE_CHECKING:
    from callers import Counted

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call


@pytest.mark.parametrize("nested", ["Environment", "Session"])
@pytest.mark.parametrize("channel", ["inherited", "internal"])
async def test_a_call_made_for_a_caller_sees_what_the_caller_sees(nested: str, channel: str, store: Counted) -> None:
    """Whether the host's code makes it, within the caller's call or one that the server makes for it, or the server."""
    found: list[str] = []

    async def snoop(call: Call, request: Any, proceed: UnaryNext) -> Any:
        if call.principal.caller == ANN:
            stubs = Stubs(rig.loopback if channel == "inherited" else rig.edge.channel(as_=INTERNAL))
            got = await outcome(stubs.find_agents.get(agents.AgentId(value=id_of(theirs.agent))))
            listed = await stubs.find_sessions.list(sessions.ListSessionsRequest())
            made = await outcome(stubs.agents.create(samples.agent(org="globex")))
            found.extend((got.code, made.code, str(id_of(theirs.session) in str(listed))))
        return await proceed(call, request)

    rig = Rig(store, [Around(f"{nested}CommandController/create", snoop)])  # type: ignore[arg-type]  # as the fixture's
    callers = Callers(rig)
    theirs = await everything(callers, GIL)
    agent = await callers(ANN).create(samples.agent())
    if nested == "Session":
        await callers(ANN).create(samples.agent_execution(agent_id=id_of(agent)))
    else:
        await callers(ANN).create(samples.environment())
    assert set(found) == {"NOT_FOUND", "PERMISSION_DENIED", "False"}
    assert await callers(GIL).get(theirs.agent) == theirs.agent


async def test_the_hosts_calls_within_the_servers_own_have_the_callers_rights_alone(store: Counted) -> None:
    """The server may make what is the platform's for a caller; nobody else may in its name."""
    codes: list[str] = []

    async def abuse(call: Call, request: Any, proceed: UnaryNext) -> Any:
        assert call.principal == replace(INTERNAL, on_behalf_of=ANN)
        sent = samples.agent(owner_scope=Scope.platform)
        codes.append((await outcome(Stubs(rig.loopback).agents.create(sent))).code)
        return await proceed(call, request)

    rig = Rig(store, [Around("SessionCommandController/create", abuse)])  # type: ignore[arg-type]  # as the fixture's
    callers = Callers(rig)
    agent = await callers(ANN).create(samples.agent())
    await callers(ANN).create(samples.agent_execution(agent_id=id_of(agent)))
    assert codes == ["PERMISSION_DENIED"]


async def test_whose_a_context_is_the_server_alone_may_say_before_its_execution_is_there(store: Counted) -> None:
    """In its own calls, and no more than the caller might have; anybody else's word counts for nothing."""
    made: list[Any] = []

    async def say(_call: Call, request: Any, proceed: UnaryNext) -> Any:
        for channel in (rig.edge.channel(INTERNAL), rig.loopback):
            for org in ("acme", "globex", ""):
                sent = samples.execution_context(f"aex-{samples.NOBODY}", org=org)
                made.append(await outcome(Stubs(channel).contexts.create(sent)))
        return await proceed(_call, request)

    rig = Rig(store, [Around("EnvironmentCommandController/create", say)])  # type: ignore[arg-type]  # as the fixture's
    callers = Callers(rig)
    await callers(ANN).create(samples.environment())
    assert [one.code for one in made] == ["OK", "PERMISSION_DENIED", "OK", *["PERMISSION_DENIED"] * 3]
    of_acme, _, of_ann, *_ = (one.reply for one in made)
    amy, ann = (of("runner", "acme", name=name) for name in ("amy", "ann"))
    assert await callers(amy).get(of_acme) == of_acme
    await missing(callers(amy).get(of_ann))
    assert await callers(ann).get(of_ann) == of_ann


async def test_no_metadata_shows_or_writes_what_is_anothers(callers: Callers) -> None:
    theirs, ann = await everything(callers, GIL), callers(ANN)
    await missing(ann.find_agents.get(agents.AgentId(value=id_of(theirs.agent)), metadata=CLAIMS))
    listed = await ann.find_sessions.list(sessions.ListSessionsRequest(), metadata=CLAIMS)
    assert not listed.entries
    await denied(ann.environments.create(samples.environment(org="globex"), metadata=CLAIMS), "create", "environment")
    sent = samples.agent_execution(agent_id=id_of(theirs.agent))
    await missing(ann.executions.create(sent, metadata=CLAIMS))


async def test_an_outer_right_suffices_for_what_the_server_makes(callers: Callers) -> None:
    """A runner makes no sessions and no instances; its executions get them."""
    runner = of("runner", "acme")
    agent = await callers(ANN).create(samples.agent())
    await callers(ANN).kind("AgentInstance").delete(agent.status.default_instance_id)
    await denied(callers(runner).create(samples.session()), "can_create_session", "organization")
    made = await callers(runner).create(samples.agent_execution(agent_id=id_of(agent)))
    session = await callers(runner).kind("Session").get(made.spec.session_id)
    assert session.status.audit.spec_audit.created_by.id == "runner"


async def test_who_follows_an_execution_never_sees_another_ones_that_takes_its_id(store: Counted) -> None:
    seen = Seen()
    callers = Callers(Rig(store, [seen]))  # type: ignore[arg-type]  # as the fixture's
    mine, theirs = await everything(callers, ANN), await everything(callers, GIL)
    execution = id_of(mine.execution)
    follow = executions.AgentExecutionId(value=execution)
    await missing(anext(callers(GIL).find_executions.subscribe(follow)))
    async with aclosing(callers(ANN).find_executions.subscribe(follow)) as states:
        assert await anext(states) == mine.execution
        assert seen.of("subscribe")[-1].owner == organization("acme")
        await callers(LOCAL).delete(mine.execution)
        await callers(GIL).create(samples.agent_execution(id_of(theirs.session), id=execution))
        assert await missing(anext(states)) == f"AgentExecution not found: {execution}"
    await missing(anext(callers(ANN).find_executions.subscribe(follow)))


async def test_a_report_on_a_foreign_execution_is_as_one_on_none(callers: Callers) -> None:
    """Also a long one, which is compared with what is stored before anything else."""
    theirs = await everything(callers, GIL)
    messages = [executions.AgentMessage(content="x" * 1000) for _ in range(400)]
    ends = [
        (await missing(callers(of("runner", "acme")).report(id_, messages=messages))).replace(id_, "ID")
        for id_ in (id_of(theirs.execution), f"aex-{samples.NOBODY}")
    ]
    assert ends == ["AgentExecution not found: ID"] * 2
    assert await callers(ROOT).get(theirs.execution) == theirs.execution
