"""What callers are told of themselves: who they are, and what they may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance import invalid
from edge_rig import Stubs, id_of

import stigmer
from stigmer.access.principal import Principal
from stigmer.app import assembly
from stigmer.rpc import CallerQueryControllerStub
from stigmer.store.memory import MemoryStore
from stigmer.types import ApiResourceIamPermission as Permission
from stigmer.types import ApiResourceKind as Kind
from stigmer.types import Caller, CanIRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stigmer.access.principal import Role


@pytest.fixture
async def app() -> AsyncIterator[assembly.App]:
    async with MemoryStore() as store:
        yield assembly.assemble(store)


def of(app: assembly.App, role: Role, *organizations: str) -> CallerQueryControllerStub:
    return CallerQueryControllerStub(app.edge.channel(Principal("ann", role, frozenset(organizations or ("*",)))))


async def allowed(caller: Any, permission: Permission, kind: Kind, id_: str = "") -> bool:
    answer = await caller.can_i(CanIRequest(permission=permission, kind=kind, id=id_))
    assert isinstance(answer.allowed, bool)
    return answer.allowed


async def test_a_caller_is_told_who_it_is_and_what_it_calls(app: assembly.App) -> None:
    local = await CallerQueryControllerStub(app.loopback).whoami()
    assert local == Caller("local", "admin", ["*"], stigmer.__version__, ["dry-run", "idempotency"])
    ann = await of(app, "editor", "umbrella", "acme").whoami()
    assert (ann.name, ann.role, ann.organizations) == ("ann", "editor", ["acme", "umbrella"])


async def test_what_a_server_has_is_told_in_order() -> None:
    class Everything:
        async def check(self, *_asked: object) -> bool:
            return True

    async with MemoryStore() as store:
        app = assembly.assemble(
            store, assembly.Own(authorizer=Everything()), features=["tls", "credentials: bearer token"]
        )
        told = await CallerQueryControllerStub(app.loopback).whoami()
    assert told.features == ["authorizer", "credentials: bearer token", "dry-run", "idempotency", "tls"]


@pytest.mark.parametrize(
    ("permission", "kind", "roles"),
    [
        (Permission.can_view, Kind.agent, {"reader", "runner", "editor", "admin"}),
        (Permission.can_edit, Kind.session, {"runner", "editor", "admin"}),
        (Permission.create, Kind.environment, {"editor", "admin"}),
        (Permission.can_view, Kind.execution_context, {"runner", "admin"}),
        (Permission.operator, Kind.platform, {"runner", "admin"}),
        (Permission.can_create_skill, Kind.organization, {"editor", "admin"}),
        (Permission.login_to_back_office, Kind.platform, {"admin"}),
    ],
)
async def test_the_role_decides_what_a_caller_may_do(
    app: assembly.App, permission: Permission, kind: Kind, roles: set[str]
) -> None:
    every: tuple[Role, ...] = ("reader", "runner", "editor", "admin")
    assert {role for role in every if await allowed(of(app, role), permission, kind)} == roles


async def test_what_is_not_there_may_nobody_touch(app: assembly.App) -> None:
    agent = id_of(await Stubs(app.loopback).agents.create(samples.agent(org="acme")))
    admin = of(app, "admin")
    assert await allowed(admin, Permission.can_edit, Kind.agent, agent)
    assert not await allowed(admin, Permission.can_edit, Kind.agent, f"agt-{samples.NOBODY}")
    assert not await allowed(admin, Permission.can_edit, Kind.session, agent)
    assert not await allowed(admin, Permission.can_view, Kind.workflow, f"wfl-{samples.NOBODY}")
    assert not await allowed(admin, Permission.operator, Kind.platform, "another")
    assert await allowed(admin, Permission.operator, Kind.platform, "stigmer")


async def test_what_is_for_admins_of_all_organizations_is_said_to_be_for_no_other(app: assembly.App) -> None:
    for id_ in ("", "stigmer"):
        assert await allowed(of(app, "admin"), Permission.login_to_back_office, Kind.platform, id_)
        assert not await allowed(of(app, "admin", "acme"), Permission.login_to_back_office, Kind.platform, id_)
        assert await allowed(of(app, "runner", "acme"), Permission.operator, Kind.platform, id_)


async def test_something_may_be_made_in_a_caller_s_own_organizations(app: assembly.App) -> None:
    for permission, kind in ((Permission.create, Kind.environment), (Permission.can_create_agent, Kind.organization)):
        assert await allowed(of(app, "editor", "acme"), permission, kind, "acme")
        assert not await allowed(of(app, "editor", "acme"), permission, kind, "umbrella")
        assert await allowed(of(app, "editor", "*"), permission, kind, "umbrella")


async def test_a_permission_and_a_kind_have_to_be_asked_for(app: assembly.App) -> None:
    ann = of(app, "reader")
    await invalid(ann.can_i(CanIRequest()), "permission", "kind")
    await invalid(ann.can_i(CanIRequest(permission=Permission(99), kind=Kind(999))), "permission", "kind")
