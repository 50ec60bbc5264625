"""What a list of some owners costs in SQLite: as much as their own rows, whatever others have."""

from __future__ import annotations

import itertools
import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from store_rows import created, creating, row

from stigmer.access.principal import PLATFORM, SHARED, Principal, identity, namespace, organization
from stigmer.store.errors import DamagedError
from stigmer.store.rows import Query, Through, Window
from stigmer.store.sqlite import SqliteStore, queries
from stigmer.store.sqlite.files import FILE_NAME
from stigmer.store.sqlite.readers import StoppedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    from stigmer.access.principal import Owners
    from stigmer.store.rows import Row

    Cost: TypeAlias = Callable[[Callable[[], Awaitable[object]]], Awaitable[int]]

OWN, FOREIGN = organization("own"), organization("foreign")
ANN, BOB = identity("ann"), identity("bob")
OWNERS = Principal("ann", "editor", frozenset({"own"})).owners
OF_ALL = Principal("ann", "reader", frozenset({"*"})).owners
RUNNING, RED, BIG = ("phase", "2"), ("tag", "red"), ("tag", "big")
OF_AGENT = ("agent", "x")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path, cache_bytes=0) as opened:
        yield opened


@pytest.fixture
def cost(store: SqliteStore) -> Cost:
    """How many instructions SQLite runs for a read, roughly."""

    return partial(ran, store)


async def ran(store: SqliteStore, read: Callable[[], Awaitable[object]]) -> int:
    """How many instructions SQLite runs for a read, roughly."""
    count, workers = itertools.count(), (store._reads._short, store._reads._points)
    for worker in workers:
        await worker.connection.run(lambda one: one.set_progress_handler(lambda: next(count) < 0, 1))
    await read()
    for worker in workers:
        await worker.connection.run(lambda one: one.set_progress_handler(None, 1))
    return next(count)


def things(owner: str, numbers: Iterable[int], parent: str = "p") -> list[Row]:
    """Each second runs, each third is red, all are big; they are on ten parents."""
    keys = ([RUNNING] * (n % 2 == 0) + [RED] * (n % 3 == 0) + [BIG, (parent, f"{n % 10}")] for n in numbers)
    return [row(f"{owner} {n}", *has, slug=None, owner=owner) for n, has in zip(numbers, keys, strict=True)]


def parents(owner: str, count: int) -> list[Row]:
    return [row(f"{owner} p{n}", OF_AGENT, kind="Parent", slug=None, owner=owner) for n in range(count)]


LISTS = {
    "all": Query("Thing"),
    "of a session": Query("Thing", (("p", "3"),)),
    "in a phase": Query("Thing", (RUNNING,)),
    "with tags": Query("Thing", (BIG, RED)),
    "in a phase, with tags": Query("Thing", (RUNNING, RED, BIG)),
    "with a tag that others alone have": Query("Thing", (("of", FOREIGN),)),
    "through parents": Query("Thing", (), Through("parent", "x", "Parent", OF_AGENT)),
    "through parents, with a tag": Query("Thing", (RED,), Through("parent", "x", "Parent", OF_AGENT)),
}


@pytest.mark.parametrize(("owners", "foreign"), [(OWNERS, FOREIGN), (OF_ALL, BOB)], ids=["of one", "of all"])
@pytest.mark.parametrize("query", LISTS.values(), ids=LISTS)
async def test_a_hundred_times_the_foreign_rows_cost_a_list_no_more(
    store: SqliteStore, cost: Cost, query: Query, owners: tuple[str, ...], foreign: str
) -> None:
    query = Query(query.kind, query.keys, query.through, owners)
    own = [row(f"c{n}", ("parent", f"{OWN} p{n % 3}"), RED, slug=None, owner=OWN) for n in range(20)]
    await store.commit(creating(*parents(OWN, 3), *own, *things(OWN, range(30)), *things(PLATFORM, range(5))))

    async def grow(numbers: range) -> None:
        marked = [
            row(f"m{n}", ("of", FOREIGN), ("parent", f"{foreign} p{n % 9}"), RED, slug=None, owner=foreign)
            for n in numbers
        ]
        await store.commit(creating(*things(foreign, numbers), *marked))

    async def page() -> None:
        found = await store.page(query, Window(5))
        assert all(one.owner in (OWN, PLATFORM) for one in found.rows)
        assert len(found.rows) == min(5, found.total)
        totals.append(found.total)

    totals: list[int] = []
    await store.commit(creating(*parents(foreign, 1)))
    await grow(range(20))
    few = await cost(page)
    await store.commit(creating(*(row(f"q{n}", OF_AGENT, kind="Parent", slug=None, owner=foreign) for n in range(99))))
    await grow(range(20, 2000))
    assert await cost(page) <= 1.05 * few
    assert totals[0] == totals[1]


def labelled(numbers: range, **labels: str) -> list[Row]:
    keys = [key for name, value in labels.items() for key in ((("label", name)), (f"label.{name}", value))]
    return [row(f"{labels} {n}", *keys, slug=None, owner=OWN) for n in numbers]


PROD, STAGE, WEB, DB = ("label.env", "prod"), ("label.env", "stage"), ("label.app", "web"), ("label.app", "db")
SELECTORS = {
    "app=web": Query("Thing", (WEB,)),
    "rare": Query("Thing", (("label", "rare"),)),
    "app in (web,db)": Query("Thing", any_of=((WEB, DB),)),
    "env=prod,app in (web,db)": Query("Thing", (PROD,), any_of=((WEB, DB),)),
    "env in (prod,stage),app in (web,db)": Query("Thing", any_of=((PROD, STAGE), (WEB, DB))),
    "app=web,env!=stage,!gone": Query("Thing", (WEB,), without=(STAGE, ("label", "gone"))),
    "app in (web,db),env notin (stage,test)": Query("Thing", any_of=((WEB, DB),), without=(STAGE, ("label.env", "t"))),
}


@pytest.mark.parametrize("owners", [None, OWNERS], ids=["everybody", "of one"])
@pytest.mark.parametrize("query", SELECTORS.values(), ids=SELECTORS)
async def test_a_hundred_times_the_rows_with_other_labels_cost_a_list_no_more(
    store: SqliteStore, cost: Cost, query: Query, owners: Owners | None
) -> None:
    query = replace(query, owners=owners)
    await store.commit(creating(*labelled(range(20), env="prod", app="web", rare="x")))
    await store.commit(creating(*labelled(range(20), env="prod", app="db", rare="x")))

    async def grow(numbers: range) -> None:
        await store.commit(creating(*labelled(numbers, env="prod", app="other")))
        await store.commit(creating(*labelled(numbers, env="stage", gone="y")))

    async def page() -> None:
        found = await store.page(query, Window(5))
        assert len(found.rows) == 5
        totals.append(found.total)

    totals: list[int] = []
    await grow(range(70))
    few = await cost(page)
    await grow(range(70, 7000))
    assert await cost(page) <= 1.1 * few
    assert totals[0] == totals[1]


async def test_a_selector_that_only_leaves_out_looks_up_each_row_once(store: SqliteStore, cost: Cost) -> None:
    """What kubectl calls `!=` alone: a few instructions a row, and each row but once for the page and once to count."""
    query = Query("Thing", without=(("label.env", "stage"),))

    async def page() -> None:
        assert (await store.page(query, Window(5))).total == 20

    await store.commit(creating(*labelled(range(20), env="prod")))
    few = await cost(page)
    await store.commit(creating(*labelled(range(2000), env="stage")))
    assert await cost(page) - few < 2 * 2000 * 60


@pytest.mark.parametrize("owners", [OWNERS, OF_ALL, (SHARED,)])
async def test_a_slug_that_many_others_hold_is_found_at_once(
    store: SqliteStore, cost: Cost, owners: tuple[str, ...]
) -> None:
    foreign = BOB if SHARED in owners else FOREIGN
    mine = row("mine", slug="s", namespace="own", owner=OWN)
    shared = row("shared", slug="s", namespace="zoo", owner=PLATFORM)

    def held(numbers: range) -> list[Row]:
        return [row(f"h{n}", slug="s", namespace=namespace(f"o{n}", foreign), owner=foreign) for n in numbers]

    async def look() -> None:
        found = await store.by_slug_anywhere("Thing", "s", owners)
        assert [one.id for one in found] == ["mine", "shared"]

    await store.commit(creating(mine, shared, *held(range(20))))
    few = await cost(look)
    await store.commit(creating(*held(range(20, 2000))))
    assert await cost(look) <= 1.05 * few


async def test_many_organizations_cost_a_few_index_entries_each(store: SqliteStore, cost: Cost) -> None:
    names = [f"org-{n:03}" for n in range(100)]

    async def page(names: list[str]) -> None:
        owners = Principal("ann", "reader", frozenset(names)).owners
        assert (await store.page(Query("Thing", (BIG,), owners=owners), Window(50))).total == len(names)

    await store.commit(creating(*(one for name in names for one in things(organization(name), range(1)))))
    of_one, few = await cost(lambda: page(names[:1])), await cost(lambda: page(names))
    await store.commit(creating(*things(FOREIGN, range(5000))))
    assert await cost(lambda: page(names)) <= 1.05 * few
    assert few < 100 * of_one


@pytest.mark.parametrize("owners", [OWNERS, OF_ALL], ids=["of one", "of all"])
@pytest.mark.parametrize("warm", [False, True], ids=["on disk", "in memory"])
async def test_what_others_have_is_looked_for_as_long_as_what_nobody_has(
    tmp_path: Path, owners: Owners | None, warm: bool
) -> None:
    """Whoever guesses ids and slugs learns nothing from how long the answer takes, however long the row."""
    async with SqliteStore(tmp_path, cache_bytes=2**26 if warm else 0) as store:
        theirs = replace(row("there", namespace="foreign", slug="there", owner=BOB), data=b"x" * 2**20)
        await created(store, theirs)
        costs = {
            name: await ran(store, partial(store.get, theirs.kind, name, owners)) for name in ("there", "gone!")
        } | {
            f"slug {name}": await ran(store, partial(store.by_slug, theirs.kind, name, "foreign", owners))
            for name in ("there", "gone!")
        }
        assert abs(costs["there"] - costs["gone!"]) < 10, costs
        assert abs(costs["slug there"] - costs["slug gone!"]) < 10, costs
        assert min(costs.values()) > 20, "each is looked for"


async def test_a_list_of_many_parents_and_owners_stops_where_nobody_waits_for_it(store: SqliteStore) -> None:
    names = [f"org-{n:02}" for n in range(20)]
    owners = Principal("ann", "reader", frozenset(names)).owners
    query = Query("Thing", (), Through("parent", "x", "Parent", OF_AGENT), owners)
    await store.commit(creating(*(one for name in names for one in parents(organization(name), 20))))
    await store.commit(creating(*(one for name in names for one in things(organization(name), range(1), "parent"))))
    looks: list[int] = []

    def is_gone() -> bool:
        looks.append(1)
        return len(looks) > 50

    def stopped(connection: Any) -> Any:
        return connection.attempt(lambda reader: queries.page(reader, query, Window(5)), is_gone, math.inf)

    found = await store._reads._probes.connection.run(stopped)
    assert (type(found), len(looks)) == (StoppedError, 51)


async def test_a_parent_that_an_index_leads_to_and_that_is_not_there_is_damage(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        await store.commit(creating(*parents(OWN, 2)))
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as database:
        database.execute("DELETE FROM resources WHERE id LIKE '%p1'")  # foreign keys are off: its keys stay
    async with SqliteStore(tmp_path) as store:
        await store.commit(creating(*things(OWN, range(1))))
        with pytest.raises(DamagedError, match="leads to no row"):
            await store.page(Query("Thing", (), Through("parent", "x", "Parent", OF_AGENT), OWNERS), Window(5))
