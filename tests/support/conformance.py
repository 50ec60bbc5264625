"""What the conformance suite calls with: one kind over a channel, and the shapes of refusals."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import samples
from conformance_facts import AGENT, AGENT_EXECUTION, KindFacts
from google.rpc import error_details_pb2 as rpc
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference

if TYPE_CHECKING:
    from collections.abc import Awaitable

D = TypeVar("D")


class Resources:
    """One kind over a channel."""

    def __init__(self, facts: KindFacts, channel: Any) -> None:
        self.facts = facts
        self.channel = channel
        self.commands = facts.commands(channel)
        self.queries = facts.queries(channel)

    async def sample(self, **metadata: Any) -> Any:
        """A valid resource that can be created: what it has to refer to is there."""
        if self.facts is AGENT_EXECUTION:
            agent = await AGENT.commands(self.channel).create(samples.agent())
            return self.facts.make(agent_id=agent.metadata.id, **metadata)
        return self.facts.make(**metadata)

    async def created(self, **metadata: Any) -> Any:
        return await self.create(await self.sample(**metadata))

    async def create(self, resource: Any) -> Any:
        return await self.commands.create(resource)

    async def update(self, resource: Any) -> Any:
        return await self.commands.update(resource)

    async def apply(self, resource: Any) -> Any:
        return await self.commands.apply(resource)

    async def delete(self, id_: str) -> Any:
        request = self.facts.delete_request()
        setattr(request, "value" if hasattr(request, "value") else "resource_id", id_)
        return await self.commands.delete(request)

    async def get(self, id_: str) -> Any:
        return await self.queries.get(self.facts.id_request(value=id_))

    async def by_reference(self, slug: str, org: str = "", **reference: Any) -> Any:
        return await self.queries.get_by_reference(ApiResourceReference(slug=slug, org=org, **reference))

    async def write(self, rpc: str, resource: Any) -> Any:
        return await getattr(self.commands, rpc)(resource)


async def refused(call: Awaitable[Any], status: Status) -> GRPCError:
    """The refusal of a call that must be refused with that status."""
    with pytest.raises(GRPCError) as caught:
        await call
    assert caught.value.status is status, caught.value
    return caught.value


def detail_of(error: GRPCError, kind: type[D]) -> D:
    """The refusal's one detail."""
    (detail,) = list(error.details or [])
    assert type(detail) is kind
    return detail


async def invalid(call: Awaitable[Any], *fields: str) -> GRPCError:
    """The call is refused, and the refusal names exactly these fields, in its message and in its details."""
    error = await refused(call, Status.INVALID_ARGUMENT)
    detail = detail_of(error, rpc.BadRequest)
    assert {violation.field for violation in detail.field_violations} == set(fields)
    assert all(violation.description for violation in detail.field_violations)
    assert all(f"{field}: " in (error.message or "") for field in fields)
    return error


async def missing(call: Awaitable[Any], kind: str, name: str, message: str = "") -> None:
    """The call is refused because there is no such resource."""
    error = await refused(call, Status.NOT_FOUND)
    assert error.message == (message or f"{kind} not found: {name}")
    detail = detail_of(error, rpc.ResourceInfo)
    assert (detail.resource_type, detail.resource_name) == (kind, name)


async def taken(call: Awaitable[Any], kind: str, holder: str, slug: str = "") -> None:
    """The call is refused because `holder` has the slug or, without one, the id."""
    error = await refused(call, Status.ALREADY_EXISTS)
    by = f"with slug '{slug}' " if slug else ""
    assert error.message == f"{kind} {by}already exists: {holder}"
    detail = detail_of(error, rpc.ResourceInfo)
    assert (detail.resource_type, detail.resource_name) == (kind, holder)


def is_id(text: str, prefix: str) -> bool:
    return re.fullmatch(rf"{prefix}-[0-7][0-9a-hjkmnp-tv-z]{{25}}", text) is not None
