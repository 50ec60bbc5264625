"""How SQLite answers pages: from its indexes, no further than asked, and as a plain filter over all rows would."""

from __future__ import annotations

import asyncio
import itertools
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from store_rows import creating, row

from stigmer.store.rows import Query, Through, Window
from stigmer.store.sqlite import SqliteStore
from stigmer.store.sqlite import statements as sql
from stigmer.store.sqlite.reading import BULK
from stigmer.store.sqlite.search import Search
from stigmer.store.transaction import Transaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from stigmer.store.rows import Page, Row

RED, BIG, NONE = ("tag", "red"), ("tag", "big"), ("tag", "none")
SIZE = 10


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path, cache_bytes=0) as opened:
        yield opened


def thing(number: int) -> Row:
    """Each second is red, each third big; parents go round."""
    keys = [RED] * (number % 2 == 0) + [BIG] * (number % 3 == 0) + [("parent", f"p{number % 4}")]
    return row(f"t{number:03}", *keys, slug=None, data=b"x" * SIZE)


def windows(sequences: list[int]) -> Iterator[Window]:
    befores = (None, sequences[0], sequences[5], sequences[-1], sequences[-1] + 1, 0)
    for before, skip, limit, size in itertools.product(befores, (0, 1, 4, 99), (None, 0, 1, 3), (None, 0, SIZE, 29)):
        yield Window(limit, before, skip, size)


def naive(rows: list[Row], window: Window) -> tuple[list[str], bool]:
    """The page of the rows that match, newest first."""
    after = [one for one in rows if window.before is None or one.sequence < window.before][window.skip :]
    fit = len(after) if window.budget_bytes is None else max(1, window.budget_bytes // SIZE)
    kept = after[: min(fit, len(after) if window.limit is None else window.limit)]
    return [one.id for one in kept], len(kept) < len(after)


def matches(one: Row, keys: tuple[tuple[str, str], ...], parents: tuple[str, ...] | None) -> bool:
    has = set(one.keys or ())
    return has.issuperset(keys) and (parents is None or any(("parent", parent) in has for parent in parents))


def told(page: Page) -> tuple[list[str], bool]:
    return [one.id for one in page.rows], page.more


@pytest.mark.parametrize(
    ("keys", "parents"),
    [((), None), ((RED,), None), ((RED, BIG), None), ((NONE,), None), ((NONE, RED), None),
     ((), ("p1", "p2")), ((RED,), ("p1", "p2")), ((), ("p9",)), ((BIG, RED), ("p0",)), ((), ("p0",))],
)  # fmt: skip
async def test_a_page_is_what_a_filter_over_all_rows_gives(
    store: SqliteStore, keys: tuple[tuple[str, str], ...], parents: tuple[str, ...] | None
) -> None:
    holders = [row(parent, ("owner", "o"), kind="Parent", slug=None) for parent in (parents or ())[1:]]
    changes = await store.commit(creating(*holders, *map(thing, range(12)), row("other", *keys, kind="Other")))
    things = [change.row for change in reversed(changes) if change.row and change.kind == "Thing"]
    through = Through("parent", parents[0], "Parent", ("owner", "o")) if parents else None
    matching = [one for one in things if matches(one, keys, parents)]
    for window in windows([one.sequence for one in things]):
        page = await store.page(Query("Thing", keys, through), window)
        assert (*told(page), page.total) == (*naive(matching, window), len(matching)), window


P0, P1, P3, P9 = (("parent", f"p{n}") for n in (0, 1, 3, 9))
CHOSEN = {
    "one of two": Query("Thing", any_of=((P0, P3),)),
    "one of two, with a key": Query("Thing", (RED,), any_of=((P3, P0),)),
    "one that none has": Query("Thing", any_of=((P9, ("parent", "p8")),)),
    "two choices": Query("Thing", any_of=((P0, P3, P1), (RED, NONE))),
    "without a key": Query("Thing", without=(RED,)),
    "without any of some": Query("Thing", without=(P0, P3, P9)),
    "without what all have": Query("Thing", without=tuple(("parent", f"p{n}") for n in range(4))),
    "with a key, without another": Query("Thing", (RED,), without=(BIG,)),
    "with and without the same": Query("Thing", (RED,), without=(RED,)),
    "of a choice, with and without": Query("Thing", (RED,), any_of=((P0, P1),), without=(BIG, NONE)),
    "of more than are searched one by one": Query(
        "Thing", any_of=(tuple(("parent", f"p{n}") for n in range(90)), (RED, NONE)), without=(BIG,)
    ),
}


@pytest.mark.parametrize("through", [None, Through("parent", "p1", "Parent", ("owner", "o"))], ids=["", "joined"])
@pytest.mark.parametrize("owners", [None, ("organization:x", "identity_account:x")], ids=["everybody's", "of some"])
@pytest.mark.parametrize("query", CHOSEN.values(), ids=CHOSEN)
async def test_a_page_of_choices_and_exclusions_is_what_a_filter_over_all_rows_gives(
    store: SqliteStore, query: Query, owners: tuple[str, ...] | None, through: Through | None
) -> None:
    query = replace(query, owners=owners, through=through)
    holder = row("p3", ("owner", "o"), kind="Parent", slug=None, owner="organization:x")
    mine = [replace(thing(number), owner="organization:x") for number in range(12)]
    changes = await store.commit(creating(holder, *mine))
    things = [change.row for change in reversed(changes) if change.row and change.kind == "Thing"]
    matching = [one for one in things if query.holds(one.keys or ())]
    if through is not None:
        matching = [one for one in matching if matches(one, (), ("p1", "p3"))]
    for window in windows([one.sequence for one in things]):
        page = await store.page(query, window)
        assert (*told(page), page.total) == (*naive(matching, window), len(matching)), window
        assert page == await staged_too(store).page(query, window)


def staged_too(store: SqliteStore) -> Transaction:
    """A transaction that has staged something of the kind, so that it looks at all matches itself."""
    tx = Transaction(store)
    tx.discard("Thing", "nobody's")
    return tx


async def plan(store: SqliteStore, statement: str) -> list[str]:
    parameters = ("0",) * statement.count("?")

    def explain(connection: sqlite3.Connection) -> list[str]:
        return [step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]

    steps: list[str] = await store._reads._lists.connection.run(explain)
    return steps


WALKS = {name: walk for name, walk in vars(sql).items() if isinstance(walk, tuple) and name[:5] in {"ROWS_", "KEYS_"}}
LISTS = (sql.ROWS_BEFORE, sql.SEQUENCES_BEFORE, sql.COUNT_FOUND)
OF_VALUES = {"SCAN wanted", "SCAN CONSTANT ROW", "SCAN 2 CONSTANT ROWS"}
"""The scans that are none of a table."""
ONE_KEY, TWO_KEYS = (sql.ALSO_KEYS.format(wanted=some) for some in ("(?, ?)", "(?, ?), (?, ?)"))
CHOICE, EXCLUSION = (text.format(wanted="(?, ?), (?, ?)") for text in (sql.ANY_KEY, sql.NO_KEY))
IN_THE_INDEX = ("USING PRIMARY KEY", "USING COVERING INDEX")


@pytest.mark.parametrize("also", ["", ONE_KEY, TWO_KEYS, CHOICE, EXCLUSION, ONE_KEY + CHOICE + EXCLUSION])
@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
@pytest.mark.parametrize("statement", LISTS)
async def test_every_list_walks_along_an_index_and_sorts_nothing(
    store: SqliteStore, statement: str, walk: tuple[str, str], also: str
) -> None:
    steps = await plan(store, statement.format(along=walk[0], holds=walk[1], also=also))
    assert {step for step in steps if step.startswith("SCAN")} <= OF_VALUES, steps
    assert not [step for step in steps if "B-TREE" in step]
    reads = [step for step in steps if step.startswith("SEARCH") and not any(text in step for text in IN_THE_INDEX)]
    assert all(step.startswith("SEARCH r USING INTEGER PRIMARY KEY") for step in reads), steps


@pytest.mark.parametrize(
    "statement",
    [sql.NEWEST_OF_KEY, sql.SLUGS_OF_NAMESPACE, sql.SLUGS_OF_OWNER, sql.SLUGS_SHARED.format(range="< ?")],
)
async def test_what_is_found_at_once_is_found_by_an_index(store: SqliteStore, statement: str) -> None:
    steps = await plan(store, statement)
    assert all(step.startswith("SEARCH") for step in steps), steps


async def test_what_is_unused_is_found_in_order_along_an_index_and_what_was_used_is_not_looked_at(
    store: SqliteStore,
) -> None:
    first, second = await plan(store, sql.UNUSED)
    assert first.startswith("SEARCH u USING COVERING INDEX uses_by_time")
    assert second.startswith("SEARCH r USING INTEGER PRIMARY KEY")


@pytest.mark.parametrize("also", ["", ONE_KEY, ONE_KEY + CHOICE + EXCLUSION])
async def test_a_join_looks_each_value_up_and_sorts_nothing(store: SqliteStore, also: str) -> None:
    steps = await plan(store, sql.BRANCHES.format(also=also))
    scans = {step for step in steps if step.startswith("SCAN")}
    assert {"SCAN branch", "SCAN CONSTANT ROW"} <= scans <= {"SCAN branch", *OF_VALUES}
    assert not [step for step in steps if "B-TREE" in step]


async def test_a_page_of_a_join_asks_no_more_for_many_values_than_for_few(store: SqliteStore) -> None:
    through = Through("parent", "o", "Parent", ("owner", "o"))

    async def statements() -> int:
        """How many SQL statements the page takes."""
        ran: list[str] = []
        await store._reads._short.connection.run(lambda one: one.set_trace_callback(ran.append))
        page = await store.page(Query("Thing", through=through), Window(3))
        assert (len(page.rows), page.more) == (3, True)
        await store._reads._short.connection.run(lambda one: one.set_trace_callback(None))
        return len(ran)

    async def grow(numbers: range) -> None:
        parents = [row(f"p{n}", ("owner", "o"), kind="Parent", slug=None) for n in numbers]
        things = [row(f"t{n}", ("parent", f"p{n}"), slug=None) for n in numbers if n % 2]
        await store.commit(creating(*parents, *things))

    await grow(range(8))
    few = await statements()
    await grow(range(8, 300))
    assert await statements() == few


async def test_the_newest_row_of_a_key_does_not_wait_behind_a_page(store: SqliteStore) -> None:
    await store.commit(creating(row("a", ("tag", "x"))))
    entered, leave = threading.Event(), threading.Event()

    def long(_: sqlite3.Connection) -> bool:
        entered.set()
        return leave.wait(30)

    page = asyncio.create_task(store._reads._lists.submit(long))
    await asyncio.to_thread(entered.wait)
    tx = Transaction(store)
    tx.create(row("b", ("tag", "x"), kind="Other"))
    newest = await tx.newest("Thing", "tag", "x")
    assert (newest and newest.id, page.done()) == ("a", False)
    leave.set()
    assert await page


@pytest.mark.parametrize("window", [Window(3), Window(None, budget_bytes=3 * SIZE), Window(3, skip=2)])
async def test_a_page_of_many_rows_costs_what_a_page_of_few_costs(store: SqliteStore, window: Window) -> None:
    worker = store._reads._lists if window.limit is None else store._reads._short

    async def steps() -> int:
        """How many instructions SQLite runs for the page, roughly."""
        ran = itertools.count()
        await worker.connection.run(lambda one: one.set_progress_handler(lambda: next(ran) < 0, 1))
        page = await store.page(Query("Thing"), window)
        assert (len(page.rows), page.more) == (3, True)
        await worker.connection.run(lambda one: one.set_progress_handler(None, 1))
        return next(ran)

    await store.commit(creating(*map(thing, range(BULK + 8))))
    few = await steps()
    await store.commit(creating(*map(thing, range(100, 1140))))
    assert await steps() < 2 * few  # 26 times as many rows; releases of SQLite differ by a few instructions


async def test_a_list_by_many_keys_is_planned_from_its_rarest_wherever_that_stands(store: SqliteStore) -> None:
    """Attack: of 150 tags that are on every row but one, the walk went along one that is on all."""
    common = [("tag", f"t{n:03}") for n in range(150)]

    async def steps(number: int, *keys: tuple[str, str]) -> int:
        ran = itertools.count()
        await store._reads._short.connection.run(lambda one: one.set_progress_handler(lambda: next(ran) < 0, 1))
        page = await store.page(Query("Thing", keys), Window(10))
        assert page.total == number
        await store._reads._short.connection.run(lambda one: one.set_progress_handler(None, 1))
        return next(ran)

    await store.commit(creating(*(row(f"r{n}", *common) for n in range(200))))
    await store.commit(creating(*(row(f"s{n}", *common, ("tag", "z")) for n in range(3))))
    rare = await steps(3, *common, ("tag", "z"))
    none = await steps(0, *common, ("tag", "nobody's"))
    await store.commit(creating(*(row(f"u{n}", *common) for n in range(800))))
    assert await steps(3, *common, ("tag", "z")) < 1.5 * rare
    assert await steps(0, *common, ("tag", "nobody's")) < 1.5 * none


async def test_of_keys_that_are_all_common_the_rarest_is_found(store: SqliteStore) -> None:
    often, seldom = ("tag", "often"), ("tag", "seldom")
    await store.commit(creating(*(row(f"r{n}", often, *([seldom] if n % 4 else [])) for n in range(1000))))

    def planned(connection: Any) -> tuple[tuple[str, str], ...]:
        return Search(connection, Query("Thing", (often, seldom)))._query.keys

    assert await store._reads.list(planned) == (seldom, often)
