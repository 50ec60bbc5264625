"""Every RPC that the descriptors know, by callers of every sort, and the whole life of an execution."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from stigmer.proof.requests import KEY, Known, holding_secrets, in_order
from stigmer.wire.descriptors import message_class, methods

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stigmer.proof.client import Caller, Client, Outcome
    from stigmer.proof.requests import Requests
    from stigmer.wire.descriptors import Method

IN_PROGRESS, COMPLETED = 2, 3
"""Of an execution's phases."""
STREAM_S = 1.0
_EXECUTION, _CONTEXT = "AgentExecution", "ExecutionContext"


class Callers(NamedTuple):
    """Who calls.

    Attributes:
        root: an admin of all organizations.
        runner: reports on executions, and sees secrets.
        others: those that see none.
        unknown: those without good credentials.
    """

    root: Caller
    runner: Caller
    others: tuple[Caller, ...]
    unknown: tuple[Caller, ...]


class Walk:
    """Calls every method.

    Args:
        client: to the server.
        requests: what is sent.
        callers: who calls.

    Attributes:
        reached: the paths of the methods that the admin has called with success.
    """

    def __init__(self, client: Client, requests: Requests, callers: Callers) -> None:
        self._client, self._requests, self._callers = client, requests, callers
        self.reached: set[str] = set()

    def __repr__(self) -> str:
        return f"<Walk, {len(self.reached)} methods reached>"

    async def make(self) -> None:
        """A resource of each kind, in the order in which they refer to each other."""
        makers = {one.kind.name: one for one in methods().values() if one.kind is not None and one.name == "create"}
        for kind in in_order(makers):
            await self._as_root(makers[kind])

    async def all(self) -> None:
        """Every method but `delete` by everybody."""
        others = [one for one in methods().values() if one.name not in {"create", "delete"}]
        for method in sorted(others, key=lambda one: "Query" in one.service):
            await self._as_root(method)
        for method in [one for one in others if one.path not in self.reached]:  # it wants something new
            await self._as_root(next((one for one in others if _adds(one) and one.service == method.service), method))
            await self._as_root(method)
        for caller in (self._callers.runner, *self._callers.others):
            await self._each(methods().values(), caller)
        for caller in self._callers.unknown:
            await self._each(holding_secrets(), caller)

    async def end(self) -> None:
        """Delete what there is, dependents first."""
        deletes = {one.kind.name: one for one in methods().values() if one.kind is not None and one.name == "delete"}
        for kind in reversed(in_order(deletes)):
            await self._as_root(deletes[kind])

    async def _each(self, called: Iterable[Method], caller: Caller) -> None:
        """All at once: who has no good credentials is answered late."""
        wanted = [method for method in called if method.name != "delete"]
        await asyncio.gather(*(self._client.call(one, self._requests.valid(one), caller) for one in wanted))

    async def _as_root(self, method: Method) -> Outcome:
        """Call the method; a stream is followed to its end, or for a second."""
        terms: dict[str, Any] = {"to_the_end": True, "timeout_s": STREAM_S} if method.server_streaming else {}
        outcome = await self._client.call(method, self._requests.valid(method), self._callers.root, **terms)
        if outcome.code == "OK" or outcome.replies:
            self.reached.add(method.path)
            self._requests.learn(method, outcome.replies[0])
        return outcome

    # The life of an execution.

    async def life(self) -> list[str]:
        """An execution with secrets, reported on by a runner, followed by all, to its end; gives what went wrong."""
        root, runner = self._callers.root, self._callers.runner
        made = await self._client.call(*self._request(_EXECUTION, "create"), root)
        if made.code != "OK":
            return [f"an execution could not be created: {made.code}"]
        execution: Any = message_class(_method(_EXECUTION, "create").reply).FromString(made.replies[0])
        id_ = execution.metadata.id
        self._requests.known[_EXECUTION] = Known(id_, "")
        followers = [asyncio.create_task(self._follow(caller)) for caller in (root, runner, *self._callers.others)]
        wrong = await self._changed_values(runner)
        for phase in (IN_PROGRESS, COMPLETED):
            method, report = self._request(_EXECUTION, "updateStatus")
            report.execution_id, report.status.phase = id_, phase
            reported = await self._client.call(method, report, runner)
            wrong += [] if reported.code == "OK" else [f"a report was refused: {reported.code}"]
        await asyncio.gather(*followers)
        gone = await self._client.call(*self._request(_CONTEXT, "getByExecutionId"), runner)
        return wrong + (
            [] if gone.code == "NOT_FOUND" else [f"the context of an execution that has ended: {gone.code}"]
        )

    async def _changed_values(self, runner: Caller) -> list[str]:
        """Read the context as a runner does, and give one value anew; then again by the version of before."""
        found = await self._client.call(*self._request(_CONTEXT, "getByExecutionId"), runner)
        if found.code != "OK":
            return [f"the context of an execution was not found: {found.code}"]
        context: Any = message_class(_method(_CONTEXT, "getByExecutionId").reply).FromString(found.replies[0])
        codes: list[str] = []
        for _ in range(2):
            method, rotation = self._request(_CONTEXT, "rotate")
            rotation.resource_id, rotation.key = context.metadata.id, KEY
            rotation.version_id = context.metadata.version.id
            codes.append((await self._client.call(method, rotation, self._callers.root)).code)
        return (
            []
            if codes == ["OK", "ABORTED"]
            else [f"values were given anew, the second time by an old version: {codes}"]
        )

    async def _follow(self, caller: Caller) -> None:
        await self._client.call(*self._request(_EXECUTION, "subscribe"), caller, to_the_end=True)

    def _request(self, kind: str, name: str) -> tuple[Method, Any]:
        method = _method(kind, name)
        return method, self._requests.valid(method)


def _method(kind: str, name: str) -> Method:
    return next(one for one in methods().values() if one.kind is not None and (one.kind.name, one.name) == (kind, name))


def _adds(method: Method) -> bool:
    return method.name.startswith("add")
