"""The keys of secrets over the wire: rotated while calls read and write, left in the middle, refused with advice."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance import invalid
from edge_rig import Stubs, environments, id_of
from google.rpc import error_details_pb2
from grpclib.exceptions import GRPCError
from sealed_rows import keys_in_use

from stigmer.access.principal import Principal
from stigmer.app import assembly
from stigmer.pipeline import key_rotation, rewrapping
from stigmer.secrets.audit import LOG, Event, Op
from stigmer.store.memory import MemoryStore
from stigmer.types import ApiResourceId, SealingKeyId, SealingKeyState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_rotation, "READERS_S", 0.05)
    monkeypatch.setattr(rewrapping, "PIECE", 3)


@pytest.fixture
async def app() -> AsyncIterator[assembly.App]:
    async with MemoryStore() as store:
        yield assembly.assemble(store)


@pytest.fixture
def stubs(app: assembly.App) -> Stubs:
    return Stubs(app.edge.channel(Principal("root", "admin", frozenset({"*"}))))


def with_secret(value: str) -> Any:
    made: Any = samples.environment(org="acme")
    made.spec.data = {"TOKEN": environments.EnvironmentValue(value=value, is_secret=True)}
    return made


async def made(stubs: Stubs, count: int) -> list[str]:
    """The ids of environments, the value of each being its number."""
    return [id_of(await stubs.environments.create(with_secret(str(number)))) for number in range(count)]


async def value_of(stubs: Stubs, id_: str) -> str:
    found = await stubs.find_environments.get(ApiResourceId(value=id_))
    return str(found.spec.data["TOKEN"].value)


async def listed(stubs: Stubs) -> list[tuple[str, str, int]]:
    found = await stubs.admin.list_keys()
    return [(key.id, str(SealingKeyState(key.state).name), key.resources) for key in found.entries]


async def activated(stubs: Stubs) -> str:
    key = await stubs.admin.add_key()
    assert key.state is SealingKeyState.enabled
    assert (await stubs.admin.activate_key(SealingKeyId(value=key.id))).state is SealingKeyState.active
    return str(key.id)


async def rewrapped(stubs: Stubs) -> tuple[int, int, int]:
    last = [one async for one in stubs.admin.rewrap_keys()][-1]
    return last.rewrapped, last.total, last.damaged


async def refused(call: Any, status: str) -> tuple[str, Any]:
    with pytest.raises(GRPCError) as failed:
        await call
    assert failed.value.status.name == status
    (detail,) = failed.value.details or (None,)
    return failed.value.message or "", detail


async def test_a_rotation_over_the_wire_is_told_of_by_the_audit(app: assembly.App, stubs: Stubs) -> None:
    ids = await made(stubs, 7)
    ((old, _, count),) = await listed(stubs)
    assert count == 8, "with the audit's own keys"
    new = await activated(stubs)
    assert await rewrapped(stubs) == (8, 8, 0)
    assert await rewrapped(stubs) == (0, 0, 0)
    assert (await stubs.admin.retire_key(SealingKeyId(value=old))).state is SealingKeyState.retired
    assert await listed(stubs) == [(old, "retired", 0), (new, "active", 8)]
    assert [await value_of(stubs, id_) for id_ in ids] == list(map(str, range(7)))
    told = [Event.of(entry.value) for entry in await app.store.log(LOG)]
    of_keys = [(one.op, one.id, one.actor) for one in told if one.op.startswith("key.")]
    assert of_keys == [
        (Op.KEY_ADD, new, "root"),
        (Op.KEY_ACTIVATE, new, "root"),
        (Op.KEY_REWRAP, new, "root"),
        (Op.KEY_REWRAP, new, "root"),
        (Op.KEY_RETIRE, old, "root"),
    ]
    assert {one.method for one in told if one.op is Op.KEY_ADD} == {"/ai.stigmer.admin.v1.AdminController/addKey"}


async def test_how_far_a_rewrap_is_is_told_after_each_transaction(stubs: Stubs) -> None:
    await made(stubs, 7)
    await activated(stubs)
    states = [(one.rewrapped, one.total) async for one in stubs.admin.rewrap_keys()]
    assert states == [(3, 8), (6, 8), (8, 8), *[(8, 8)] * 4]


async def test_a_rewrap_that_is_left_goes_on_where_it_was(stubs: Stubs) -> None:
    await made(stubs, 7)
    old, new = (await listed(stubs))[0][0], await activated(stubs)
    states = stubs.admin.rewrap_keys()
    assert (await anext(states)).rewrapped == 3
    await states.aclose()
    assert await listed(stubs) == [(old, "enabled", 5), (new, "active", 3)]
    assert await rewrapped(stubs) == (5, 5, 0)


async def test_a_deadline_that_passes_in_the_middle_leaves_what_was_done(
    stubs: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(stubs, 7)
    await activated(stubs)
    again, pieces = rewrapping._rewrap, 0

    async def stuck(*given: Any) -> Any:
        nonlocal pieces
        pieces += 1
        if pieces == 2:
            await asyncio.Event().wait()
        return await again(*given)

    with monkeypatch.context() as patch:
        patch.setattr(rewrapping, "_rewrap", stuck)
        with pytest.raises((GRPCError, TimeoutError)):
            async for _ in stubs.admin.rewrap_keys(timeout=0.5):
                pass
    assert await rewrapped(stubs) == (5, 5, 0)


async def test_what_is_refused_says_why_and_what_to_do(stubs: Stubs) -> None:
    await made(stubs, 2)
    old = (await listed(stubs))[0][0]
    active = SealingKeyId(value=old)
    message, detail = await refused(stubs.admin.retire_key(active), "FAILED_PRECONDITION")
    assert message == f"key {old}: it is active: activate another one first"
    assert isinstance(detail, error_details_pb2.PreconditionFailure)
    assert (detail.violations[0].type, detail.violations[0].subject) == ("KEY", old)
    await activated(stubs)
    message, _ = await refused(stubs.admin.retire_key(active), "FAILED_PRECONDITION")
    assert message == f"key {old}: the secrets of 3 resources are under it: rewrap them first"
    for call in (stubs.admin.retire_key, stubs.admin.activate_key):
        message, detail = await refused(call(SealingKeyId(value="key-none")), "NOT_FOUND")
        assert message == "key not found: key-none"
        assert isinstance(detail, error_details_pb2.ResourceInfo)
        await invalid(call(SealingKeyId()), "value")


async def test_keys_are_rotated_while_calls_read_and_write(app: assembly.App, stubs: Stubs) -> None:
    """No call fails, and nothing is left under a key that is retired."""
    ids, over, reads = await made(stubs, 6), asyncio.Event(), 0
    expected = dict(zip(ids, map(str, range(6)), strict=True))

    async def reading() -> None:
        nonlocal reads
        while not over.is_set():
            for id_, value in list(expected.items()):
                assert await value_of(stubs, id_) == value
                reads += 1
                await asyncio.sleep(0)  # a store in memory waits for nothing

    async def writing() -> None:
        while not over.is_set():
            expected[id_of(await stubs.environments.create(with_secret("new")))] = "new"
            await asyncio.sleep(0.005)  # so that what is to be rewrapped does not grow without end

    async def rotating() -> None:
        try:
            for _ in range(3):
                old = next(id_ for id_, state, _ in await listed(stubs) if state == "active")
                await activated(stubs)
                while True:
                    await rewrapped(stubs)
                    with suppress(GRPCError):  # one that had begun under the old one was committed meanwhile
                        await stubs.admin.retire_key(SealingKeyId(value=old))
                        break
        finally:
            over.set()

    async with asyncio.TaskGroup() as group:
        for work in (reading(), reading(), writing(), writing(), rotating()):
            group.create_task(work)
    assert reads
    keys = await listed(stubs)
    assert [state for _, state, _ in keys] == ["retired", "retired", "retired", "active"]
    assert await keys_in_use(app.store) <= {keys[-1][0]}
    assert {id_: await value_of(stubs, id_) for id_ in expected} == expected
