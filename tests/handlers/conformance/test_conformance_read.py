"""get and getByReference, for every kind; and what is not there, for every RPC that takes an id."""

from __future__ import annotations

from typing import Any

import pytest
import samples
from conformance import Resources, invalid, missing
from conformance_facts import EXECUTION_CONTEXT, KINDS
from samples import NOBODY

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecutionStatus, AgentExecutionUpdateStatusInput
from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import ExecutionContextExecutionIdInput
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceOwnerScope as Scope
from stigmer._gen.ai.stigmer.commons.apiresource.apiresourcekind import ApiResourceKind

NAMES_NOTHING = [f"{{}}-{NOBODY}", f"{{}}-{NOBODY.upper()}", "banana", "{}-banana", "ünïcode", "a b/c", "a\nb\0c"]


@pytest.fixture
def contexts(channel: Any) -> Resources:
    return Resources(EXECUTION_CONTEXT, channel)


async def test_get_gives_what_create_answered(kind: Resources) -> None:
    made = await kind.created()
    assert await kind.get(made.metadata.id) == made


async def test_an_id_that_names_nothing_is_not_found_whatever_its_form(
    kind: Resources, subtests: pytest.Subtests
) -> None:
    for id_ in (one.format(kind.facts.prefix) for one in NAMES_NOTHING):
        with subtests.test(id_):
            await missing(kind.get(id_), kind.facts.name, id_)
            await missing(kind.delete(id_), kind.facts.name, id_)
            if "update" in kind.facts.rpcs:
                await missing(kind.update(await kind.sample(id=id_)), kind.facts.name, id_)


async def test_an_empty_id_is_refused(kind: Resources) -> None:
    await invalid(kind.get(""), "value")
    field = "resource_id" if hasattr(kind.facts.delete_request(), "resource_id") else "value"
    await invalid(kind.delete(""), field)


async def test_another_kinds_id_names_nothing(kind: Resources) -> None:
    other = Resources(next(facts for facts in KINDS if facts is not kind.facts), kind.channel)
    id_ = (await other.created()).metadata.id
    await missing(kind.get(id_), kind.facts.name, id_)


async def test_a_long_id_is_cut_short_in_the_answer(kind: Resources) -> None:
    await missing(kind.get("x" * 9000), kind.facts.name, "x" * 160 + "…")


async def test_a_long_reference_is_cut_short_in_the_answer(referred: Resources) -> None:
    """A status travels in headers, which clients limit: it must arrive as what it is."""
    name, long, short = referred.facts.name, "x" * 9000, "x" * 160 + "…"
    where = f" in org '{short}'"
    await missing(referred.by_reference(long), name, short, f"{name} with slug '{short}' not found")
    await missing(referred.by_reference(long, long), name, short, f"{name} with slug '{short}' not found{where}")


async def test_a_reference_finds_by_slug_and_org(referred: Resources) -> None:
    made = await referred.created(org="acme")
    slug = made.metadata.slug
    for kind in (ApiResourceKind.api_resource_kind_unknown, referred.facts.number):
        assert await referred.by_reference(slug, "acme", kind=kind) == made
        assert await referred.by_reference(slug, kind=kind) == made


async def test_the_scope_of_a_reference_is_not_matched_on(referred: Resources) -> None:
    made = await referred.created()
    for scope in range(4):
        assert await referred.by_reference(made.metadata.slug, scope=Scope(scope)) == made


async def test_a_reference_must_have_a_slug_a_kind_of_its_own_and_a_scope_that_is_one(referred: Resources) -> None:
    other = ApiResourceKind.skill
    await invalid(referred.by_reference(""), "slug")
    await invalid(referred.by_reference("x", kind=other), "kind")
    await invalid(referred.by_reference("x", kind=ApiResourceKind(999)), "kind")
    await invalid(referred.by_reference("x", scope=Scope(99)), "scope")
    await invalid(referred.by_reference("x", version="no version"), "version")
    await invalid(referred.by_reference("", "acme", kind=other), "slug", "kind")


async def test_a_reference_may_name_a_version(referred: Resources) -> None:
    made = await referred.created()
    for version in ("latest", "stable", "0" * 64):
        assert await referred.by_reference(made.metadata.slug, version=version) == made


async def test_a_slug_that_names_nothing_is_not_found(referred: Resources) -> None:
    name = referred.facts.name
    await missing(referred.by_reference("no-such"), name, "no-such", f"{name} with slug 'no-such' not found")
    await missing(referred.by_reference("NO Such!"), name, "NO Such!", f"{name} with slug 'NO Such!' not found")


async def test_a_reference_looks_in_the_org_alone(spaced: Resources) -> None:
    slug = (await spaced.created(org="acme")).metadata.slug
    message = f"{spaced.facts.name} with slug '{slug}' not found in org 'globex'"
    await missing(spaced.by_reference(slug, "globex"), spaced.facts.name, slug, message)


async def test_without_an_org_the_one_without_an_org_is_preferred(spaced: Resources) -> None:
    name = samples.unique("shared")
    in_acme = await spaced.created(name=name, org="acme")
    in_globex = await spaced.created(name=name, org="globex")
    await invalid(spaced.by_reference(name), "org")
    in_none = await spaced.created(name=name)
    assert await spaced.by_reference(name) == in_none
    assert await spaced.by_reference(name, "acme") == in_acme
    assert await spaced.by_reference(name, "globex") == in_globex
    await spaced.delete(in_none.metadata.id)
    await spaced.delete(in_acme.metadata.id)
    assert await spaced.by_reference(name) == in_globex


async def test_references_to_contexts_ignore_the_org(contexts: Resources) -> None:
    made = await contexts.created(org="acme")
    for org in ("", "acme", "globex"):
        assert await contexts.by_reference(made.metadata.slug, org) == made


async def test_an_executions_context_is_its_newest(contexts: Resources) -> None:
    execution_id = samples.unique("aex")
    for _ in range(3):
        made = await contexts.create(contexts.facts.make(execution_id))
    find = contexts.queries.get_by_execution_id
    assert await find(ExecutionContextExecutionIdInput(execution_id=execution_id)) == made
    await contexts.delete(made.metadata.id)
    assert (await find(ExecutionContextExecutionIdInput(execution_id=execution_id))).metadata.id < made.metadata.id


async def test_an_execution_without_a_context_is_not_found(contexts: Resources) -> None:
    find = contexts.queries.get_by_execution_id
    message = "ExecutionContext not found for execution: banana"
    await missing(find(ExecutionContextExecutionIdInput(execution_id="banana")), "ExecutionContext", "banana", message)
    short = "x" * 160 + "…"
    message = f"ExecutionContext not found for execution: {short}"
    await missing(find(ExecutionContextExecutionIdInput(execution_id="x" * 9000)), "ExecutionContext", short, message)
    await invalid(find(ExecutionContextExecutionIdInput()), "execution_id")


async def test_a_report_on_an_execution_that_is_not_there_is_not_found(executions: Resources) -> None:
    for id_ in NAMES_NOTHING:
        report = AgentExecutionUpdateStatusInput(execution_id=id_, status=AgentExecutionStatus(error="x"))
        await missing(executions.commands.update_status(report), "AgentExecution", id_)


async def test_a_report_needs_an_execution_and_a_status(executions: Resources) -> None:
    empty = AgentExecutionUpdateStatusInput()
    await invalid(executions.commands.update_status(empty), "execution_id", "status")
