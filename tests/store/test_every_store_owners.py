"""Whose rows there are: lists, joins and slugs of some owners, committed and staged; nothing of others shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import pytest
from store_rows import changed, child, created, creating, ids, row, updating

from stigmer.access.principal import PLATFORM, SHARED, Principal, identity, namespace, organization
from stigmer.store.changes import Dependent
from stigmer.store.errors import ConflictError
from stigmer.store.rows import Query, Through, Window
from stigmer.store.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stigmer.access.principal import Owners
    from stigmer.store.contract import Store
    from stigmer.store.rows import Row

    Reads: TypeAlias = Store | Transaction

A, B, NOBODY = organization("a"), organization("b"), organization("")
ANN, BOB = identity("ann"), identity("bob")
EVERYBODY = (PLATFORM, A, B, NOBODY, ANN, BOB)
OF_A = Principal("ann", "editor", frozenset({"a"})).owners
OF_ALL = Principal("bob", "reader", frozenset({"*"})).owners
RED, BIG = ("tag", "red"), ("tag", "big")


def owned(id_: str, owner: str, *keys: tuple[str, str], kind: str = "Thing", slug: str | None = None) -> Row:
    org = owner.removeprefix("organization:") if owner.startswith("organization:") else ""
    return row(id_, *keys, kind=kind, slug=slug, namespace=namespace(org, owner), owner=owner)


def one_of_each(*keys: tuple[str, str]) -> list[Row]:
    return [owned(f"{owner}{n}", owner, *keys) for n in range(2) for owner in EVERYBODY]


async def found(reads: Reads, owners: Owners | None, *keys: tuple[str, str], window: Window | None = None) -> list[str]:
    page = await reads.page(Query("Thing", keys, owners=owners), window or Window(None))
    return [one.id for one in page.rows]


async def reading(store: Store, rows: Sequence[Row], staged: int) -> Reads:
    """The rows, the last `staged` of them staged in a transaction, the others committed."""
    await created(store, *rows[: len(rows) - staged])
    if not staged:
        return store
    tx = Transaction(store)
    for one in rows[len(rows) - staged :]:
        tx.create(one)
    return tx


STAGED = pytest.mark.parametrize("staged", [0, 5, 12], ids=["committed", "some staged", "all staged"])


@STAGED
@pytest.mark.parametrize("keys", [(), (RED,), (RED, BIG)])
async def test_a_list_of_owners_has_their_rows_alone_the_newest_first(
    store: Store, staged: int, keys: tuple[tuple[str, str], ...]
) -> None:
    rows = one_of_each(*keys)
    reads = await reading(store, rows, staged)
    of_none: Owners = (identity("zoe"), organization("c"))
    wanted = {None: EVERYBODY, OF_A: (PLATFORM, A, ANN), OF_ALL: (PLATFORM, A, B, NOBODY, BOB), of_none: (), (): ()}
    for owners, seen in wanted.items():
        listed = [one.id for one in reversed(rows) if one.owner in seen]
        assert await found(reads, owners, *keys) == listed
        page = await reads.page(Query("Thing", keys, owners=owners), Window(2, skip=1))
        assert ([one.id for one in page.rows], page.total) == (listed[1:3], len(listed))
        assert page.more is (len(listed) > 3)
    assert await found(reads, OF_A, ("tag", "none")) == []


@STAGED
async def test_a_walk_meets_full_pages_until_the_last(store: Store, staged: int) -> None:
    reads = await reading(store, one_of_each(), staged)
    assert OF_A is not None
    before, sizes, seen = None, [], list[str]()
    for _ in range(3):
        page = await reads.page(Query("Thing", owners=OF_A), Window(2, before))
        sizes.append((len(page.rows), page.more, page.total))
        seen += [one.id for one in page.rows]
        before = page.rows[-1].sequence
    assert sizes == [(2, True, 6), (2, True, 6), (2, False, 6)]
    assert seen == await found(reads, OF_A)


@STAGED
async def test_a_join_goes_through_the_parents_of_the_owners_alone(store: Store, staged: int) -> None:
    agent = ("agent", "x")
    parents = [owned(f"p{owner}", owner, agent, kind="Parent") for owner in EVERYBODY]
    things = [owned(f"{owner} on {one.id}", owner, ("parent", one.id)) for one in parents for owner in EVERYBODY]
    await created(store, *parents)
    reads = await reading(store, [*things, owned("direct", A, ("parent", "x"))], staged)
    query = Query("Thing", (), Through("parent", "x", "Parent", agent), OF_A)
    page = await reads.page(query, Window(None))
    seen = (PLATFORM, A, ANN)
    listed = [f"{owner} on p{parent}" for parent in EVERYBODY if parent in seen for owner in EVERYBODY if owner in seen]
    assert ([one.id for one in page.rows], page.total) == (["direct", *reversed(listed)], 10)
    assert (await reads.page(replace(query, owners=None), Window(0))).total == 37
    foreign = Through("parent", f"p{B}", "Parent", ("agent", "nothing"))
    page = await reads.page(Query("Thing", (), foreign, OF_A), Window(None))
    assert {one.owner for one in page.rows} == set(seen)  # one's own rows, by what they hold


@STAGED
async def test_a_slug_anywhere_is_that_of_the_owners(store: Store, staged: int) -> None:
    rows = [owned(owner, owner, slug="s") for owner in EVERYBODY if owner != NOBODY]
    rows += [owned(f"other {owner}", owner, slug="t") for owner in EVERYBODY if owner != NOBODY]
    rows += [row("of p", slug="s", namespace="c", owner=PLATFORM), row("of a", slug="s", namespace="d", owner=A)]
    reads = await reading(store, rows, staged)
    for owners, wanted in (
        (OF_A, [PLATFORM, ANN, A, "of p", "of a"]),
        (OF_ALL, [PLATFORM, BOB, A, B, "of p", "of a"]),
        (None, [PLATFORM, ANN, BOB, A, B, "of p", "of a"]),
        ((B,), [B]),
        ((identity("zoe"),), []),
    ):
        assert [one.id for one in await reads.by_slug_anywhere("Thing", "s", owners, limit=9)] == wanted
        assert [one.id for one in await reads.by_slug_anywhere("Thing", "s", owners)] == wanted[:2]


async def test_an_owner_is_kept_and_fixed(store: Store) -> None:
    (one,) = await created(store, owned("a", A, RED))
    await store.commit(updating(replace(changed(one, b"second", BIG), owner=B)))
    stored = await store.get("Thing", "a")
    assert stored is not None
    assert (stored.owner, stored.data) == (A, b"second")
    assert await found(store, (A,), BIG) == ["a"]
    assert await found(store, (B,)) == await found(store, (A,), RED) == []


async def test_a_deleted_row_is_none_of_its_owners(store: Store) -> None:
    await created(store, *one_of_each(RED))
    tx = Transaction(store)
    for id_ in (f"{A}0", f"{ANN}1"):
        one = await tx.get("Thing", id_)
        assert one is not None
        tx.delete(one)
    wanted = [f"{A}1", f"{PLATFORM}1", f"{ANN}0", f"{PLATFORM}0"]
    assert await found(tx, OF_A, RED) == wanted
    await tx.commit()
    assert await found(store, OF_A) == await found(store, OF_A, RED) == wanted


async def test_what_goes_with_a_row_goes_whoever_owns_it(store: Store) -> None:
    await store.commit(creating(owned("p", A), *(replace(child(owner, "p"), owner=owner) for owner in EVERYBODY)))
    tx = Transaction(store)
    parent = await tx.get("Thing", "p")
    assert parent is not None
    tx.delete(parent)
    await tx.delete_dependents((Dependent("Child", "parent"),), "p")
    await tx.commit()
    assert await ids(store, kind="Child") == []


async def test_a_principal_of_a_hundred_organizations_has_all_of_theirs(store: Store) -> None:
    names = [f"org-{n:03}" for n in range(120)]
    rows = [owned(f"{name} {n}", organization(name), RED, slug=f"s{n}") for n in range(3) for name in names]
    await store.commit(creating(*rows))
    owners = Principal("ann", "reader", frozenset(names[:100])).owners
    listed = [one.id for one in reversed(rows) if one.namespace in names[:100]]
    assert await found(store, owners) == await found(store, owners, RED) == listed
    page = await store.page(Query("Thing", (RED,), owners=owners), Window(10, skip=5))
    assert ([one.id for one in page.rows], page.total) == (listed[5:15], 300)
    slugs = await store.by_slug_anywhere("Thing", "s0", owners, limit=200)
    assert [one.namespace for one in slugs] == names[:100]
    assert SHARED not in (owners or ())


@pytest.mark.parametrize("staged", [0, 6], ids=["committed", "staged"])
@pytest.mark.parametrize(
    ("owners", "seen"),
    [(None, EVERYBODY), (OF_A, (PLATFORM, A, ANN)), (OF_ALL, (PLATFORM, A, B, NOBODY, BOB)), ((B,), (B,))],
)
async def test_a_row_is_there_for_its_owners_by_id_and_slug(
    store: Store, staged: int, owners: Owners | None, seen: Sequence[str]
) -> None:
    rows = [owned(f"of {owner}", owner, slug="same") for owner in EVERYBODY]
    rows = [replace(one, namespace=f"{one.namespace}{one.owner}") for one in rows]
    reads = await reading(store, rows, staged)
    for one in rows:
        by_id, by_slug = (
            await reads.get(one.kind, one.id, owners),
            await reads.by_slug(one.kind, "same", one.namespace, owners),
        )
        assert (by_id is not None, by_slug is not None) == (one.owner in seen,) * 2
    assert await reads.get("Thing", "of nobody", owners) is None


async def test_that_some_owners_have_no_such_row_says_nothing_of_others_within_a_transaction(store: Store) -> None:
    """What is another's is not there, and yet its id is taken: that is no change between two reads."""
    await created(store, owned("theirs", B, slug="taken"))
    tx = Transaction(store)
    assert await tx.get("Thing", "theirs", OF_A) is None
    assert await tx.get("Thing", "theirs") is not None
    assert await tx.by_slug("Thing", "taken", "b", OF_A) is None
    assert await tx.by_slug("Thing", "taken", "b") is not None
    assert await tx.get("Thing", "theirs", OF_A) is None
    tx.reads.check()
    await created(store, owned("mine", A))
    assert await tx.get("Thing", "mine", OF_A) is not None


async def test_a_row_that_comes_between_two_reads_of_its_owners_is_a_conflict(store: Store) -> None:
    tx = Transaction(store)
    assert await tx.get("Thing", "late", OF_A) is None
    await created(store, owned("late", A))
    with pytest.raises(ConflictError):
        await tx.get("Thing", "late", OF_A)


@pytest.mark.parametrize("owner", [A, B])
async def test_a_slug_that_owners_lacked_and_one_of_them_has_by_then_is_a_conflict(store: Store, owner: str) -> None:
    tx = Transaction(store)
    one = owned("late", owner, slug="s")
    assert await tx.by_slug("Thing", "s", one.namespace, OF_A) is None
    await created(store, one)
    if owner == A:
        with pytest.raises(ConflictError):
            await tx.by_slug("Thing", "s", one.namespace)
    else:  # that of others they did not see before, and do not see now
        holder = await tx.by_slug("Thing", "s", one.namespace)
        assert (holder and holder.id, tx.reads.torn) == ("late", None)
