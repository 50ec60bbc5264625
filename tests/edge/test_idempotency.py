"""`idempotency-key`: a create or a rotate is done once, and every call that repeats it gets the first reply."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import samples
from callers import AMY, ANN, ROOT, Callers, of
from conformance import detail_of, invalid, refused
from conformance_facts import AGENT, KINDS
from edge_rig import Rig, id_of
from google.rpc import error_details_pb2
from grpclib.const import Status
from kept import everything_kept
from matrix import Owned

from stigmer import types
from stigmer.edge.terms import SECRET
from stigmer.pipeline import idempotency
from stigmer.pipeline.idempotency import KEPT_MS, TABLE, Kept, expire
from stigmer.secrets.fields import MARK
from stigmer.store.memory import MemoryStore
from stigmer.store.sqlite import SqliteStore
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from conformance_facts import KindFacts

Stores = SqliteStore | MemoryStore


def keyed(key: str = "k1", **more: str) -> dict[str, Any]:
    return {"metadata": {"idempotency-key": key, **more}}


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    async with SqliteStore(tmp_path / "data") if request.param == "sqlite" else MemoryStore() as opened:
        yield opened


@pytest.fixture
def rig(store: Stores) -> Rig:
    return Rig(store)


async def records(store: Stores) -> list[Any]:
    return list(await store.records(TABLE))


class Clock:
    """The store's clock, as the test sets it."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    async def now(self) -> int:
        return self.ms


@pytest.fixture
def clock(store: Stores, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(type(store), "now_ms", lambda _self: clock.now())
    return clock


@pytest.mark.parametrize("facts", KINDS, ids=str)
async def test_a_create_of_each_kind_is_done_once(rig: Rig, store: Stores, facts: KindFacts) -> None:
    resource = await Owned(rig, "acme").sample(facts.name)
    commands = facts.commands(rig.loopback)
    first = await commands.create(resource, **keyed())
    before, told = everything_kept(store), list[object]()
    store.feed.listen(told.append)
    for _ in range(2):
        assert await commands.create(resource, **keyed()) == first
    assert everything_kept(store) == before
    assert told == []
    if facts.slug_unique:
        await refused(commands.create(resource), Status.ALREADY_EXISTS)


async def test_a_rotate_is_done_once(rig: Rig) -> None:
    context = samples.execution_context()
    context.spec.data |= {key: types.ExecutionValue(value=f"s3cret {key}", is_secret=True) for key in ("ONE", "TWO")}
    made = await rig.contexts.create(context)
    rotate = types.RotateExecutionValueInput(resource_id=id_of(made), key="ONE", value="new")
    first = await rig.contexts.rotate(rotate, **keyed())
    again = await rig.contexts.rotate(rotate, **keyed())
    assert again.metadata == first.metadata
    assert {key: value.value for key, value in again.spec.data.items()} == {
        "TZ": "Europe/Berlin", "ONE": "new", "TWO": MARK,
    }  # fmt: skip
    third = await rig.contexts.rotate(rotate, **keyed("k2"))
    assert third.metadata.version != first.metadata.version
    reused = replace(rotate, value="newer")
    await refused(rig.contexts.rotate(reused, **keyed()), Status.FAILED_PRECONDITION)
    clear = types.RotateExecutionValueInput(resource_id=id_of(made), key="TZ", value="UTC")
    assert await rig.contexts.rotate(clear, **keyed("k3")) is not None
    assert (await rig.contexts.rotate(clear, **keyed("k3"))).spec.data["TZ"].value == "UTC"


async def test_the_first_reply_is_given_whatever_became_of_the_resource(rig: Rig) -> None:
    sent = samples.environment()
    first = await rig.environments.create(sent, **keyed())
    changed = await rig.find_environments.get(types.ApiResourceId(value=id_of(first)))
    changed.spec.description = "Changed"
    await rig.environments.update(changed)
    assert await rig.environments.create(sent, **keyed()) == first
    await rig.environments.delete(types.ApiResourceDeleteInput(resource_id=id_of(first)))
    assert await rig.environments.create(sent, **keyed()) == first
    assert await rig.ids("Environment") == set()


async def test_another_request_with_the_key_is_refused(rig: Rig) -> None:
    sent = samples.environment(labels={"a": "1", "b": "2"})
    await rig.environments.create(sent, **keyed("order-7"))
    same = samples.environment(name=sent.metadata.name, labels={"b": "2", "a": "1"})
    await rig.environments.create(same, **keyed("order-7"))
    other = samples.environment(name=sent.metadata.name, labels={"a": "1", "b": "3"})
    error = await refused(rig.environments.create(other, **keyed("order-7")), Status.FAILED_PRECONDITION)
    info = detail_of(error, error_details_pb2.ErrorInfo)
    assert (info.reason, info.metadata["subject"]) == ("IDEMPOTENCY_KEY_REUSED", "order-7")
    assert "order-7" in (error.message or "")


async def test_who_has_the_database_alone_cannot_try_out_the_values_of_a_request(rig: Rig, store: Stores) -> None:
    sent = samples.environment()
    sent.spec.data["PIN"] = types.EnvironmentValue(value="1234", is_secret=True)
    await rig.environments.create(sent, **keyed())
    kept = Kept.unpacked((await records(store))[0]).fingerprint
    guess = codec.encode(sent)
    assert kept != hashlib.blake2b(guess, key=store.secret(SECRET), digest_size=32).digest()


async def test_a_key_counts_for_its_caller_and_method_alone(rig: Rig) -> None:
    callers = Callers(rig)
    made = [
        await callers(ANN).environments.create(samples.environment(org="acme"), **keyed()),
        await callers(AMY).environments.create(samples.environment(org="acme"), **keyed()),
        await callers(ROOT).environments.create(samples.environment(org="acme"), **keyed()),
        await callers(ROOT).agents.create(samples.agent(), **keyed()),
    ]
    assert len({id_of(one) for one in made}) == 4
    applied = samples.environment()
    await rig.environments.apply(applied, **keyed())
    assert (await rig.environments.apply(applied, **keyed())).status.audit.spec_audit.event == "updated"


async def test_what_fails_is_not_kept(rig: Rig, store: Stores) -> None:
    await invalid(rig.environments.create(types.Environment(), **keyed()), "api_version", "kind", "metadata", "spec")
    taken = await rig.environments.create(samples.environment())
    again = samples.environment(name=taken.metadata.name)
    await refused(rig.environments.create(again, **keyed()), Status.ALREADY_EXISTS)
    assert await records(store) == []
    await rig.environments.delete(types.ApiResourceDeleteInput(resource_id=id_of(taken)))
    made = await rig.environments.create(again, **keyed())
    assert id_of(await rig.environments.create(again, **keyed())) == id_of(made)


@pytest.mark.parametrize("key", [" ", "a b", "x" * 256])
async def test_a_key_is_short_and_printable(rig: Rig, key: str) -> None:
    error = await invalid(rig.environments.create(samples.environment(), **keyed(key)), "idempotency-key")
    assert "255" in (error.message or "")
    assert await rig.ids("Environment") == set()


async def test_one_key_is_sent_and_not_two(rig: Rig) -> None:
    several = [("idempotency-key", "a"), ("idempotency-key", "a")]
    await invalid(rig.environments.create(samples.environment(), metadata=several), "idempotency-key")
    await rig.environments.create(samples.environment(), **keyed("!" + "~" * 254))


@pytest.mark.parametrize("kind", ["Environment", "Agent", "AgentExecution"])
async def test_of_callers_that_race_one_does_it_and_all_are_answered_the_same(rig: Rig, kind: str) -> None:
    owned = Owned(rig, "acme")
    resource = await owned.sample(kind)
    if kind == "AgentExecution":
        agent = await rig.agent()
        resource = samples.agent_execution(agent_id=id_of(agent))
        resource.spec.runtime_env = {"A": types.ExecutionValue(value="s3cret", is_secret=True)}
    facts = next(one for one in KINDS if one.name == kind)
    before = {one.name: await rig.ids(one.name) for one in KINDS}
    create = facts.commands(rig.loopback).create
    replies = await asyncio.gather(*(create(resource, **keyed()) for _ in range(16)))
    assert [reply == replies[0] for reply in replies] == [True] * 16
    made = {one.name: len(await rig.ids(one.name) - before[one.name]) for one in KINDS}
    more = {"Agent": {"AgentInstance"}, "AgentExecution": {"Session", "ExecutionContext"}}.get(kind, set())
    assert made == {one.name: int(one.name == kind or one.name in more) for one in KINDS}


async def test_racers_with_different_requests_get_one_reply_and_one_error(rig: Rig) -> None:
    sent = [samples.environment() for _ in range(16)]
    calls = [rig.environments.create(one, **keyed()) for one in sent for _ in range(2)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    made = [one for one in ended if not isinstance(one, BaseException)]
    assert [id_of(one) for one in made] == [id_of(made[0])] * 2
    errors = [one for one in ended if isinstance(one, BaseException)]
    assert {getattr(one, "status", None) for one in errors} == {Status.FAILED_PRECONDITION}
    assert len(await rig.ids("Environment")) == 1


async def test_replies_are_kept_for_a_day_and_then_the_key_is_new(rig: Rig, store: Stores, clock: Clock) -> None:
    session = id_of(await rig.sessions.create(samples.session()))
    sent, started = samples.agent_execution(session), clock.ms
    first = await rig.executions.create(sent, **keyed())
    for later in (KEPT_MS - 1, KEPT_MS // 2, 0, -1000):
        clock.ms = started + later
        assert await rig.executions.create(sent, **keyed()) == first
    clock.ms = started + KEPT_MS
    second = await rig.executions.create(sent, **keyed())
    assert id_of(second) != id_of(first)
    assert await rig.executions.create(sent, **keyed()) == second
    assert len(await records(store)) == 1, "what is too old goes as the key is taken anew"
    clock.ms += 10 * KEPT_MS
    third = await rig.executions.create(sent, **keyed())
    assert await rig.executions.create(sent, **keyed()) == third
    assert id_of(third) not in {id_of(first), id_of(second)}


async def test_at_the_turn_of_a_day_and_with_a_clock_that_is_set_back_nothing_is_done_twice(
    rig: Rig, clock: Clock
) -> None:
    clock.ms = (clock.ms // KEPT_MS) * KEPT_MS - 1
    sent = samples.agent_execution(id_of(await rig.sessions.create(samples.session())))
    first = await rig.executions.create(sent, **keyed())
    clock.ms += 2
    assert await rig.executions.create(sent, **keyed()) == first
    other = samples.agent_execution(sent.spec.session_id)
    second = await rig.executions.create(other, **keyed("k2"))
    clock.ms -= 2
    assert await rig.executions.create(other, **keyed("k2")) == second


async def test_a_job_removes_what_is_over_in_small_transactions(
    rig: Rig, store: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "AT_ONCE", 4)
    session, started = id_of(await rig.sessions.create(samples.session())), clock.ms
    for day in (0, 1, 2):
        clock.ms = started + day * KEPT_MS
        for number in range(9):
            await rig.executions.create(samples.agent_execution(session), **keyed(f"{day}-{number}"))
    sizes: list[int] = []
    commit = type(store).commit

    async def counted(self: Any, changes: Any, **more: Any) -> Any:
        sizes.append(len(changes.records))
        return await commit(self, changes, **more)

    monkeypatch.setattr(type(store), "commit", counted)
    await expire(store)
    assert len(await records(store)) == 18
    assert sizes == [4, 4, 1]
    clock.ms = started + 4 * KEPT_MS
    await expire(store)
    assert await records(store) == []


async def test_secret_values_are_in_no_record_and_come_from_the_retry(rig: Rig, store: Stores) -> None:
    environment = samples.environment(org="acme")
    environment.spec.data |= {
        "KEY": types.EnvironmentValue(value="s3cret-value", is_secret=True),
        "EMPTY": types.EnvironmentValue(is_secret=True),
    }
    callers = Callers(rig)
    for who, shown in ((ROOT, "s3cret-value"), (ANN, MARK)):
        create = callers(who).environments.create
        environment.metadata.name = samples.unique("environment")
        first = await create(environment, **keyed())
        assert first.spec.data["KEY"].value == shown
        assert await create(environment, **keyed()) == first
    hidden = await callers(ROOT).environments.create(environment_of(environment), **keyed("k3", **{"x-secrets": "no"}))
    assert hidden.spec.data["KEY"].value == MARK
    kept = await records(store)
    assert len(kept) == 3
    assert not [one for one in kept if b"s3cret" in one.value]
    if isinstance(store, SqliteStore):
        with closing(sqlite3.connect(store._path)) as database:
            assert not [text for text in database.iterdump() if "s3cret" in text or b"s3cret".hex() in text.lower()]


def environment_of(environment: Any) -> Any:
    return replace(environment, metadata=replace(environment.metadata, name=samples.unique("environment")))


async def test_another_secret_is_another_request(rig: Rig) -> None:
    environment = samples.environment()
    environment.spec.data["KEY"] = types.EnvironmentValue(value="one", is_secret=True)
    await rig.environments.create(environment, **keyed())
    environment.spec.data["KEY"] = types.EnvironmentValue(value="two", is_secret=True)
    await refused(rig.environments.create(environment, **keyed()), Status.FAILED_PRECONDITION)


async def test_a_dry_run_takes_no_key_and_gives_no_reply_that_is_kept(rig: Rig, store: Stores) -> None:
    sent, dry = samples.environment(), keyed("k1", **{"x-dry-run": "all"})
    tried = await rig.environments.create(sent, **dry)
    assert await records(store) == []
    made = await rig.environments.create(sent, **keyed())
    assert id_of(made) != id_of(tried)
    await refused(rig.environments.create(sent, **dry), Status.ALREADY_EXISTS)
    await invalid(rig.environments.create(sent, **keyed("a b", **{"x-dry-run": "all"})), "idempotency-key")


async def test_a_call_within_another_one_takes_no_key(rig: Rig, store: Stores) -> None:
    async def within() -> None:
        await rig.sessions.create(samples.session(), **keyed())

    await rig.outer(within, **keyed("outer"))
    assert len(await records(store)) == 1
    assert len(await rig.ids("Session")) == 1
    await rig.sessions.create(samples.session(), **keyed())
    assert len(await rig.ids("Session")) == 2


async def test_what_is_not_the_callers_any_more_is_not_answered_again(rig: Rig) -> None:
    callers, sent = Callers(rig), samples.environment(org="acme")
    await callers(ANN).environments.create(sent, **keyed())
    moved = of("editor", "globex", name=ANN.name)
    await refused(callers(moved).environments.create(sent, **keyed()), Status.PERMISSION_DENIED)


async def test_a_run_that_loses_its_race_after_a_failure_is_answered_with_what_won(rig: Rig) -> None:
    """The slug is taken by the call that is repeated: that is no ALREADY_EXISTS."""
    agent = samples.agent()
    agents = AGENT.commands(rig.loopback)
    replies = await asyncio.gather(
        *(agents.create(agent, **keyed()) for _ in range(4)), agents.create(agent, **keyed())
    )
    assert len({id_of(one) for one in replies}) == 1
    late = await agents.create(agent, **keyed())
    assert late == replies[0]
    await refused(agents.create(agent, **keyed("another")), Status.ALREADY_EXISTS)
