"""Reads of secret values beside writes of them: a reader sees all old values or all new ones, never anything else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Stubs, contexts, environments, id_of
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceDeleteInput, ApiResourceId
from stigmer.app import MEMORY, embedded
from stigmer.pipeline.key_rotation import KeyRotation
from stigmer.secrets.audit import Event, Op
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from stigmer.app import Plane

READERS = 4
WRITES = 25
BY = Event(Op.KEY_ADD, "ada")
KEYS = ("A", "B", "C")


@pytest.fixture(params=["sqlite", "sqlite that forgets", "memory"])
async def plane(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Plane]:
    """Of a store that keeps what was read last, of one that reads anew again and again, and of one in memory."""
    async with embedded(MEMORY if request.param == "memory" else tmp_path / "data") as plane:
        forgetting = asyncio.create_task(forget(plane)) if request.param == "sqlite that forgets" else None
        yield plane
        if forgetting is not None:
            forgetting.cancel()


async def forget(plane: Plane) -> None:
    while isinstance(plane._store, SqliteStore):
        plane._store._cache.clear()
        await asyncio.sleep(0)


def versioned(resource: Any) -> tuple[str, dict[str, str]]:
    return resource.metadata.version.id, {key: one.value for key, one in resource.spec.data.items()}


async def reads_beside(writes: Callable[[], Awaitable[None]], read: Callable[[], Awaitable[Any]]) -> list[Any]:
    """What readers got, one after the other, from before the writes to after them."""
    done, found = asyncio.Event(), list[Any]()

    async def reader() -> None:
        last = False
        while not last:
            last = done.is_set()
            found.append(await read())
            await asyncio.sleep(0)

    readers = [asyncio.create_task(reader()) for _ in range(READERS)]
    try:
        await writes()
    finally:
        done.set()
        await asyncio.gather(*readers)
    return found


def environment(value: str) -> Any:
    made: Any = samples.environment(org="acme", name="raced")
    made.spec.data.clear()
    for key in KEYS:
        made.spec.data[key] = environments.EnvironmentValue(value=f"{key} {value}", is_secret=True)
    return made


async def test_a_read_beside_updates_sees_the_values_of_one_version(plane: Plane) -> None:
    stubs = Stubs(plane.channel)
    made = await stubs.environments.create(environment("0"))
    wrote = dict([versioned(made)])

    async def update() -> None:
        for number in range(1, WRITES):
            changed = environment(str(number))
            changed.metadata.id = id_of(made)
            version, values = versioned(await stubs.environments.update(changed))
            wrote[version] = values

    found = await reads_beside(update, lambda: stubs.find_environments.get(ApiResourceId(value=id_of(made))))
    assert [one for one in map(versioned, found) if wrote[one[0]] != one[1]] == []
    assert len(wrote) == WRITES
    assert versioned(found[-1])[1] == {key: f"{key} {WRITES - 1}" for key in KEYS}


def context() -> Any:
    made: Any = samples.execution_context()
    made.spec.data.clear()
    for key in KEYS:
        made.spec.data[key] = contexts.ExecutionValue(value="first", is_secret=True)
    return made


async def test_a_read_beside_rotations_sees_the_old_or_the_new_value(plane: Plane) -> None:
    stubs = Stubs(plane.channel)
    made = await stubs.contexts.create(context())
    wrote = dict([versioned(made)])

    async def rotate() -> None:
        for number in range(1, WRITES):
            request = contexts.RotateExecutionValueInput(
                resource_id=id_of(made), key=KEYS[number % len(KEYS)], value=f"value {number}"
            )
            version, values = versioned(await stubs.contexts.rotate(request))
            wrote[version] = values

    found = await reads_beside(rotate, lambda: stubs.find_contexts.get(contexts.ExecutionContextId(value=id_of(made))))
    assert [one for one in map(versioned, found) if wrote[one[0]] != one[1]] == []


async def test_a_read_beside_rotations_of_the_keys_never_fails(plane: Plane) -> None:
    stubs, rotation = Stubs(plane.channel), KeyRotation(plane._app.sealing)
    made = await stubs.contexts.create(context())

    async def rotate() -> None:
        for _ in range(4):
            await rotation.activate((await rotation.add(BY)).id, BY)
            async for _ in rotation.rewrap(BY):
                pass

    found = await reads_beside(rotate, lambda: stubs.find_contexts.get(contexts.ExecutionContextId(value=id_of(made))))
    assert [one for one in found if versioned(one) != versioned(made)] == []


async def test_a_read_beside_a_deletion_sees_all_values_or_finds_nothing(plane: Plane) -> None:
    stubs = Stubs(plane.channel)
    made = await stubs.contexts.create(context())

    async def read() -> Any:
        try:
            return versioned(await stubs.find_contexts.get(contexts.ExecutionContextId(value=id_of(made))))
        except GRPCError as error:
            return error.status

    async def delete() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        await stubs.contexts.delete(ApiResourceDeleteInput(resource_id=id_of(made)))

    found = await reads_beside(delete, read)
    assert [one for one in found if one not in (versioned(made), Status.NOT_FOUND)] == []
    assert found[0] == versioned(made)
    assert found[-1] is Status.NOT_FOUND
