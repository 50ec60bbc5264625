"""What is not a caller's is as what is not there: for every RPC of every kind, as the descriptors list them."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import samples
from callers import Callers, Everything, Outcome, again, everything, of, outcome
from edge_rig import executions, id_of

from stigmer._gen.service_stub import ServiceStub
from stigmer.handlers import HANDLERS
from stigmer.wire import descriptors
from stigmer.wire.message_types import object_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from callers import Counted

    from stigmer.access.principal import Principal
    from stigmer.wire.descriptors import Method

KINDS = {handler.kind.meta for handler in HANDLERS}
METHODS = [method for method in descriptors.methods().values() if method.kind in KINDS]
OWNER, STRANGER = of("admin", "acme", name="owner"), of("admin", "globex", name="stranger")


class Named:
    """What requests name: what somebody has, or, with `absent`, something of the same form that is not there."""

    def __init__(self, has: Everything, *, absent: bool) -> None:
        self._has, self._absent = has, absent

    def id(self, kind: str) -> str:
        id_ = id_of(self._has.of_kind(kind))
        return f"{id_.partition('-')[0]}-{samples.NOBODY}" if self._absent else id_

    def slug(self, kind: str) -> str:
        return "no-such-thing" if self._absent else str(self._has.of_kind(kind).metadata.slug)

    def unnamed(self, text: str, kind: str) -> str:
        """An error's text, without what the request named in it."""
        for one in vars(self._has).values():
            text = text.replace(self.id(one.kind), "ID").replace(self.id(one.kind)[:4], "ID-")
        return text.replace(self.slug(kind), "SLUG")


FIELDS: dict[str, Callable[[Named, str], Any]] = {
    "value": Named.id,
    "resource_id": Named.id,
    "execution_id": lambda named, _: named.id("AgentExecution"),
    "session_id": lambda named, _: named.id("Session"),
    "agent_id": lambda named, _: named.id("Agent"),
    "slug": Named.slug,
    "tags": lambda named, kind: [named.slug(kind)],
    "label_selector": lambda named, kind: f"!{named.slug(kind)}",
    "phase": lambda _, __: executions.ExecutionPhase.EXECUTION_PENDING,
    "status": lambda _, __: executions.AgentExecutionStatus(error="lost"),
    "key": lambda _, __: "TZ",
}
"""How a request's field names something. An RPC with another one fails here: say how it does."""
NAMES_NOTHING = {"page_size", "page_token", "page_info", "kind", "scope", "version", "org"}
NAMES_NOTHING |= {"version_message", "force", "version_id"}


def request(method: Method, named: Named, own: Everything) -> Any:
    """A request that names what there is, or is not, as closely as it can."""
    assert method.kind is not None
    kind = method.kind.name
    of_request = object_class(method.request)
    fields = descriptors.descriptor(method.request).fields_by_name
    if "spec" not in fields:
        return of_request(**{field: FIELDS[field](named, kind) for field in fields if field not in NAMES_NOTHING})
    resource = again(own.of_kind(kind))
    if method.name == "update":
        resource.metadata.id = named.id(kind)
    else:
        resource.metadata.name = resource.metadata.slug = named.slug(kind)
    return resource


async def answer(callers: Callers, principal: Principal, method: Method, sent: Any) -> Outcome:
    """How a call of any method ends; of a stream the first reply."""
    stub = ServiceStub(callers.rig.edge.channel(as_=principal))
    reply: Any = object_class(method.reply)
    terms: Any = {"timeout": None, "deadline": None, "metadata": None}
    if not method.server_streaming:
        return await outcome(stub._unary_unary(method.path, sent, reply, **terms))
    async with aclosing(stub._unary_stream(method.path, sent, reply, **terms)) as replies:  # type: ignore[type-var]
        return await outcome(anext(replies))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.kind.name}.{method.name}")
async def test_what_is_not_the_callers_is_as_what_is_not_there(
    method: Method, callers: Callers, store: Counted
) -> None:
    """The same answer, and the same reads of the store: not even time tells."""
    assert method.kind is not None
    has, own = await everything(callers, OWNER), await everything(callers, STRANGER)
    ends: list[tuple[Outcome, list[str]]] = []
    for absent in (False, True):
        named = Named(has, absent=absent)
        store.reads.clear()
        found = await answer(callers, STRANGER, method, request(method, named, own))
        message = named.unnamed(found.message, method.kind.name)
        details = tuple(named.unnamed(one, method.kind.name) for one in found.details)
        reply = None if "spec" in object_class(method.reply).__dataclass_fields__ else found.reply  # type: ignore[attr-defined]  # each is a dataclass
        ends.append((replace(found, message=message, details=details, reply=reply), list(store.reads)))
    foreign, nothing = ends
    assert foreign == nothing
    assert foreign[1]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.kind.name}.{method.name}")
async def test_what_is_the_callers_is_there(method: Method, callers: Callers) -> None:
    """The test before this one would find nothing if it named nothing."""
    assert method.kind is not None
    has = await everything(callers, OWNER)
    found = await answer(callers, OWNER, method, request(method, Named(has, absent=False), has))
    kind = method.kind.name
    makes = method.name == "create" or (kind, method.name) == ("ExecutionContext", "apply")
    if makes and kind != "AgentExecution":
        assert found.code == "ALREADY_EXISTS"
    else:
        assert found.code == "OK"
        assert makes or id_of(has.of_kind(kind)) in str(found.reply)
