"""A call that is denied is in the audit, whoever denies it; where that cannot be written it is denied all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import samples
from audited import events
from conformance import refused
from edge_rig import Rig, Stubs, agents, executions, id_of
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer import rpc
from stigmer.access.principal import Principal
from stigmer.edge.interceptors import Interceptor
from stigmer.secrets.audit import Op
from stigmer.store.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call
    from stigmer.store.changes import Changes

ANN = Principal("ann", "reader", frozenset({"acme"}))
EDITH = Principal("edith", "editor", frozenset({"acme"}))


def of(rig: Rig, principal: Principal) -> Stubs:
    return Stubs(rig.edge.channel(as_=principal))


async def denied(rig: Rig) -> list[tuple[str, str, str, str]]:
    """Who was denied what: actor, kind, id and the method's name."""
    found = [event for event in await events(rig.store) if event.op is Op.DENIED]
    assert {event.code for event in found} <= {"PERMISSION_DENIED"}
    return [(event.actor, event.kind, event.id, event.method.rpartition("/")[2]) for event in found]


async def test_a_role_that_may_not_is_on_record_once_where_the_kind_may_have_secrets(rig: Rig) -> None:
    await refused(of(rig, ANN).agents.create(samples.agent(org="acme")), Status.PERMISSION_DENIED)
    await refused(of(rig, ANN).sessions.create(samples.session("ain-1")), Status.PERMISSION_DENIED)
    assert await denied(rig) == [("ann", "Agent", "", "create")]


async def test_what_is_done_to_the_keys_is_for_admins_and_to_try_it_is_on_record(rig: Rig) -> None:
    admin = rpc.AdminControllerStub(rig.edge.channel(as_=EDITH))
    await refused(admin.add_key(), Status.PERMISSION_DENIED)
    assert await denied(rig) == [("edith", "Key", "", "addKey")]


async def test_to_write_what_is_another_s_is_on_record_with_its_id(rig: Rig) -> None:
    made = await rig.agents.create(samples.agent(org="acme"))
    shared = await rig.agents.create(samples.agent(owner_scope=1))
    shared.spec.description = "changed"
    await refused(of(rig, EDITH).agents.update(shared), Status.PERMISSION_DENIED)
    await refused(of(rig, EDITH).agents.delete(agents.AgentId(value=id_of(shared))), Status.PERMISSION_DENIED)
    assert await denied(rig) == [("edith", "Agent", id_of(shared), name) for name in ("update", "delete")]
    assert (await of(rig, EDITH).find_agents.get(agents.AgentId(value=id_of(made)))).metadata.id == id_of(made)


class No:
    """Allows nothing."""

    async def check(self, _principal: Principal, _permission: str, _kind: str, _id: str | None, /) -> bool:
        return False


async def test_what_a_host_s_policy_denies_is_on_record_with_what_was_asked_for(wire: Callable[..., Rig]) -> None:
    rig = wire(authorizer=No())
    ann = of(rig, ANN)
    await refused(ann.find_agents.get(agents.AgentId(value="agt-x")), Status.PERMISSION_DENIED)
    await refused(of(rig, EDITH).agents.create(samples.agent(org="acme")), Status.PERMISSION_DENIED)
    stream = ann.find_executions.subscribe(executions.AgentExecutionId(value="aex-x"))
    await refused(anext(aiter(stream)), Status.PERMISSION_DENIED)
    assert await denied(rig) == [
        ("ann", "Agent", "agt-x", "get"),
        ("edith", "Agent", "", "create"),
        ("ann", "AgentExecution", "aex-x", "subscribe"),
    ]


class Refuses(Interceptor):
    """A host's own, which knows grpclib's errors alone."""

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
        raise GRPCError(Status.PERMISSION_DENIED if call.method.name == "get" else Status.ABORTED, "no")


async def test_what_a_host_s_interceptor_denies_is_on_record(wire: Callable[..., Rig]) -> None:
    rig = wire(Refuses())
    await refused(of(rig, ANN).find_agents.get(agents.AgentId(value="agt-x")), Status.PERMISSION_DENIED)
    await refused(of(rig, EDITH).agents.create(samples.agent()), Status.ABORTED)
    assert await denied(rig) == [("ann", "Agent", "", "get")]


async def test_a_denied_call_is_denied_also_where_its_record_cannot_be_written(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(_changes: Changes, *, dry_run: bool = False) -> Any:
        raise StoreUnavailableError(f"the disk is full{dry_run}")

    monkeypatch.setattr(rig.store, "commit", failing)
    await refused(of(rig, ANN).agents.create(samples.agent(org="acme")), Status.PERMISSION_DENIED)
    assert "A denied call is not in the audit" in caplog.text


async def test_what_is_not_there_for_the_caller_is_no_denial(rig: Rig) -> None:
    made = await rig.agents.create(samples.agent(org="other"))
    await refused(of(rig, ANN).find_agents.get(agents.AgentId(value=id_of(made))), Status.NOT_FOUND)
    assert await denied(rig) == []
