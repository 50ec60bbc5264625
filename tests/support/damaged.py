"""A database of some hundred resources, all that can be asked of them, and copies of it with a flipped bit."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import samples
from edge_rig import Stubs, agents, executions, id_of, instances, sessions
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId, ApiResourceReference
from stigmer.app import embedded
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

PAGE = 20
HONEST = {"DATA_LOSS", "UNAVAILABLE"}
"""What a server may say of data that are damaged."""


@dataclass
class Resources:
    """What was made: reply bytes by kind and id."""

    made: dict[str, dict[str, Any]] = field(default_factory=dict)

    def note(self, kind: str, resource: Any) -> Any:
        self.made.setdefault(kind, {})[id_of(resource)] = resource
        return resource


async def make(directory: Path, number: int) -> Resources:
    """Five resources a number: an agent with its instance, a session with an execution, an environment."""
    resources = Resources()
    async with embedded(directory) as plane:
        stubs = Stubs(plane.channel)
        for _ in range(number):
            agent = resources.note("agents", await stubs.agents.create(samples.agent("x" * 1500, org="acme")))
            instance = agent.status.default_instance_id
            resources.note("instances", await stubs.find_instances.get(instances.AgentInstanceId(value=instance)))
            session = resources.note("sessions", await stubs.sessions.create(samples.session(instance, org="acme")))
            execution = await stubs.executions.create(samples.agent_execution(session_id=id_of(session)))
            resources.note("executions", execution)
            environment = samples.environment(org="acme")
            environment.spec.description = "y" * 1500
            resources.note("environments", await stubs.environments.create(environment))
    return resources


def flipped(directory: Path, copy: Path, offset: int, bit: int) -> None:
    """Copy a database that is closed, and flip one bit of the copy."""
    shutil.copytree(directory, copy)
    with (copy / "stigmer.db").open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


class Reader:
    """Asks for everything that was made.

    Attributes:
        wrong: answers that are neither what was made nor HONEST.
        codes: how often each code was the answer.
    """

    def __init__(self, channel: Any, resources: Resources) -> None:
        self._stubs, self._made = Stubs(channel), resources.made
        self.wrong: list[str] = []
        self.codes: dict[str, int] = {}

    async def everything(self) -> None:
        for kind, made in self._made.items():
            for id_, resource in made.items():
                await self._expect(f"{kind}.get {id_}", self._get(kind, id_), resource)
                if kind in ("agents", "instances", "environments"):
                    await self._expect(f"{kind}.reference {id_}", self._by_reference(kind, resource), resource)
        for session in self._made["sessions"]:
            await self._expect(f"executions of {session}", self._of_session(session), self._executions_of(session))
        for kind in ("sessions", "executions"):
            await self._walk(kind)

    async def _get(self, kind: str, id_: str) -> Any:
        ids = {
            "agents": agents.AgentId, "instances": instances.AgentInstanceId, "sessions": sessions.SessionId,
            "executions": executions.AgentExecutionId, "environments": ApiResourceId,
        }  # fmt: skip
        return await getattr(self._stubs, f"find_{kind}").get(ids[kind](value=id_))

    async def _by_reference(self, kind: str, resource: Any) -> Any:
        reference = ApiResourceReference(org=resource.metadata.org, slug=resource.metadata.slug)
        return await getattr(self._stubs, f"find_{kind}").get_by_reference(reference)

    def _executions_of(self, session: str) -> list[Any]:
        return [one for one in self._made["executions"].values() if one.spec.session_id == session][::-1]

    async def _of_session(self, session: str) -> list[Any]:
        asked = executions.ListAgentExecutionsBySessionRequest(session_id=session)
        return list((await self._stubs.find_executions.list_by_session(asked)).entries)

    async def _walk(self, kind: str) -> None:
        """The pages, as far as they go: each holds what it should."""
        left = list(self._made[kind].values())[::-1]
        async for code, entries in self._pages(kind):
            wanted, left = left[:PAGE], left[PAGE:]
            self._note(f"a page of {kind}", code, entries, wanted)

    async def _pages(self, kind: str) -> AsyncIterator[tuple[str, list[Any]]]:
        request = {"sessions": sessions.ListSessionsRequest, "executions": executions.ListAgentExecutionsRequest}[kind]
        stub, token = getattr(self._stubs, f"find_{kind}"), ""
        while True:
            try:
                page = await stub.list(request(page_size=PAGE, page_token=token))
            except GRPCError as error:
                yield error.status.name, []
                return
            yield "OK", list(page.entries)
            token = page.next_page_token
            if not token:
                return

    async def _expect(self, what: str, call: Awaitable[Any], wanted: Any) -> None:
        try:
            code, found = "OK", await call
        except GRPCError as error:
            code, found = error.status.name, None
        self._note(what, code, found, wanted)

    def _note(self, what: str, code: str, found: Any, wanted: Any) -> None:
        self.codes[code] = self.codes.get(code, 0) + 1
        if code not in HONEST and not (code == "OK" and _encoded(found) == _encoded(wanted)):
            self.wrong.append(f"{what}: {code}")


def _encoded(found: Any) -> list[bytes]:
    return [codec.encode(one) for one in (found if isinstance(found, list) else [found])]
