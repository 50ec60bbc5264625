"""The list that every kind has: its pages, its filters, whose resources it shows, and what it refuses."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import samples
from callers import ANN, GIL, ROOT, Callers, everything, of, outcome, runner_of
from conformance import Resources, invalid, refused
from conformance_facts import AGENT_EXECUTION, EXECUTION_CONTEXT, KINDS, KindFacts
from edge_rig import Rig, id_of
from grpclib.const import Status

from stigmer import types
from stigmer.app.assembly import assemble
from stigmer.secrets.fields import MARK
from stigmer.store.memory import MemoryStore
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NUMBER = 7


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteStore | MemoryStore]:
    async with SqliteStore(tmp_path) if request.param == "sqlite" else MemoryStore() as opened:
        yield opened


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest, store: SqliteStore | MemoryStore) -> Resources:
    return Resources(request.param, assemble(store).loopback)


@pytest.fixture
def callers(store: SqliteStore | MemoryStore) -> Callers:
    return Callers(Rig(store))


def request_of(facts: KindFacts, **fields: Any) -> Any:
    return getattr(types, f"List{facts.name}sRequest")(**fields)


async def listed(kind: Resources, **fields: Any) -> Any:
    return await kind.queries.list(request_of(kind.facts, **fields))


def entries(page: Any) -> list[Any]:
    found: list[Any] = page.items if hasattr(page, "items") else page.entries
    return found


async def found(kind: Resources, **fields: Any) -> list[str]:
    return [one.metadata.id for one in entries(await listed(kind, **fields))]


async def labelled(kind: Resources, *labels: dict[str, str]) -> list[str]:
    """A resource with each of these labels; their ids."""
    return [(await kind.created(labels=one)).metadata.id for one in labels]


async def walked(kind: Resources, size: int, **fields: Any) -> list[list[str]]:
    """The ids of each page."""
    pages: list[list[str]] = []
    token = ""
    while not pages or token:
        page = await listed(kind, page_size=size, page_token=token, **fields)
        pages.append([one.metadata.id for one in entries(page)])
        total = getattr(page, "total_count", None)
        assert (total == NUMBER) if total is not None else page.total_pages == -(-NUMBER // size)
        token = page.next_page_token
    return pages


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
async def test_pages_follow_one_another_newest_first(kind: Resources, size: int) -> None:
    tag, labels = samples.unique("tag"), {"tier": "gold"}
    made = [(await kind.created(tags=[tag], labels=labels)).metadata.id for _ in range(NUMBER)][::-1]
    await labelled(kind, {"tier": "lead"}, {})
    pages = [made[start : start + size] for start in range(0, NUMBER, size)]
    assert await walked(kind, size, tags=[tag]) == pages
    assert await walked(kind, size, label_selector="tier=gold") == pages
    assert await walked(kind, size, label_selector="tier in (gold, silver)", tags=[tag]) == pages


async def test_a_resource_is_listed_as_get_answers_it(kind: Resources) -> None:
    made = await kind.created()
    assert (await kind.get(made.metadata.id)) in entries(await listed(kind))


async def test_a_selector_gives_what_fits_and_follows_changes(kind: Resources) -> None:
    if "update" not in kind.facts.rpcs:
        pytest.skip("its labels do not change")
    plain, web, db = await labelled(kind, {}, {"app": "web", "env": "prod"}, {"app": "db"})

    async def selected(selector: str) -> list[str]:
        ids = [plain, web, db]
        return [id_ for id_ in await found(kind, label_selector=selector) if id_ in ids][::-1]

    assert await selected("") == [plain, web, db]
    assert await selected("app=web") == await selected("app in (web),env") == [web]
    assert await selected("app in (web,db)") == await selected("app") == [web, db]
    assert await selected("!app") == await selected("app notin (web,db)") == [plain]
    assert await selected("app!=web") == [plain, db]
    assert await selected("app in (web,db),env!=prod") == [db]
    assert await selected("app=web,app=db") == await selected("app,!app") == []
    resource = await kind.get(web)
    resource.metadata.labels = {"app": "db", "env": "prod"}
    resource.metadata.version = None
    await kind.update(resource)
    assert await selected("app=web") == []
    assert await selected("app=db") == [web, db]
    await kind.delete(db)
    assert await selected("app=db") == [web]


async def test_tags_and_labels_are_found_whatever_is_in_them(kind: Resources) -> None:
    odd = {"": "x", "k\N{SNOWMAN}'\";--": "v%_*", "big": "x" * 1024, "empty": ""}
    made = await labelled(kind, odd)
    for selector in ("k\N{SNOWMAN}'\";--=v%_*", f"big={'x' * 1024}", "empty=", "empty", "big!=y"):
        assert await found(kind, label_selector=selector) == made, selector
    assert await found(kind, label_selector="big=x") == []


@pytest.mark.parametrize(
    ("selector", "told"),
    [("a=b,", "at position 5"), ("a in b", "at position 6"), (">", "at position 1"), ("a" * 8193, "8192 characters")],
)
async def test_what_is_no_selector_is_refused_with_what_else_is_wrong(
    kind: Resources, selector: str, told: str
) -> None:
    token = {"page_token": "banana"} if "position" in told else {}
    error = await invalid(listed(kind, label_selector=selector, **token), "label_selector", *token)
    assert told in (error.message or "")


async def test_negative_sizes_and_too_many_tags_are_refused(kind: Resources) -> None:
    await invalid(listed(kind, page_size=-1), "page_size")
    await invalid(listed(kind, tags=["x"] * 257), "tags")
    await invalid(listed(kind, tags=["x" * 257]), "tags[0]")
    await invalid(listed(kind, org="x" * 1025), "org")


async def test_a_token_is_bound_to_its_filters(kind: Resources) -> None:
    for _ in range(3):
        await kind.created(tags=["t"], labels={"a": "1", "b": "1"})
    filters: list[dict[str, Any]] = [
        *({}, {"tags": ["t"]}, {"label_selector": "a=1"}, {"label_selector": "b=1"}),
        {"tags": ["t"], "label_selector": "a=1"},
    ]
    for one in filters:
        token = (await listed(kind, page_size=1, **one)).next_page_token
        assert token
        for other in filters:
            if other != one:
                await invalid(listed(kind, page_token=token, **other), "page_token")


async def test_an_organization_has_its_own(store: SqliteStore | MemoryStore) -> None:
    """Of executions and contexts it is the one that they belong to."""
    channel = assemble(store).loopback
    made: dict[str, dict[str, str]] = {}
    for org in ("acme", "globex", ""):
        agent = await Resources(KINDS[0], channel).created(org=org)
        ids = {"Agent": id_of(agent)}
        for facts in KINDS[1:]:
            kind = Resources(facts, channel)
            if facts is AGENT_EXECUTION:
                ids[facts.name] = id_of(await kind.create(samples.agent_execution(agent_id=ids["Agent"])))
            elif facts is EXECUTION_CONTEXT:
                ids[facts.name] = id_of(await kind.create(samples.execution_context(ids["AgentExecution"])))
            else:
                ids[facts.name] = id_of(await kind.created(org=org))
        made[org] = ids
    for facts in KINDS:
        kind = Resources(facts, channel)
        for org in ("acme", "globex"):
            ids_of_org = await found(kind, org=org)
            assert made[org][facts.name] in ids_of_org
            others = {ids[facts.name] for other, ids in made.items() if other != org}
            assert not others & set(ids_of_org)
        assert {ids[facts.name] for ids in made.values()} <= set(await found(kind))
        assert await found(kind, org="nobody") == []


async def test_lists_show_what_is_there_for_the_caller(callers: Callers) -> None:
    """Whatever the filters name; contexts to operators alone."""
    has = await everything(callers, ANN, org="acme")
    for facts in KINDS:
        mine = has.of_kind(facts.name)
        for fields in ({}, {"tags": [mine.metadata.name]}, {"org": "acme"}, {"label_selector": "!x"}):
            asked = request_of(facts, **fields)
            shown = [
                id_of(mine) in str((await outcome(callers(who).kind(facts.name).queries.list(asked))).reply)
                for who in (runner_of(ANN), ROOT, runner_of(GIL))
            ]
            assert shown == [True, True, False], (facts.name, fields)


async def test_contexts_are_listed_for_operators_alone(callers: Callers) -> None:
    for role, allowed in (("reader", False), ("editor", False), ("runner", True), ("admin", True)):
        contexts = callers(of(role, "acme", name="x")).kind("ExecutionContext")  # type: ignore[arg-type]  # a role
        call = contexts.queries.list(types.ListExecutionContextsRequest(label_selector=")"))
        if allowed:
            await invalid(call, "label_selector")
        else:
            await refused(call, Status.PERMISSION_DENIED)


async def test_secret_values_are_marks_in_lists_whoever_asks(store: SqliteStore | MemoryStore) -> None:
    channel = assemble(store).loopback
    environments, contexts = (Resources(KINDS[n], channel) for n in (4, 5))
    secret = types.EnvironmentValue(value="s3cret", is_secret=True)
    environment = samples.environment()
    environment.spec.data["KEY"] = secret
    await environments.create(environment)
    context = samples.execution_context()
    context.spec.data["KEY"] = types.ExecutionValue(value="s3cret", is_secret=True)
    await contexts.create(context)
    for kind in (environments, contexts):
        (entry,) = entries(await listed(kind))
        assert entry.spec.data["KEY"].value == MARK
        assert entry.spec.data["TZ"].value == "Europe/Berlin"


async def test_a_database_of_before_is_listed_once_it_is_open(tmp_path: Path) -> None:
    """The keys that lists go by are made of what is stored."""
    async with SqliteStore(tmp_path) as store:
        agents = Resources(KINDS[0], assemble(store).loopback)
        ids = await labelled(agents, {"app": "web"}, {"app": "db", "big": "x" * 1024}, {})
    with closing(sqlite3.connect(tmp_path / "stigmer.db", isolation_level=None)) as database:
        made = sorted(database.execute("SELECT * FROM resource_keys"))
        database.execute("DELETE FROM resource_keys WHERE field LIKE 'metadata.%'")
        database.execute("PRAGMA user_version = 7")
    async with SqliteStore(tmp_path) as store:
        agents = Resources(KINDS[0], assemble(store).loopback)
        assert await found(agents, label_selector="app in (web,db)") == ids[1::-1]
    with closing(sqlite3.connect(tmp_path / "stigmer.db", isolation_level=None)) as database:
        assert sorted(database.execute("SELECT * FROM resource_keys")) == made
