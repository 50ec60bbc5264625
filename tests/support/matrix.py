"""Callers of every role and of several organizations, tokens for them, and resources of different owners."""

from __future__ import annotations

import hashlib
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import samples
from grpclib.exceptions import GRPCError

from stigmer._gen.service_stub import ServiceStub
from stigmer.access.principal import Principal, Role
from stigmer.types import AgentExecutionStatus, ApiResourceReference
from stigmer.types import ApiResourceOwnerScope as Scope
from stigmer.wire import descriptors
from stigmer.wire.message_types import object_class

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stigmer.wire.descriptors import Method

DESTROYS = ("delete", "updateStatus", "update")
GIVEN: dict[str, Any] = {"timeout": 60, "deadline": None, "metadata": None}
OURS, OTHERS, EVERYBODY_S = frozenset({"acme"}), frozenset({"umbrella"}), frozenset({"*"})
ROLES: tuple[Role, ...] = ("reader", "runner", "editor", "admin")
ROOT = Principal("root", "admin", EVERYBODY_S)
"""Makes what the others meet: resources of acme, of the platform, and its own."""
CALLERS = tuple(
    Principal(f"{role}-{name}", role, organizations)
    for role in ROLES
    for name, organizations in (("acme", OURS), ("umbrella", OTHERS), ("all", EVERYBODY_S))
)


def tokens_file(path: Path, principals: Iterable[Principal], not_after: str = "") -> dict[str, str]:
    """Write a tokens file; the tokens by the names of whose they are."""
    tokens = {one: f"stg_{one.name}-{os.urandom(8).hex()}" for one in principals}
    path.touch(mode=0o600)
    path.write_text("".join(line_of(one, token, not_after) for one, token in tokens.items()))
    return {one.name: token for one, token in tokens.items()}


def line_of(principal: Principal, token: str, not_after: str = "") -> str:
    """Its line of a tokens file."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    return f"{principal.name}:{principal.role}:{','.join(sorted(principal.organizations))}:{not_after}:{digest}\n"


async def outcome(channel: Any, method: Method, request: Any) -> tuple[str, Any]:
    """The name of the status that a call ends with, a stream after its first reply; and the reply, if there is one."""
    stub: Any = ServiceStub(channel)
    reply = object_class(method.reply)
    try:
        if not method.server_streaming:
            return "OK", await stub._unary_unary(method.path, request, reply, **GIVEN)
        async with aclosing(stub._unary_stream(method.path, request, reply, **GIVEN)) as replies:
            return "OK", await anext(replies)
    except GRPCError as error:
        return error.status.name, None


class Owned:
    """What one owner has: a resource of each kind that it may own, made by `root`.

    Args:
        stubs: root's, as `edge_rig.Stubs`.
        owner: "acme", "platform" or "root".
    """

    def __init__(self, stubs: Any, owner: str) -> None:
        self._stubs, self.owner = stubs, owner
        scope = {"acme": Scope.organization, "platform": Scope.platform, "root": Scope.identity_account}[owner]
        self.metadata: dict[str, Any] = {"owner_scope": scope, "org": "acme" if owner == "acme" else ""}
        self._made: dict[str, Any] = {}

    async def one(self, kind: str, *, fresh: bool = False) -> Any:
        """Its resource of that kind; where it is `fresh`, one that nobody else is given."""
        if fresh:
            return await self.make(kind)
        if kind not in self._made:
            self._made[kind] = await self.make(kind)
        return self._made[kind]

    async def make(self, kind: str) -> Any:
        """Make one."""
        stubs = {"Agent": self._stubs.agents, "AgentInstance": self._stubs.instances, "Session": self._stubs.sessions}
        stubs |= {"AgentExecution": self._stubs.executions, "Environment": self._stubs.environments}
        stubs |= {"ExecutionContext": self._stubs.contexts}
        return await stubs[kind].create(await self.sample(kind))

    async def sample(self, kind: str) -> Any:
        """A valid one that is not made yet; what it refers to is there. A caller has no agent; it uses a platform's."""
        if kind == "Agent":
            return samples.agent(
                **{**self.metadata, **({"owner_scope": Scope.platform} if self.owner == "root" else {})}
            )
        if kind == "Environment":
            return samples.environment(**self.metadata)
        needs = {"AgentInstance": "Agent", "Session": "AgentInstance", "AgentExecution": "Session"}
        parent = (await self.one(needs.get(kind, "AgentExecution"))).metadata.id
        match kind:
            case "AgentInstance":
                return samples.agent_instance(parent, **self.metadata)
            case "Session":
                return samples.session(parent, **self.metadata)
            case "AgentExecution":
                return samples.agent_execution(parent)
            case _:
                return samples.execution_context(parent)


def is_list(method: Method) -> bool:
    return "entries" in descriptors.descriptor(method.reply).fields_by_name or method.reply.endswith("List")


async def request_of(method: Method, owned: Owned) -> tuple[Any, Any]:
    """A valid request, about what that owner has; and that."""
    assert method.kind is not None
    kind, message = method.kind.name, cast("type[Any]", object_class(method.request))
    fields = descriptors.descriptor(method.request).fields_by_name
    if method.name in ("create", "apply"):
        return await owned.sample(kind), None
    target = await owned.one(kind, fresh=method.name in DESTROYS or is_list(method))
    if isinstance(target, message):
        target.metadata.version = None
        return target, target
    if message is ApiResourceReference:
        return ApiResourceReference(org=owned.metadata["org"], slug=target.metadata.slug), target
    found = {"execution_id": (await owned.one("AgentExecution")).metadata.id} if kind == "ExecutionContext" else {}
    found |= {"value": target.metadata.id, "resource_id": target.metadata.id, "key": "TZ"}
    if kind == "AgentExecution":
        found["execution_id"] = target.metadata.id
        found["session_id"] = target.spec.session_id
    else:
        found["agent_id"] = (await owned.one("Agent")).metadata.id
    request = message(**{name: value for name, value in found.items() if name in fields})
    if "status" in fields:
        request.status = AgentExecutionStatus(error="none")
    return request, target
