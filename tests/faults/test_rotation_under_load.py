"""Three rotations of the keys while callers read and write secrets, with a kill in the middle: no read fails."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
import samples
from benchmarks.servers import free_port
from edge_rig import Stubs, environments, id_of
from grpclib.exceptions import GRPCError, StreamTerminatedError
from served_process import served

from stigmer import rpc
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.secrets.sealing import key_id_of
from stigmer.types import AddKeyRequest, ListKeysRequest, RewrapKeysRequest, SealingKeyId, SealingKeyState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from served_process import Served

CANARY = f"canary-{os.urandom(8).hex()}"
CALLERS, CALLS_S = 8, 200
WRITERS = 2
"""Of the callers; they give values anew, and read them."""
AUDITS = 1
"""What the audit keeps under the key as well: the one that its checkpoints are signed with."""
LONG = (pytest.mark.long, pytest.mark.timeout(3600))


class Load:
    """Callers of one server, which may be killed and started again.

    Attributes:
        reads: how many have shown the right value.
        wrong: those that have failed, or shown another value, while the server was there.
    """

    def __init__(self, stubs: Stubs, ids: list[str]) -> None:
        self._stubs, self._ids = stubs, ids
        self._is_there, self._over = True, asyncio.Event()
        self.reads = 0
        self.wrong: list[str] = []

    def gone(self) -> None:
        """From now on calls may fail."""
        self._is_there = False

    def back(self) -> None:
        """From now on none may."""
        self._is_there = True

    async def run(self) -> None:
        await asyncio.gather(*(self._call(number) for number in range(CALLERS)))

    def end(self) -> None:
        self._over.set()

    async def _call(self, number: int) -> None:
        mine = self._ids[number::CALLERS]
        turn, due_s = 0, time.monotonic()
        while not self._over.is_set():
            turn += 1
            began_with_server = self._is_there
            try:
                await self._once(mine[turn % len(mine)], writes=number < WRITERS and turn % 4 == 0)
            except (GRPCError, StreamTerminatedError, OSError) as error:
                if began_with_server and self._is_there:
                    self.wrong.append(repr(error))
            due_s = max(due_s + CALLERS / CALLS_S, time.monotonic())  # what could not be in time is left out
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), due_s - time.monotonic())

    async def _once(self, id_: str, *, writes: bool) -> None:
        found = await self._stubs.find_environments.get(ApiResourceId(value=id_))
        if found.spec.data["TOKEN"].value != CANARY:
            self.wrong.append(f"{id_} has another value")
        self.reads += 1
        if writes:
            found.spec.data["OTHER"] = environments.EnvironmentValue(value=os.urandom(8).hex(), is_secret=True)
            found.metadata.version = None
            await self._stubs.environments.update(found)


def keys_in_use(directory: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{directory / 'stigmer.db'}?mode=ro", uri=True)) as database:
        records = database.execute("SELECT value FROM records WHERE name = 'sealed'").fetchall()
    return {key_id_of(value) for (value,) in records}


async def made(stubs: Stubs, count: int) -> list[str]:
    """So many environments with a secret."""
    ids: list[str] = []
    for _ in range(count):
        one = samples.environment(org="acme")
        one.spec.data["TOKEN"] = environments.EnvironmentValue(value=CANARY, is_secret=True)
        ids.append(id_of(await stubs.environments.create(one)))
    return ids


async def began(stubs: Stubs) -> tuple[str, str]:
    """A rotation to a new key has begun: the old key's id, and the new one's."""
    old = next(key.id for key in await keys(stubs) if key.state is SealingKeyState.active)
    new: str = (await stubs.admin.add_key(AddKeyRequest())).id
    await stubs.admin.activate_key(SealingKeyId(value=new))
    return old, new


async def finished(stubs: Stubs, old: str) -> None:
    """It is gone on with to its end."""
    while True:
        async for _ in stubs.admin.rewrap_keys(RewrapKeysRequest()):
            pass
        try:
            await stubs.admin.retire_key(SealingKeyId(value=old))
        except GRPCError as error:
            if error.status.name != "FAILED_PRECONDITION":  # a write that began before has committed since
                raise
        else:
            return


async def keys(stubs: Stubs) -> list[Any]:
    return list((await stubs.admin.list_keys(ListKeysRequest())).entries)


@asynccontextmanager
async def listening(directory: Path, port: int) -> AsyncIterator[Served]:
    """A server on that port, whose log is read."""
    async with served(directory, "--listen", f"127.0.0.1:{port}") as server:
        reading = asyncio.create_task(server.ended())
        yield server
        server.process.kill()
        await reading


@pytest.mark.parametrize("resources", [120, pytest.param(3_000, marks=LONG)])
async def test_three_rotations_with_a_kill_in_the_second(tmp_path: Path, resources: int) -> None:
    port = free_port()
    async with rpc.channel(f"127.0.0.1:{port}") as channel:
        stubs = Stubs(channel)
        async with listening(tmp_path, port):
            load = Load(stubs, await made(stubs, resources))
            running = asyncio.create_task(load.run())
            await finished(stubs, (await began(stubs))[0])
            interrupted, _ = await began(stubs)
            progress = stubs.admin.rewrap_keys(RewrapKeysRequest())
            await anext(progress)
            load.gone()
        with suppress(GRPCError, StreamTerminatedError):
            await progress.aclose()
        async with listening(tmp_path, port):
            load.back()
            await finished(stubs, interrupted)
            await finished(stubs, (await began(stubs))[0])
            load.end()
            await running
            *retired, active = await keys(stubs)
        assert [key.state for key in retired] == [SealingKeyState.retired] * 3
        assert (active.state, active.resources) == (SealingKeyState.active, resources + AUDITS)
    assert load.wrong == []
    assert load.reads
    assert await asyncio.to_thread(keys_in_use, tmp_path) == {active.id}
