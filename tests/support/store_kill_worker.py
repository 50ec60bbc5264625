"""A grpcio client that writes until its server dies, and later reads what is left: a process of its own.

It reads one command a line and answers in lines of JSON. `write PORT NAME`: for each acknowledged write how many there
are so far, then the journal. `read PORT`, followed by a line with a journal: what of it does not hold.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import grpc
import grpc.aio

from stigmer.wire import descriptors

WRITERS = 8
AGENTIC = "ai.stigmer.agentic"
SERVICES = {
    "Agent": f"{AGENTIC}.agent.v1.Agent",
    "AgentInstance": f"{AGENTIC}.agentinstance.v1.AgentInstance",
    "Session": f"{AGENTIC}.session.v1.Session",
    "AgentExecution": f"{AGENTIC}.agentexecution.v1.AgentExecution",
    "ExecutionContext": f"{AGENTIC}.executioncontext.v1.ExecutionContext",
}
OPTIONS = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]
ORGANIZATION = 2


class ServerDiedError(Exception):
    """The connection broke."""


@dataclass
class Expected:
    """What must be left of a resource.

    Attributes:
        there: whether it is there: `yes`, `no`, or `maybe` where its deletion was not acknowledged.
        with_: `kind id` of a resource that goes with it: both are there, or neither.
        at_least: the last status that was acknowledged, and `at_most` the last one that was sent.
    """

    there: str = "yes"
    with_: str = ""
    at_least: int = 0
    at_most: int = 0


Journal = dict[str, Expected]


class Client:
    """Calls by message and method names."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def call(self, kind: str, name: str, /, **fields: Any) -> Any:
        """Raises ServerDiedError, or AioRpcError for any other failure."""
        path, request, reply = self._find(kind, name)
        send = self._channel.unary_unary(
            path, request_serializer=request.SerializeToString, response_deserializer=reply.FromString
        )
        try:
            return await send(request(**fields), timeout=60)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise ServerDiedError from error
            raise

    async def error_of(self, kind: str, id_: str) -> str | None:
        """The status.error of a resource that is there (empty for kinds without), None of one that is not."""
        try:
            found = await self.call(kind, "get", value=id_)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        return str(getattr(found.status, "error", ""))

    def _find(self, kind: str, name: str) -> tuple[str, Any, Any]:
        service = SERVICES[kind]
        for controller in ("CommandController", "QueryController"):
            method = descriptors.methods().get(f"/{service}{controller}/{name}")
            if method is not None:
                message_class = descriptors.message_class
                return method.path, message_class(method.request), message_class(method.reply)
        raise KeyError(name)


class Writer:
    """Makes agents with all that belongs to them, changes and deletes them, one call after the other."""

    def __init__(self, client: Client, name: str, journal: Journal, acknowledged: count[int]) -> None:
        self._client = client
        self._name = name
        self._journal = journal
        self._acknowledged = acknowledged
        self._random = random.Random(name)

    async def run(self) -> None:
        for turn in count():
            await self._turn(f"{self._name}-{turn}")

    async def _call(self, kind: str, name: str, /, **fields: Any) -> Any:
        reply = await self._client.call(kind, name, **fields)
        say(next(self._acknowledged))
        return reply

    async def _made(self, kind: str, name: str, with_: str = "", **spec: Any) -> Any:
        scope = {"owner_scope": ORGANIZATION} if kind == "Agent" else {}
        metadata = {"name": name, "org": "acme", **scope}
        made = await self._call(
            kind, "create", api_version="agentic.stigmer.ai/v1", kind=kind, metadata=metadata, spec=spec
        )
        self._journal[f"{kind} {made.metadata.id}"] = Expected(with_=with_)
        return made

    async def _turn(self, name: str) -> None:
        agent = await self._made("Agent", name, instructions="Do as you are told.")
        agent_key = f"Agent {agent.metadata.id}"
        instance_key = f"AgentInstance {agent.status.default_instance_id}"
        self._journal[instance_key] = Expected(with_=agent_key)
        first = await self._made("AgentExecution", "one", agent_id=agent.metadata.id, message="begin")
        session = first.spec.session_id
        session_key = f"Session {session}"
        self._journal[session_key] = Expected()
        self._journal[f"AgentExecution {first.metadata.id}"].with_ = session_key
        second = await self._made("AgentExecution", "two", session_key, session_id=session, message="go on")
        context = f"context of {second.metadata.id}"
        await self._made("ExecutionContext", context, session_key, execution_id=second.metadata.id)
        for execution in (first, second):
            await self._report(execution.metadata.id)
        if self._random.random() < 0.5:
            of_session = [key for key, one in self._journal.items() if one.with_ == session_key]
            await self._delete("Session", session, [session_key, *of_session])
        if self._random.random() < 0.3:
            await self._delete("Agent", agent.metadata.id, [agent_key, instance_key])

    async def _report(self, id_: str) -> None:
        expected = self._journal[f"AgentExecution {id_}"]
        for number in range(1, self._random.randint(2, 5)):
            expected.at_most = number
            await self._call("AgentExecution", "updateStatus", execution_id=id_, status={"error": str(number)})
            expected.at_least = number

    async def _delete(self, kind: str, id_: str, keys: list[str]) -> None:
        for key in keys:
            self._journal[key].there = "maybe"
        await self._call(kind, "delete", value=id_)
        for key in keys:
            self._journal[key].there = "no"


async def write(client: Client, name: str) -> dict[str, Any]:
    """Write until the server dies: what was acknowledged, and what else failed."""
    journal: Journal = {}
    acknowledged = count(1)
    writers = [Writer(client, f"{name}-{number}", journal, acknowledged).run() for number in range(WRITERS)]
    ends = await asyncio.gather(*writers, return_exceptions=True)
    faults = [repr(end) for end in ends if not isinstance(end, ServerDiedError)]
    return {"journal": {key: asdict(one) for key, one in journal.items()}, "faults": faults}


async def read(client: Client, told: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Compare what is there with a journal: what does not hold, and how many pages of one the lists have."""
    journal = {key: Expected(**one) for key, one in told.items()}
    keys = list(journal)
    errors = dict(zip(keys, await asyncio.gather(*(client.error_of(*key.split()) for key in keys)), strict=True))
    wrong = [f"{key}: {journal[key]}, found {errors[key]}" for key in keys if not holds(journal[key], key, errors)]
    pages = {kind: (await client.call(kind, "list", page_size=1)).total_pages for kind in ("Session", "AgentExecution")}
    return {"wrong": wrong, "pages": pages}


def holds(expected: Expected, key: str, errors: dict[str, str | None]) -> bool:
    error = errors[key]
    if error is None:
        return expected.there != "yes" and (expected.there == "no" or errors.get(expected.with_) is None)
    if expected.there == "maybe" and expected.with_ and errors[expected.with_] is None:
        return False
    return expected.there != "no" and expected.at_least <= int(error or 0) <= expected.at_most


def say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main() -> None:
    while line := sys.stdin.readline():
        command, port, *rest = line.split()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
            await asyncio.wait_for(channel.channel_ready(), 60)
            client = Client(channel)
            say(
                await write(client, *rest)
                if command == "write"
                else await read(client, json.loads(sys.stdin.readline()))
            )


if __name__ == "__main__":
    asyncio.run(main())
