"""Secrets over a port, by callers with tokens of each role; a server that is killed; its files and its log."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import samples
from bearing import token, tokens_file
from edge_rig import Stubs, agents, contexts, environments, executions, id_of
from grpclib.exceptions import GRPCError
from served_process import served

from stigmer import rpc
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.secrets.fields import MARK

if TYPE_CHECKING:
    from pathlib import Path

    from grpclib.client import Channel
    from served_process import Served

CANARY = f"canary-{os.urandom(8).hex()}"
ROLES = ("reader", "runner", "editor", "admin")
SHOWN = {"runner", "admin"}


def of(role: str) -> dict[str, str]:
    return {"authorization": f"Bearer stg_of-{role}"}


def tokens(directory: Path) -> Path:
    return tokens_file(directory / "tokens", *(token(f"stg_of-{role}", role, role) for role in ROLES))


def channel_to(server: Served) -> Channel:
    return rpc.channel(f"localhost:{server.address[1]}")


def environment() -> Any:
    made: Any = samples.environment(org="acme")
    made.spec.data["TOKEN"] = environments.EnvironmentValue(value=CANARY, is_secret=True)
    return made


def context(execution_id: str) -> Any:
    made: Any = samples.execution_context(execution_id)
    made.spec.data["TOKEN"] = contexts.ExecutionValue(value=CANARY, is_secret=True)
    return made


def leaks(directory: Path) -> list[str]:
    """The files that hold the canary."""
    return [path.name for path in directory.iterdir() if path.is_file() and CANARY.encode() in path.read_bytes()]


async def check_values(stubs: Stubs, made: Any, of_execution: Any) -> None:
    """Each role sees what it may."""
    by_execution = contexts.ExecutionContextExecutionIdInput(execution_id=id_of(of_execution))
    for role in ROLES:
        value = CANARY if role in SHOWN else MARK
        found = await stubs.find_environments.get(ApiResourceId(value=id_of(made)), metadata=of(role))
        assert found.spec.data["TOKEN"].value == value, role
        asked = executions.AgentExecutionId(value=id_of(of_execution))
        token_seen = (await stubs.find_executions.get(asked, metadata=of(role))).spec.callback_token
        assert token_seen == value.encode(), role
        try:
            held = await stubs.find_contexts.get_by_execution_id(by_execution, metadata=of(role))
        except GRPCError as error:
            assert error.status.name == "PERMISSION_DENIED", role  # noqa: PT017 - of roles that may not ask for it
        else:
            assert held.spec.data["TOKEN"].value == value, role


async def test_each_role_sees_what_it_may_also_after_a_kill(tmp_path: Path) -> None:
    data, flags = tmp_path / "data", ("--tokens-file", str(await asyncio.to_thread(tokens, tmp_path)))
    async with served(data, *flags, "--log-level", "debug") as server:
        async with channel_to(server) as channel:
            stubs, admin = Stubs(channel), of("admin")
            agent: agents.Agent = await stubs.agents.create(samples.agent(org="acme"), metadata=admin)
            execution: Any = samples.agent_execution(agent_id=id_of(agent))
            execution.spec.callback_token = CANARY.encode()
            execution = await stubs.executions.create(execution, metadata=admin)
            await stubs.contexts.create(context(id_of(execution)), metadata=admin)
            made = await stubs.environments.create(environment(), metadata=of("editor"))
            assert made.spec.data["TOKEN"].value == MARK
            await check_values(stubs, made, execution)
            made.spec.data["TOKEN"].description = "round trip"
            await stubs.environments.update(made, metadata=of("editor"))
            server.process.kill()
        assert await server.ended() != 0
        assert not await asyncio.to_thread(leaks, data)
        assert not [line for line in server.lines if CANARY in str(line)]
    async with served(data, *flags) as again, channel_to(again) as channel:
        await check_values(Stubs(channel), made, execution)
    assert not await asyncio.to_thread(leaks, data)
