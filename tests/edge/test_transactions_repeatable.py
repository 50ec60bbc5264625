"""Two reads of one call never tell of different commits: it runs again, from wherever it read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import samples
from edge_rig import Rig, id_of, separately
from grpclib.exceptions import GRPCError
from store_rows import changed, created, discarding, row, updating

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
from stigmer.store.errors import ConflictError
from stigmer.store.rows import Query, Window
from stigmer.store.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stigmer.pipeline.context import AnyContext
    from stigmer.store.sqlite import SqliteStore


READS: dict[str, Callable[[Transaction], Awaitable[object]]] = {
    "get": lambda tx: tx.get("Thing", "a"),
    "by_slug": lambda tx: tx.by_slug("Thing", "a", ""),
    "by_slug_anywhere": lambda tx: tx.by_slug_anywhere("Thing", "a"),
    "newest": lambda tx: tx.newest("Thing", "tag", "x"),
    "page": lambda tx: tx.page(Query("Thing"), Window(10)),
}


@pytest.mark.parametrize("second", READS)
@pytest.mark.parametrize("first", ["get", "by_slug"])
async def test_a_row_that_appears_between_two_reads_is_a_conflict(store: SqliteStore, first: str, second: str) -> None:
    tx = Transaction(store)
    assert await READS[first](tx) is None
    await created(store, row("a", ("tag", "x")))
    with pytest.raises(ConflictError):
        await READS[second](tx)
    with pytest.raises(ConflictError):
        tx.reads.check()


@pytest.mark.parametrize("second", READS)
@pytest.mark.parametrize("first", ["get", "by_slug", "by_slug_anywhere", "newest"])
async def test_a_row_that_changes_between_two_reads_is_a_conflict(store: SqliteStore, first: str, second: str) -> None:
    (one,) = await created(store, row("a", ("tag", "x")))
    tx = Transaction(store)
    assert await READS[first](tx) is not None
    await store.commit(updating(changed(one, b"second", ("tag", "x"))))
    with pytest.raises(ConflictError):
        await READS[second](Transaction(store, tx))


@pytest.mark.parametrize("second", ["get", "by_slug"])
@pytest.mark.parametrize("first", ["get", "by_slug", "by_slug_anywhere", "newest"])
async def test_a_row_that_goes_between_two_reads_is_a_conflict(store: SqliteStore, first: str, second: str) -> None:
    await created(store, row("a", ("tag", "x")))
    tx = Transaction(store)
    assert await READS[first](tx) is not None
    await store.commit(discarding("Thing", "a"))
    with pytest.raises(ConflictError):
        await READS[second](tx)


async def test_reads_that_agree_are_none_whatever_else_is_committed(store: SqliteStore) -> None:
    tx = Transaction(store)
    (one,) = await created(store, row("a", ("tag", "x")))
    for name, read in READS.items():
        await read(tx)
        await created(store, row(f"other-{name}"))
    tx.update(changed(one, b"mine", ("tag", "x")))
    await store.commit(updating(changed(one, b"theirs", ("tag", "x"))))
    staged = await tx.get("Thing", "a")
    assert staged is not None
    assert staged.data == b"mine"
    tx.reads.check()


async def test_a_call_whose_two_reads_differ_runs_again(rig: Rig) -> None:
    rival = await rig.agent()

    async def look_twice(ctx: AnyContext) -> None:
        await ctx.tx.get("Agent", id_of(rival))
        if rig.inside.runs == 1:
            rival.metadata.version = None
            await separately(rig.agents.update(rival))
        await ctx.tx.by_slug("Agent", rival.metadata.slug, "")

    rig.inside.action = look_twice
    await rig.environments.create(samples.environment())
    assert rig.inside.runs == 2


async def test_it_runs_again_too_where_a_joined_call_read_the_other_and_its_failure_was_caught(rig: Rig) -> None:
    rival = samples.agent()
    told: list[str] = []

    async def look_twice(ctx: AnyContext) -> None:
        await ctx.tx.by_slug("Agent", rival.metadata.name, "")
        if rig.inside.runs == 1:
            await separately(rig.agents.create(rival))
        try:
            found = await rig.find_agents.get_by_reference(ApiResourceReference(slug=rival.metadata.name))
        except GRPCError as error:
            told.append(error.status.name)
        else:
            told.append(found.metadata.slug)

    rig.inside.action = look_twice
    made = await rig.environments.create(samples.environment())
    assert told == ["ABORTED", rival.metadata.name]
    assert await rig.ids("Environment") == {id_of(made)}


async def test_an_apply_that_is_overtaken_between_its_two_looks_for_the_slug_updates(rig: Rig) -> None:
    """In process: the other creates after LoadForApply and before CheckDuplicate, whichever read sees it."""
    first = samples.environment(labels={"by": "the other"})
    real, looks = rig.store.by_slug, 0

    async def by_slug(kind: str, slug: str, namespace: str, owners: None) -> object:
        nonlocal looks
        looks += 1
        if looks == 2:
            await separately(rig.environments.create(first))
        return await real(kind, slug, namespace, owners)

    rig.store.by_slug = by_slug  # type: ignore[method-assign,assignment]
    made = await rig.environments.apply(samples.environment(name=first.metadata.name, labels={"by": "me"}))
    assert made.status.audit.spec_audit.event == "updated"
    assert made.metadata.labels == {"by": "me"}
