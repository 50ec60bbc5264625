"""CheckDuplicate: an early, clear refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import AlreadyExists
from stigmer.pipeline.kind import required

if TYPE_CHECKING:
    from stigmer.pipeline.context import Context


@dataclass(frozen=True, slots=True)
class CheckDuplicate:
    """Refuse early what the store would refuse at commit: the slug is taken.

    Reads `slug` and the request's org; writes nothing. The store decides a race.
    """

    async def __call__(self, ctx: Context) -> None:
        namespace = ctx.kind.namespace_of(required(ctx.request.metadata).org)
        holder = await ctx.tx.by_slug(ctx.kind.name, ctx.slug, namespace)
        if holder is not None:
            raise AlreadyExists(ctx.kind.name, holder.id, slug=ctx.slug)
