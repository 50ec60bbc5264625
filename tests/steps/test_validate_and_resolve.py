"""ValidateProto, ResolveSlug, CheckDuplicate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance_bench import Bench, is_idle

from stigmer.access.principal import organization
from stigmer.errors import AlreadyExists, InvalidArgument
from stigmer.pipeline.ids import slug_of
from stigmer.steps.check_duplicate import CheckDuplicate
from stigmer.steps.resolve_slug import ResolveSlug
from stigmer.steps.validate_proto import ValidateProto
from stigmer.wire import codec

if TYPE_CHECKING:
    from stigmer.pipeline.context import AnyContext


def fields(error: pytest.ExceptionInfo[InvalidArgument]) -> set[str]:
    return {violation.field for violation in error.value.violations}


async def test_validate_proto_passes_a_valid_request_and_changes_nothing(bench: Bench) -> None:
    ctx = bench.context("Agent", "create", samples.agent())
    before = codec.encode(ctx.request)
    await ValidateProto()(ctx)
    assert codec.encode(ctx.request) == before
    assert is_idle(ctx)


async def test_validate_proto_reads_the_wire_and_names_every_broken_field(bench: Bench) -> None:
    request = samples.agent(name="")
    request.kind = "Banana"
    ctx = bench.context("Agent", "create", request)
    ctx.request = samples.agent()
    with pytest.raises(InvalidArgument) as error:
        await ValidateProto()(ctx)
    assert fields(error) == {"kind", "metadata.name"}


async def test_validate_proto_lets_a_fixed_field_be_empty_only_where_it_is_kept(bench: Bench) -> None:
    ctx = bench.context("AgentInstance", "update", samples.agent_instance(""))
    await ValidateProto(keeps_fixed=True)(ctx)
    with pytest.raises(InvalidArgument) as error:
        await ValidateProto()(ctx)
    assert fields(error) == {"spec.agent_id"}


async def test_validate_proto_still_names_the_other_fields_where_a_fixed_one_is_empty(bench: Bench) -> None:
    ctx = bench.context("AgentInstance", "update", samples.agent_instance("", name=""))
    with pytest.raises(InvalidArgument) as error:
        await ValidateProto(keeps_fixed=True)(ctx)
    assert fields(error) == {"metadata.name"}


async def test_validate_proto_does_not_take_a_missing_spec_for_an_empty_field(bench: Bench) -> None:
    request = samples.session()
    request.spec = None
    with pytest.raises(InvalidArgument) as error:
        await ValidateProto(keeps_fixed=True)(bench.context("Session", "update", request))
    assert fields(error) == {"spec"}


GIVEN = [({"name": "My Agent"}, "my-agent"), ({"name": "A", "slug": "b"}, "b"), ({"name": "?", "slug": "s"}, "s")]


@pytest.mark.parametrize(("metadata", "slug"), GIVEN)
async def test_resolve_slug_takes_the_given_one_or_makes_one(bench: Bench, metadata: Any, slug: str) -> None:
    ctx = bench.context("Agent", "create", samples.agent(**metadata))
    await ResolveSlug()(ctx)
    assert ctx.slug == slug
    assert is_idle(ctx)


async def test_resolve_slug_refuses_a_name_of_which_nothing_is_left(bench: Bench) -> None:
    ctx = bench.context("Agent", "create", samples.agent(name="?!"))
    with pytest.raises(InvalidArgument) as error:
        await ResolveSlug()(ctx)
    assert fields(error) == {"metadata.name"}


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("", ""),
        ("Simple", "simple"),
        ("a  b", "a-b"),
        ("-a--b-", "a-b"),
        ("A_B.C", "abc"),
        ("ÄÖÜ", ""),
        ("a ? b", "a-b"),
        ("a\u00a0b", "ab"),
        ("0", "0"),
        ("a" * 1000, "a" * 1000),
    ],
)
def test_slugs_are_made_of_letters_digits_and_single_hyphens(name: str, slug: str) -> None:
    assert slug_of(name) == slug


def duplicate(bench: Bench, kind: str, request: Any, slug: str) -> AnyContext:
    return bench.context(kind, "create", request, slug=slug)


async def test_check_duplicate_passes_a_free_slug(bench: Bench) -> None:
    ctx = duplicate(bench, "Agent", samples.agent(), "free")
    await CheckDuplicate()(ctx)
    assert is_idle(ctx)


async def test_check_duplicate_refuses_a_slug_that_is_taken_in_the_org(bench: Bench) -> None:
    holder = await bench.keep(samples.agent(name="taken", org="acme"))
    with pytest.raises(AlreadyExists, match=f"Agent with slug 'taken' already exists: {holder.id}"):
        await CheckDuplicate()(duplicate(bench, "Agent", samples.agent(org="acme"), "taken"))
    await CheckDuplicate()(duplicate(bench, "Agent", samples.agent(org="globex"), "taken"))


async def test_check_duplicate_sees_staged_rows_and_other_kinds_do_not_count(bench: Bench) -> None:
    await bench.keep(samples.environment(name="taken"))
    request = samples.agent(name="taken", id=f"agt-{samples.NOBODY}", slug="taken")
    ctx = duplicate(bench, "Agent", request, "taken")
    await CheckDuplicate()(ctx)
    ctx.tx.create(ctx.kind.row_of(request, organization("")))
    with pytest.raises(AlreadyExists):
        await CheckDuplicate()(ctx)


async def test_check_duplicate_ignores_the_org_of_a_context(bench: Bench) -> None:
    await bench.keep(samples.execution_context(name="taken", org="acme"))
    with pytest.raises(AlreadyExists):
        await CheckDuplicate()(duplicate(bench, "ExecutionContext", samples.execution_context(org="globex"), "taken"))
