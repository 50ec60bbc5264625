"""The audit over a port: who was shown, denied or not known; records stand when the server is killed or stopped."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import samples
from audited import entries_of
from bearing import token, tokens_file
from edge_rig import Stubs, contexts, environments, id_of
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from served_process import served

from stigmer import rpc
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.secrets.audit import Event, Op

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

CANARY = f"canary-{os.urandom(8).hex()}"
ROLES = ("reader", "runner", "admin")


def of(role: str) -> dict[str, str]:
    return {"authorization": f"Bearer stg_of-{role}"}


def environment() -> Any:
    made: Any = samples.environment(org="acme")
    made.spec.data["TOKEN"] = environments.EnvironmentValue(value=CANARY, is_secret=True)
    return made


async def refused(call: Awaitable[Any]) -> Status:
    with pytest.raises(GRPCError) as caught:
        await call
    return caught.value.status


async def verified(data: Path, *more: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "stigmer", "audit", "verify", "--data-dir", str(data), *more]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def told(data: Path) -> list[Event]:
    return [Event.of(value) for value in entries_of(data)]


async def test_shown_denied_and_unknown_callers_are_in_the_audit_also_after_a_kill_and_a_stop(tmp_path: Path) -> None:
    data, exported = tmp_path / "data", tmp_path / "checkpoints"
    tokens = tokens_file(tmp_path / "tokens", *(token(f"stg_of-{role}", role, role) for role in ROLES))
    flags = ("--tokens-file", str(tokens), "--audit-checkpoint-file", str(exported))
    async with served(data, *flags) as server:
        async with rpc.channel(f"localhost:{server.address[1]}") as channel:
            stubs = Stubs(channel)
            id_ = id_of(await stubs.environments.create(environment(), metadata=of("admin")))
            for _ in range(5):
                await stubs.find_environments.get(ApiResourceId(id_), metadata=of("runner"))
            server.process.kill()
        assert await server.ended() != 0
    assert Counter((event.op, event.actor) for event in await asyncio.to_thread(told, data)) == {
        (Op.CREATE, "admin"): 1,
        (Op.READ, "runner"): 5,
    }, "what was shown is on record, however the process ended"
    async with served(data, *flags, ends=True) as again:
        async with rpc.channel(f"localhost:{again.address[1]}") as channel:
            stubs = Stubs(channel)
            asked = contexts.ExecutionContextId(value="exec-none")
            assert await refused(stubs.find_contexts.get(asked, metadata=of("reader"))) is Status.PERMISSION_DENIED
            for _ in range(3):
                unknown = stubs.find_environments.get(ApiResourceId(id_), metadata=of("nobody"))
                assert await refused(unknown) is Status.UNAUTHENTICATED
            for _ in range(2):
                await stubs.find_environments.get(ApiResourceId(id_), metadata=of("reader"))
            assert (await verified(data))[0] == 0
        again.process.terminate()
        assert await again.ended() == 0
    later = (await asyncio.to_thread(told, data))[6:]
    assert [(event.op, event.actor, event.kind, event.count) for event in later] == [
        (Op.DENIED, "reader", "ExecutionContext", 0),
        (Op.UNAUTHENTICATED, "", "Environment", 3),
        (Op.REDACTED, "reader", "Environment", 2),
        (Op.CHECKPOINT, "system", "", 0),
    ]
    assert [event.code for event in later[:2]] == ["PERMISSION_DENIED", "UNAUTHENTICATED"]
    assert later[0].peer.startswith(("127.0.0.1:", "[::1]:", "::1"))
    assert later[1].peer in {"127.0.0.1", "::/64"}
    status, out = await verified(data, "--checkpoint-file", str(exported))
    assert status == 0, out
    assert "1 exported ones compared" in out
    for file in await asyncio.to_thread(lambda: [*data.iterdir(), exported]):
        assert CANARY.encode() not in await asyncio.to_thread(file.read_bytes), file.name
