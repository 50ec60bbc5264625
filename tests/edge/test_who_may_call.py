"""Who may call what: every method of every service, against the table beside this file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import samples
from edge_rig import Rig, Stubs, agents, id_of, sessions
from grpclib.exceptions import GRPCError

from stigmer import rpc
from stigmer.access.principal import Principal, Role
from stigmer.access.rules import _PERMISSIONS, decision_of, roles_of
from stigmer.edge.door import Edge
from stigmer.edge.network import Network
from stigmer.errors import PermissionDenied
from stigmer.pipeline.ids import IdSource
from stigmer.pipeline.pipeline import Endpoint
from stigmer.server import health, reflection
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grpclib._typing import IServable

    from stigmer.wire.descriptors import Method

TABLE = Path(__file__).with_name("who_may_call.txt")
ROLES: tuple[Role, ...] = ("reader", "runner", "editor", "admin")
METHODS = descriptors.methods()


def said() -> dict[str, set[str]]:
    """The roles of each method, by its path, as the table has them."""
    found, service = dict[str, set[str]](), ""
    for line in TABLE.read_text().splitlines():
        name, *roles = line.split() or ["#"]
        if line.startswith(" "):
            assert len(roles) == len(ROLES)
            found[f"/{service}/{name}"] = set(roles) - {"."}
        elif name != "#":
            service = name
    return found


def for_all() -> set[str]:
    """The services that the table has for callers of all organizations alone."""
    return {line.split()[0] for line in TABLE.read_text().splitlines() if line.endswith(" (of all organizations)")}


def of(path: str) -> Method:
    return next(method for method in METHODS.values() if method.path.endswith(f".{path}"))


def asking(method: Method, **changed: Any) -> Method:
    """The method, with another option."""
    assert method.authorization is not None
    return replace(method, authorization=replace(method.authorization, **changed))


async def test_every_method_of_every_service_says_who_may_call_it(rig: Rig) -> None:
    beside: list[IServable] = [health.Monitor(nothing), *reflection.services(())]
    for servable in beside:
        Network(rig.edge).intercepted(servable)
    decisions = rig.edge.decisions
    assert {path: set(decision.roles) for path, decision in decisions.items()} == said()
    of_all = {path for path, decision in decisions.items() if decision.of_all}
    assert of_all == {path for path in decisions if path.split("/")[1] in for_all()}


async def nothing() -> None:
    """A probe that finds all well."""


def unsaid() -> Iterator[tuple[str, Method]]:
    get, update = of("AgentQueryController/get"), of("AgentCommandController/update")
    yield "neither", replace(update, path="/x.AgentCommandController/push", name="push", authorization=None)
    yield "neither", replace(get, service="x.Runners", kind=None, authorization=None)
    yield "neither", replace(get, service="x.CallerQueryController", kind=None, authorization=None)
    yield "is none", asking(get, permission="unspecified")
    yield "is none", asking(get, permission="99")
    yield "not name the kind", asking(get, resource_kind="")
    yield "not name the kind", asking(get, resource_kind_path="kind")
    yield "no field metadata.uid", asking(update, field_path="metadata.uid")
    yield "is no text", asking(update, field_path="metadata")


@pytest.mark.parametrize(("why", "method"), [*unsaid()])
def test_a_method_of_which_the_protos_do_not_say_it_is_no_method(rig: Rig, why: str, method: Method) -> None:
    """The server does not start with it."""
    endpoint = Endpoint(method, cast("Any", None), cast("Any", None), rig.runtime, {})
    with pytest.raises(TypeError, match=f"who may call {method.path}: .*{why}"):
        Edge([endpoint], IdSource())


@pytest.mark.parametrize("role", ROLES)
async def test_a_refusal_names_permission_and_kind_and_nothing_else(rig: Rig, role: Role) -> None:
    stubs = Stubs(rig.edge.channel(Principal("ann", role, frozenset({"*"}))))
    decided = said()
    made, absent = await rig.agent(), agents.AgentId(value="agt-none")
    there = agents.AgentId(value=made.metadata.id)
    if role in decided["/ai.stigmer.agentic.agent.v1.AgentCommandController/delete"]:
        with pytest.raises(GRPCError, match="agt-none"):
            await stubs.agents.delete(absent)
        await stubs.agents.delete(there)
        return
    refused = [await refusal(stubs.agents.delete, one) for one in (absent, there, agents.AgentId())]
    message = (
        f"the role {role} does not have the permission can_delete on agent: "
        "call with credentials of one that has it, admin or editor"
    )
    assert {(one.message, one.permission, one.kind) for one in refused} == {(message, "can_delete", "agent")}


async def refusal(call: Callable[[Any], Any], request: Any) -> PermissionDenied:
    with pytest.raises(GRPCError) as refused:
        await call(request)
    error = rpc.error_of(refused.value)
    assert isinstance(error, PermissionDenied)
    return error


@pytest.mark.parametrize("path", ["Command.*rotate", "Query.*list"])
def test_what_comes_for_a_kind_that_the_platform_guards_is_guarded_like_its_create(path: str) -> None:
    """Also a list that has the option to skip authorization: a reader is not to see values of executions."""
    service, _, name = path.partition(".*")
    method = of(f"ExecutionContext{service}Controller/{'create' if service == 'Command' else 'get'}")
    unsaid = replace(method, name=name, authorization=None, skip_authorization=name == "list")
    decision = decision_of(unsaid)
    assert (decision.permission, decision.kind, decision.resource_id) == ("operator", "platform", "stigmer")
    assert decision.roles == {"runner", "admin"}


@pytest.mark.parametrize(
    ("permission", "kind", "roles"),
    [
        ("can_view", "workflow", {"reader", "runner", "editor", "admin"}),
        ("can_view", "execution_context", {"runner", "admin"}),
        ("can_edit", "workflow", {"editor", "admin"}),
        ("can_edit", "session", {"runner", "editor", "admin"}),
        ("can_delete", "agent_execution", {"editor", "admin"}),
        ("can_execute", "agent", {"runner", "editor", "admin"}),
        ("can_create_execution_in", "session", {"runner", "editor", "admin"}),
        ("can_create_instance", "agent", {"editor", "admin"}),
        ("can_create_workflow", "organization", {"editor", "admin"}),
        ("can_create_skill", "organization", {"editor", "admin"}),
        ("can_grant_access", "agent", {"admin"}),
        ("login_to_back_office", "platform", {"admin"}),
        ("owner", "agent", {"admin"}),
    ],
)
def test_permissions_that_no_method_asks_for_yet_have_their_roles(permission: str, kind: str, roles: set[str]) -> None:
    assert roles_of(permission, kind) == roles


@pytest.mark.parametrize("role", ROLES)
def test_what_is_for_admins_of_the_platform_is_for_those_of_all_organizations_alone(role: Role) -> None:
    decision = decision_of(of("AdminController/addKey"))
    names = dict[str, str]()
    for name, organizations in (("all", {"*"}), ("some", {"acme", "umbrella"}), ("none", set[str]())):
        try:
            decision.check(Principal(name, role, frozenset(organizations)))
        except PermissionDenied as refused:
            names[name] = refused.message
    refused_to = {"some", "none"} if role == "admin" else {"all", "some", "none"}
    assert names == {
        name: f"{name} does not have the permission login_to_back_office on platform: call with credentials of one that"
        " has it, admin of all organizations (*)"
        for name in refused_to
    }


def test_every_permission_of_the_protos_is_some_role_s() -> None:
    enum = "ai.stigmer.iam.iampolicy.v1.rpcauthorization.ApiResourceIamPermission"
    names = {value.name for value in descriptors.POOL.FindEnumTypeByName(enum).values}
    assert all("admin" in roles_of(name, "agent") for name in names)
    assert _PERMISSIONS.keys() <= names


async def test_what_the_server_makes_for_a_caller_needs_but_the_right_to_the_caller_s_own_call(rig: Rig) -> None:
    """A runner may not make sessions, and gets one with its execution."""
    runner = Stubs(rig.edge.channel(Principal("r", "runner", frozenset({"*"}))))
    with pytest.raises(GRPCError, match="can_create_session"):
        await runner.sessions.create(samples.session())
    execution = await runner.executions.create(samples.agent_execution(agent_id=id_of(await rig.agent())))
    session = await runner.find_sessions.get(sessions.SessionId(value=execution.spec.session_id))
    assert session.spec.subject == "Auto-created session"
