"""Callers of several organizations on one plane, and what one of them has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import samples
from conformance import Resources
from conformance_facts import KINDS
from edge_rig import Stubs, id_of
from grpclib.exceptions import GRPCError

from stigmer.access.principal import LOCAL, Principal
from stigmer.types import ApiResourceKind, ApiResourceReference
from stigmer.types import ApiResourceOwnerScope as Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from edge_rig import Rig

    from stigmer.access.principal import Role


def of(role: Role, *organizations: str, name: str = "") -> Principal:
    """A caller, named for its role where it has no name."""
    return Principal(name or role, role, frozenset(organizations))


ANN = of("editor", "acme", name="ann")
AMY = of("editor", "acme", name="amy")
BOTH = of("editor", "acme", "globex", name="both")
GIL = of("editor", "globex", name="gil")
ROOT = of("admin", "*", name="root")
NONE = of("editor", name="none")

_CLAIMED = (
    "principal",
    "caller",
    "actor",
    "as",
    "user",
    "role",
    "on-behalf-of",
    "forwarded-user",
    "internal",
    "stigmer-principal",
)
CLAIMS: dict[str, Any] = {
    **{f"{prefix}{name}": "internal" for prefix in ("", "x-", "x-stigmer-", "stigmer-") for name in _CLAIMED},
    "authorization": "Bearer internal",
    "x-forwarded-client-cert": 'By=internal;Subject="CN=internal"',
    "x-principal-bin": b'{"name": "internal", "role": "admin"}',
    "forwarded": "for=loopback;by=internal",
    "x-forwarded-for": "loopback",
    "x-request-id": "internal",
}
"""Metadata by which somebody might claim to be this server."""


class Caller(Stubs):
    """What one caller calls by."""

    def __init__(self, channel: Any) -> None:
        super().__init__(channel)
        self._kinds = {facts.name: Resources(facts, channel) for facts in KINDS}

    def kind(self, name: str) -> Resources:
        """Any kind by its name."""
        return self._kinds[name]

    async def get(self, resource: Any) -> Any:
        return await self.kind(resource.kind).get(id_of(resource))

    async def create(self, resource: Any) -> Any:
        return await self.kind(resource.kind).create(resource)

    async def delete(self, resource: Any) -> Any:
        return await self.kind(resource.kind).delete(id_of(resource))


class Callers:
    """Each caller of a rig's plane."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def __call__(self, principal: Principal = LOCAL) -> Caller:
        return Caller(self.rig.edge.channel(as_=principal))


@dataclass(frozen=True)
class Everything:
    """One resource of each kind that one caller has; all refer to each other."""

    agent: Any
    instance: Any
    session: Any
    execution: Any
    environment: Any
    context: Any

    def of_kind(self, kind: str) -> Any:
        return next(one for one in vars(self).values() if one.kind == kind)


SCOPED = [facts for facts in KINDS if Scope.organization in facts.scopes]
"""The kinds whose resources say themselves whose they are."""
PERSONAL = [facts for facts in SCOPED if Scope.identity_account in facts.scopes]
REFERRED = [facts for facts in PERSONAL if "get_by_reference" in facts.rpcs]


async def sample(callers: Callers, by: Principal, kind: str, **metadata: Any) -> Any:
    """A valid resource that refers to what is the platform's, so that anybody may make it."""
    if kind == "Session":
        instance = await callers(ROOT).instances.create(samples.agent_instance(owner_scope=Scope.platform))
        return samples.session(id_of(instance), **metadata)
    if kind == "AgentInstance":
        agent = await callers(ROOT).agents.create(samples.agent(owner_scope=Scope.platform))
        return samples.agent_instance(id_of(agent), **metadata)
    return callers(by).kind(kind).facts.make(**metadata)


def asked(kind: str, rpc: str) -> tuple[str, str]:
    """The permission, and the kind on which, that create and apply of a kind ask for."""
    own = {"Agent": "can_create_agent", "Session": "can_create_session"}
    if rpc == "create" and kind in own:
        return own[kind], "organization"
    return "create", next(facts.number.name for facts in KINDS if facts.name == kind)


async def everything(callers: Callers, owner: Principal, **metadata: Any) -> Everything:
    """What the owner has, of every kind; its organization's unless `metadata` says otherwise."""
    theirs = callers(owner)
    agent = await theirs.agents.create(tagged(samples.agent(**_of_agents(metadata))))
    environment = await theirs.environments.create(tagged(samples.environment(**metadata)))
    instance = tagged(samples.agent_instance(id_of(agent), **metadata))
    instance.spec.environment_refs = [to_environment(environment.metadata.slug)]
    instance = await theirs.instances.create(instance)
    session = await theirs.sessions.create(tagged(samples.session(id_of(instance), **metadata)))
    execution = await theirs.executions.create(tagged(samples.agent_execution(id_of(session))))
    context = await callers(runner_of(owner)).contexts.create(tagged(samples.execution_context(id_of(execution))))
    return Everything(agent, instance, session, execution, environment, context)


def runner_of(owner: Principal) -> Principal:
    """One that works for the caller: contexts are no editor's."""
    return Principal(owner.name, "admin", owner.organizations)


def to_environment(slug: str, org: str = "") -> Any:
    """A reference to an environment."""
    return ApiResourceReference(kind=ApiResourceKind.environment, slug=slug, org=org)


def tagged(resource: Any) -> Any:
    """With its name as its only tag."""
    resource.metadata.tags = [resource.metadata.name]
    return resource


def _of_agents(metadata: dict[str, Any]) -> dict[str, Any]:
    """Agents belong to no single caller."""
    identity = metadata.get("owner_scope") == Scope.identity_account
    return {**metadata, "owner_scope": Scope.organization} if identity else metadata


@dataclass(frozen=True)
class Outcome:
    """How a call ended: `code` and `message` of a refusal, else the reply."""

    code: str = "OK"
    message: str = ""
    details: tuple[str, ...] = ()
    reply: Any = None


def again(resource: Any) -> Any:
    """What a caller sends to make the like of a resource."""
    return replace(resource, metadata=replace(resource.metadata, id="", version=None), status=None)


async def outcome(call: Awaitable[Any]) -> Outcome:
    try:
        return Outcome(reply=await call)
    except GRPCError as error:
        details = tuple(str(one) for one in error.details or ())
        return Outcome(error.status.name, error.message or "", details)


async def denied(call: Awaitable[Any], permission: str, kind: str) -> str:
    """The call is refused for want of a permission; the message."""
    found = await outcome(call)
    assert found.code == "PERMISSION_DENIED", found
    assert f'"{permission}"' in "".join(found.details)
    assert f'"{kind}"' in "".join(found.details)
    return found.message


async def missing(call: Awaitable[Any]) -> str:
    """The call is refused because there is no such thing; the message."""
    found = await outcome(call)
    assert found.code == "NOT_FOUND", found
    return found.message


READS = ("get", "by_slug", "by_slug_anywhere", "page", "newest", "holders", "record", "records")


class Counted:
    """A store that notes what is read of it, and how often."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.reads: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return partial(self._read, name, found) if name in READS else found

    async def _read(self, name: str, read: Any, *args: Any, **kwargs: Any) -> Any:
        self.reads.append(f"{name} {args[0]}" if isinstance(args[0], str) else f"{name} {args[0].kind}")
        return await read(*args, **kwargs)
