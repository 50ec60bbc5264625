"""A disk that takes nothing any more: no read shows a secret that the audit could not tell of."""

from __future__ import annotations

import asyncio
import os
import resource
from typing import TYPE_CHECKING, Any

import pytest
import samples
from audited import entries_of
from edge_rig import Stubs, environments, id_of
from edge_sockets import dial
from grpclib.exceptions import GRPCError
from served_process import served

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.secrets.audit import Event
from stigmer.secrets.fields import MARK

if TYPE_CHECKING:
    from pathlib import Path

    from served_process import Served

CANARY = f"canary-{os.urandom(8).hex()}"
AT_ONCE = 8
OTHER_READS = ("before", "once there is room again", "after the kill")
REDACTED = {"x-secrets": "redacted"}
FRAME_BYTES = 4096 + 24
"""Of the write-ahead log."""

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="another process's limits, which Linux has")


def limit(server: Served, most_bytes: int) -> None:
    """From now on the server's files cannot grow beyond that, as on a disk that is full; -1 lifts it."""
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most_bytes, hard))


async def shown(stubs: Stubs, id_: str, metadata: dict[str, str] | None = None) -> str:
    """The value, or how the call ends."""
    try:
        found: Any = await stubs.find_environments.get(ApiResourceId(value=id_), metadata=metadata)
    except GRPCError as error:
        return error.status.name
    return str(found.spec.data["TOKEN"].value)


@pytest.mark.parametrize("frames", [1, *(pytest.param(frames, marks=pytest.mark.long) for frames in (0, 2, 3, 10))])
async def test_no_secret_is_shown_that_cannot_be_told_of(tmp_path: Path, frames: int) -> None:
    async with served(tmp_path) as server, dial(server) as channel:
        stubs = Stubs(channel)
        made = samples.environment(org="acme")
        made.spec.data["TOKEN"] = environments.EnvironmentValue(value=CANARY, is_secret=True)
        id_ = id_of(await stubs.environments.create(made))
        assert await shown(stubs, id_) == CANARY
        size = (tmp_path / "stigmer.db-wal").stat().st_size
        limit(server, size + frames * FRAME_BYTES if frames else 0)
        answers = await asyncio.gather(*(shown(stubs, id_) for _ in range(AT_ONCE)))
        while answers[-1] != "UNAVAILABLE":  # until what little room there was is used up
            answers.append(await shown(stubs, id_))
        afterwards = [await shown(stubs, id_) for _ in range(AT_ONCE)]
        assert set(afterwards) == {"UNAVAILABLE"}
        assert set(answers) <= ({CANARY, "UNAVAILABLE"} if frames else {"UNAVAILABLE"})
        assert await shown(stubs, id_, REDACTED) == MARK, "what is marked needs no room"
        limit(server, resource.RLIM_INFINITY)
        assert await shown(stubs, id_) == CANARY
        server.process.kill()
        assert await server.ended() != 0
    async with served(tmp_path) as again, dial(again) as channel:
        assert await shown(Stubs(channel), id_) == CANARY
    told = [event for event in map(Event.of, entries_of(tmp_path)) if event.shown and event.method.endswith("/get")]
    assert len(told) == answers.count(CANARY) + len(OTHER_READS)
