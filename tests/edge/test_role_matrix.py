"""Every role and organization against every RPC of every kind.

What is expected is written here after the rules that the documentation tells (docs/kinds.md, "Who may call what"), and
shares no code with the server. Requests are made of the descriptors: a new RPC is called, whatever it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conformance_socket import served
from edge_rig import Stubs
from matrix import CALLERS, ROOT, Owned, is_list, outcome, request_of, tokens_file

from stigmer.types import ApiResourceIamPermission as Permission
from stigmer.types import ApiResourceKind as Kind
from stigmer.types import CanIRequest
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stigmer.access.principal import Principal
    from stigmer.wire.descriptors import Method

METHODS = [method for method in descriptors.methods().values() if method.kind is not None]
OWNERS = {"Agent": ("acme", "platform"), "AgentInstance": ("acme", "platform", "root")}
"""Whose resources there are of a kind; of all others, those of an organization and of one caller."""
RUNNER_WRITES = {"AgentExecution": ("create", "update", "updateStatus", "delete"), "Session": ("update",)}


def may_call(role: str, kind: str, name: str) -> bool:
    """What the role may call at all."""
    reads = name.startswith(("get", "list")) or name == "subscribe"
    if role == "admin":
        return True
    if kind == "ExecutionContext":
        return role == "runner"
    return reads or role == "editor" or (role == "runner" and name in RUNNER_WRITES.get(kind, ()))


def sees(caller: Principal, owner: str) -> bool:
    """Whether what the owner has exists for the caller."""
    of_all = "*" in caller.organizations
    if owner == "root":
        return of_all and caller.role in ("admin", "runner")
    return owner == "platform" or of_all or owner in caller.organizations


def expected(caller: Principal, method: Method, owner: str) -> str:
    """How the call has to end, on what the owner has or, where it makes something, for that owner."""
    assert method.kind is not None
    kind, name = method.kind.name, method.name
    if not may_call(caller.role, kind, name):
        return "PERMISSION_DENIED"
    if is_list(method):
        return "OK, shown" if sees(caller, owner) else "OK, not shown"
    if name in ("create", "apply"):
        return made(caller, kind, owner)
    if not sees(caller, owner):
        return "NOT_FOUND"
    reads = name.startswith("get") or name == "subscribe"
    return "OK" if reads or owner != "platform" or is_platform_s_admin(caller) else "PERMISSION_DENIED"


def made(caller: Principal, kind: str, owner: str) -> str:
    """How the making of something ends."""
    if kind == "AgentExecution":  # in a session of that owner
        return "OK" if sees(caller, owner) else "NOT_FOUND"
    if kind == "ExecutionContext":  # of an execution of that owner; one that names no known execution needs *
        return "OK" if sees(caller, owner) or "*" in caller.organizations else "PERMISSION_DENIED"
    if owner == "root":  # who makes something of its own owns it; root's instance, which a session names, is root's
        return "NOT_FOUND" if kind == "Session" and "*" not in caller.organizations else "OK"
    allowed = is_platform_s_admin(caller) if owner == "platform" else sees(caller, owner)
    return "OK" if allowed else "PERMISSION_DENIED"


def is_platform_s_admin(caller: Principal) -> bool:
    return caller.role == "admin" and "*" in caller.organizations


async def ended(channel: Any, method: Method, owned: Owned) -> str:
    """How the call on what the owner has ends; of a list, whether it shows that."""
    request, target = await request_of(method, owned)
    code, reply = await outcome(channel, method, request)
    if reply is None or not is_list(method):
        return code
    shown = {entry.metadata.id for entry in (reply.entries if hasattr(reply, "entries") else reply.items)}
    return f"{code}, shown" if target.metadata.id in shown else f"{code}, not shown"


@pytest.fixture(scope="module")
def channel_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Principal], Any]]:
    """A grpcio client of a server that knows all of them by their tokens."""
    directory = tmp_path_factory.mktemp("served")
    tokens = tokens_file(directory / "tokens", (ROOT, *CALLERS))
    with served(directory / "data", "--tokens-file", str(directory / "tokens")) as channel:
        yield lambda principal: channel.bearing(tokens[principal.name])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.kind.name}.{method.name}")
async def test_every_role_and_organization_against(method: Method, channel_of: Callable[[Principal], Any]) -> None:
    assert method.kind is not None
    root = Stubs(channel_of(ROOT))
    got, wanted = dict[str, str](), dict[str, str]()
    for owner in OWNERS.get(method.kind.name, ("acme", "root")):
        owned = Owned(root, owner)
        for caller in CALLERS:
            name = f"{caller.name} on {owner}'s"
            wanted[name] = expected(caller, method, owner)
            got[name] = await ended(channel_of(caller), method, owned)
    assert {name: (got[name], wanted[name]) for name in wanted if got[name] != wanted[name]} == {}


NAMED = [method for method in METHODS if method.authorization is not None and method.authorization.field_path]


@pytest.mark.parametrize("method", NAMED, ids=lambda method: f"{method.kind.name}.{method.name}")
async def test_whoever_asks_beforehand_is_told_how_the_call_will_end(
    method: Method, channel_of: Callable[[Principal], Any]
) -> None:
    assert method.kind is not None
    assert method.authorization is not None
    permission, kind = Permission[method.authorization.permission], Kind[method.authorization.resource_kind]
    got, wanted = dict[str, bool](), dict[str, bool]()
    for owner in OWNERS.get(method.kind.name, ("acme", "root")):
        owned = Owned(Stubs(channel_of(ROOT)), owner)
        if method.name == "create" and owner != "acme":  # there is no organization to ask about
            continue
        id_ = "acme" if method.name == "create" else (await owned.one(method.kind.name)).metadata.id
        for caller in CALLERS:
            asked = CanIRequest(permission=permission, kind=kind, id=id_)
            name = f"{caller.name} on {owner}'s"
            wanted[name] = expected(caller, method, owner) == "OK"
            got[name] = (await Stubs(channel_of(caller)).callers.can_i(asked)).allowed
    assert {name: (got[name], wanted[name]) for name in wanted if got[name] != wanted[name]} == {}
