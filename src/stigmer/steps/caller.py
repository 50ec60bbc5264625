"""WhoAmI and CanI: what callers are told of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer._gen.ai.stigmer.iam.caller.v1 import Caller, CanIResponse
from stigmer.access.rules import PLATFORM, PLATFORM_ID, changes, holds, is_of_organization
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.iam.caller.v1 import CanIRequest, WhoamiRequest
    from stigmer.pipeline.context import Context
    from stigmer.pipeline.kind import Resource


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """Tell who calls, and what the server is. Writes `reply`."""

    async def __call__(self, ctx: Context[WhoamiRequest, Resource]) -> None:
        caller, about = ctx.call.principal.caller, ctx.runtime.about
        ctx.reply = Caller(
            name=caller.name,
            role=caller.role,
            organizations=sorted(caller.organizations),
            server_version=about.version,
            features=list(about.features),
        )


@dataclass(frozen=True, slots=True)
class CanI:
    """Tell whether a call that asks for the permission would be let pass: by role, by what is there, by the policy.

    Writes `reply`. What does not exist for the caller is answered like what does not exist.
    """

    async def __call__(self, ctx: Context[CanIRequest, Resource]) -> None:
        permission, kind, id_ = str(ctx.request.permission.name), str(ctx.request.kind.name), ctx.request.id
        principal = ctx.call.principal
        allowed = holds(principal, permission, kind) and await _reaches(ctx, permission, kind)
        policy = ctx.runtime.policy
        ctx.reply = CanIResponse(allowed=allowed and await policy.allows(principal, permission, kind, id_ or None))


async def _reaches(ctx: Context[CanIRequest, Resource], permission: str, kind: str) -> bool:
    """Whether what the permission is asked on exists for the caller, who may change it where that is what is asked."""
    id_, principal = ctx.request.id, ctx.call.principal
    if not id_:
        return True
    if is_of_organization(permission, kind):
        return principal.is_of_all or id_ in principal.caller.organizations
    if kind == PLATFORM:
        return id_ == PLATFORM_ID
    name = descriptors.kind_by_number(ctx.request.kind).name
    row = await ctx.find(name, id_) if name in ctx.runtime.kinds else None
    return row is not None and (principal.may_write(row.owner) or not changes(permission))
