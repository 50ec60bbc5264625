"""Whatever is done to a store, it answers as a plain dict would.

By default it tries few histories, always the same; `make long` tries hundreds of others, which takes minutes.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from effort import LONG, examples
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from store_model import Key, Model, ModelConflictError, ModelRow, ids_of
from store_rows import CHILDREN, GRANDCHILDREN

from stigmer.access.principal import PLATFORM, SHARED, identity, namespace, organization
from stigmer.store.errors import ConflictError
from stigmer.store.memory import MemoryStore, Tables
from stigmer.store.rows import Query, Row, Through, Window
from stigmer.store.sqlite import SqliteStore
from stigmer.store.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from stigmer.store.changes import Change
    from stigmer.store.contract import Store

Operation: TypeAlias = tuple[Any, ...]

KINDS = ("Thing", "Child", "Grandchild")
IDS = ("a", "b", "c", "d")
TAGS = (("tag", "x"), ("tag", "y"))

OWNED = (
    ("", PLATFORM), ("", organization("")), ("m", PLATFORM), ("m", organization("m")), ("n", organization("n")),
    ("n", organization("m")), ("", identity("x")), ("m", identity("x")), ("m", identity("y")),
)  # fmt: skip
OWNERS = (
    None, (PLATFORM, organization("m"), identity("x")), (SHARED, identity("x")), (identity("y"),), (PLATFORM, "nobody"),
)  # fmt: skip

kinds = st.sampled_from(KINDS)
ids = st.sampled_from(IDS)
slugs = st.sampled_from(("s", "t", None))
spaces = st.sampled_from(tuple((namespace(org, owner), owner) for org, owner in OWNED))
"""A namespace, and an owner whose slugs may stand there."""
data = st.binary(max_size=12)
keys = st.builds(
    lambda tags, parent: frozenset((*tags, *((("parent", parent),) if parent else ()))),
    st.sets(st.sampled_from(TAGS)),
    st.sampled_from((*IDS, "")),
)
creations = st.tuples(st.just("create"), kinds, ids, spaces, slugs, data, keys)
updates = st.tuples(st.just("update"), kinds, ids, data, keys)
removals = st.tuples(st.sampled_from(("delete", "discard")), kinds, ids)
others = st.tuples(st.sampled_from(("cascade", "require")), kinds, ids)
simple = st.one_of(creations, updates, removals)
rich = st.one_of(creations, updates, removals, others)
nested = st.tuples(st.sampled_from(("merge", "drop")), st.lists(rich, max_size=4))
queries = st.builds(
    Query,
    kinds,
    st.sets(st.sampled_from(TAGS)).map(lambda tags: tuple(sorted(tags))),
    st.none() | st.builds(Through, st.just("parent"), ids, kinds, st.sampled_from(TAGS)),
    st.sampled_from(OWNERS),
    st.just(()) | st.just((tuple(("parent", id_) for id_ in IDS[:3]),)),
    st.sets(st.sampled_from((*TAGS, ("parent", "a"), ("parent", "b"))), max_size=2).map(
        lambda some: tuple(sorted(some))
    ),
)
windows = st.builds(
    Window,
    st.none() | st.integers(0, 4),
    skip=st.integers(0, 3),
    budget_bytes=st.none() | st.integers(0, 30),
    overhead_bytes=st.integers(0, 4),
)


def created(  # noqa: PLR0917 - what a creation is drawn as
    kind: str, id_: str, space: tuple[str, str], slug: str | None, contents: bytes, pairs: frozenset[tuple[str, str]]
) -> Row:
    return Row(kind, id_, space[0], slug, contents, tuple(sorted(pairs)), "tester", space[1])


def model_of(row: Row) -> ModelRow:
    return ModelRow(row.kind, row.id, row.namespace, row.slug, row.data, frozenset(row.keys or ()), row.owner, 0, 0)


def stage(tx: Transaction, model: Model, row: Row | None, operation: Operation) -> None:
    """Do one write to a transaction and to its model; `row` is what it reads under the operation's kind and id."""
    name, kind, id_, *rest = operation
    there = model.rows.get((kind, id_))
    if name == "create":
        row = created(kind, id_, *rest)
        model.create(model_of(row))
        tx.create(row)
    elif name == "discard":
        model.discard(kind, id_)
        tx.discard(kind, id_)
    elif name == "require":
        model.require(kind, id_)
        tx.require(kind, id_)
    elif there is not None and row is not None and name == "update":
        model.update(there, *rest)
        tx.update(replace(row, data=rest[0], keys=tuple(sorted(rest[1]))))
    elif there is not None and row is not None and name == "delete":
        model.delete(there)
        tx.delete(row)


def told(model: Model) -> dict[Key, tuple[str, str | None, bytes]]:
    return {key: (row.namespace, row.slug, row.data) for key, row in model.rows.items()}


class StoreMachine(RuleBasedStateMachine):
    """Drives a store in a directory of its own on one event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.model = Model()
        self.fed: dict[Key, tuple[str, str | None, bytes]] = {}
        self.revision = 0
        self.cache_bytes = 0

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        self.runner.run(work)

    def backend(self) -> SqliteStore | MemoryStore:
        """A store that is not open yet, on what was kept."""
        return SqliteStore(Path(self.directory.name), cache_bytes=self.cache_bytes)

    async def open(self) -> None:
        self.store = await self.backend().__aenter__()
        self.store.feed.listen(self.note)

    def note(self, change: Change) -> None:
        assert change.revision > self.revision
        self.revision = change.revision
        if change.row is None:
            del self.fed[change.kind, change.id]
        else:
            self.fed[change.kind, change.id] = (change.row.namespace, change.row.slug, change.row.data)

    def teardown(self) -> None:
        self.run(self.store.__aexit__(None, None, None))
        self.runner.close()
        self.directory.cleanup()

    @initialize(cache_bytes=st.sampled_from((0, 2000, 1 << 20)))
    def start(self, cache_bytes: int) -> None:
        self.cache_bytes = cache_bytes
        self.run(self.open())

    @rule()
    def reopen(self) -> None:
        self.run(self.store.__aexit__(None, None, None))
        self.run(self.open())

    @rule(operations=st.lists(st.one_of(rich, nested), min_size=1, max_size=6), query=queries, window=windows)
    def transact(self, operations: Sequence[Operation], query: Query, window: Window) -> None:
        """One transaction alone, with calls that join it: it commits, and each read in it sees what it did so far."""

        async def work() -> None:
            tx, model = Transaction(self.store), self.model.copy()
            for operation in operations:
                await self.do(tx, model, operation)
                await self.compare(tx, model, query, window)
            await tx.commit()
            self.model = model

        self.run(work())

    @rule(
        batch=st.lists(st.lists(simple, min_size=1, max_size=3, unique_by=lambda one: one[1:3]), min_size=2, max_size=5)
    )
    def race(self, batch: Sequence[Sequence[Operation]]) -> None:
        """Several transactions that read the same commit, and commit at once: each in turn passes or loses."""

        async def work() -> None:
            transactions = [Transaction(self.store) for _ in batch]
            wanted = []
            base = self.model.copy()
            for tx, operations in zip(transactions, batch, strict=True):
                done: list[Operation] = []
                for operation in operations:
                    await self.do(tx, base.copy(), operation, done)
                wanted.append(done)
            results = await asyncio.gather(*(tx.commit() for tx in transactions), return_exceptions=True)
            for done, result in zip(wanted, results, strict=True):
                assert isinstance(result, ConflictError) is not self.replay(base, done)
                assert isinstance(result, ConflictError) or not isinstance(result, BaseException)

        self.run(work())

    def replay(self, base: Model, operations: Sequence[Operation]) -> bool:
        """Do to the model what a transaction that read `base` wants; False where it must lose.

        Removals come first, as in a commit.
        """
        model = self.model.copy()
        try:
            for name, kind, id_, *rest in sorted(operations, key=lambda one: one[0] in ("create", "update")):
                if name == "create":
                    model.create(model_of(created(kind, id_, *rest)))
                elif name == "discard":
                    model.discard(kind, id_)
                elif name == "update":
                    model.update(base.rows[kind, id_], *rest)
                else:
                    model.delete(base.rows[kind, id_])
        except ModelConflictError:
            return False
        self.model = model
        return True

    async def do(
        self, tx: Transaction, model: Model, operation: Operation, done: list[Operation] | None = None
    ) -> None:
        """One operation, where the model allows it; the others must be refused at commit, which `race` looks at."""
        if operation[0] in ("merge", "drop"):
            await self.join(tx, model, *operation)
            return
        name, kind, id_, *_ = operation
        if name == "cascade":
            model.delete_dependents(CHILDREN, id_)
            await tx.delete_dependents((CHILDREN,), id_)
            return
        row = await tx.get(kind, id_)
        if done is not None and (name in ("create", "discard") or (kind, id_) in model.rows):
            done.append(operation)
            if name == "create":
                tx.create(created(kind, id_, *operation[3:]))
                return
        there = (kind, id_) in model.rows
        try:
            stage(tx, model, row, operation)
        except ModelConflictError:
            return
        if done is None and kind == "Child" and (name == "discard" or (name == "delete" and there)):
            model.delete_dependents(GRANDCHILDREN, id_)  # a row never goes without its dependents
            await tx.delete_dependents((GRANDCHILDREN,), id_)

    async def join(self, tx: Transaction, model: Model, end: str, operations: Sequence[Operation]) -> None:
        """A call that joins, and whose writes are kept or dropped."""
        inner, view = Transaction(self.store, tx), model.copy()
        for operation in operations:
            await self.do(inner, view, operation)
            await self.compare(inner, view, Query("Child"), Window(None))
        if end == "merge":
            inner.merge()
            model.rows, model.clock = view.rows, view.clock

    async def compare(self, source: Transaction | Store, model: Model, query: Query, window: Window) -> None:
        """Every kind of read answers as the model does."""
        for kind in KINDS:
            for id_ in IDS:
                assert_same(await source.get(kind, id_), model.rows.get((kind, id_)))
            for slug in ("s", "t"):
                for space in ("", "m", namespace("m", identity("x"))):
                    assert_same(await source.by_slug(kind, slug, space), model.by_slug(kind, slug, space))
                anywhere = [one.id for one in await source.by_slug_anywhere(kind, slug, query.owners)]
                assert anywhere == ids_of(model.by_slug_anywhere(kind, slug, query.owners))
        await self.compare_pages(source, model, query, window)

    async def compare_pages(self, source: Transaction | Store, model: Model, query: Query, window: Window) -> None:
        """The window, and the one that follows it."""
        before: ModelRow | None = None
        for _ in range(2):
            page = await source.page(query, window)
            rows, more, total = model.page(query, window, before)
            assert ([one.id for one in page.rows], page.more, page.total) == (ids_of(rows), more, total)
            if not rows:
                return
            before = rows[-1]
            window = replace(window, before=page.rows[-1].sequence)

    @rule(query=queries, window=windows)
    def read(self, query: Query, window: Window) -> None:
        self.run(self.compare(self.store, self.model, query, window))

    @invariant()
    def the_feed_told_everything(self) -> None:
        assert self.fed == told(self.model)


def assert_same(row: Row | None, wanted: ModelRow | None) -> None:
    have = None if row is None else (row.kind, row.id, row.namespace, row.slug, row.data, row.owner)
    assert have == (wanted and (wanted.kind, wanted.id, wanted.namespace, wanted.slug, wanted.data, wanted.owner))


class MemoryMachine(StoreMachine):
    """Drives a store in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = Tables()

    def backend(self) -> SqliteStore | MemoryStore:
        return MemoryStore(self.tables)


PATIENT = settings(
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=not LONG,
)


@pytest.mark.longer
@pytest.mark.timeout(3600)  # a failure takes minutes to shrink
@pytest.mark.parametrize(
    ("machine", "histories"), [(StoreMachine, examples(15, 600)), (MemoryMachine, examples(15, 3_000))]
)
def test_a_store_answers_as_a_dict_would(machine: type[StoreMachine], histories: int) -> None:
    run_state_machine_as_test(machine, settings=settings(PATIENT, max_examples=histories))
