"""CheckDuplicate: an early, clear refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import AlreadyExists
from stigmer.steps.resolve_slug import holder

if TYPE_CHECKING:
    from stigmer.pipeline.context import Context
    from stigmer.pipeline.kind import Resource


@dataclass(frozen=True, slots=True)
class CheckDuplicate:
    """Refuse early what the store would refuse at commit: the slug is taken.

    Reads `slug` and the request's org; writes nothing. The store decides a race.
    """

    async def __call__(self, ctx: Context[Resource, Resource]) -> None:
        row = await holder(ctx)
        if row is not None:
            raise AlreadyExists(ctx.kind.name, row.id, slug=ctx.slug)
