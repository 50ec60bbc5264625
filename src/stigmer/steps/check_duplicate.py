"""CheckDuplicate: early, clear refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import AlreadyExists

if TYPE_CHECKING:
    from stigmer.pipeline.context import Context
    from stigmer.pipeline.kind import Resource


@dataclass(frozen=True, slots=True)
class CheckDuplicate:
    """Refuse early what Persist would refuse, an owner that the caller may not make it for, and what the store would.

    That is a slug that is taken. Reads `slug` and the request's metadata; writes nothing. The store decides a race.
    """

    async def __call__(self, ctx: Context[Resource, Resource]) -> None:
        await ctx.refuse_foreign(ctx.request)
        holder = await ctx.holder(ctx.kind.name, ctx.slug, await ctx.namespace_of(ctx.request))
        if holder is not None:
            raise AlreadyExists(ctx.kind.name, holder, slug=ctx.slug)
