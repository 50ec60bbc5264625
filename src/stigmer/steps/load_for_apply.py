"""LoadForApply, and what apply does then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import AlreadyExists, InvalidArgument
from stigmer.pipeline.kind import required
from stigmer.steps.resolve_slug import row_of_slug

if TYPE_CHECKING:
    from stigmer.pipeline.context import Context
    from stigmer.pipeline.kind import Resource


@dataclass(frozen=True, slots=True)
class LoadForApply:
    """Look for the resource that holds the slug.

    Reads the request's metadata and `slug`; writes `row`, None where the slug is free. Refuses a `metadata.id` other
    than the holder's.
    """

    async def __call__(self, ctx: Context[Resource, Resource]) -> None:
        metadata = required(ctx.request.metadata)
        ctx.row = await row_of_slug(ctx)
        if ctx.row is not None and metadata.id not in ("", ctx.row.id):
            raise InvalidArgument.of(
                "metadata.id", f"is {metadata.id}, but the slug '{ctx.slug}' is {ctx.row.id}'s: leave the id out"
            )


@dataclass(frozen=True, slots=True)
class ThenCreate:
    """Run the kind's create; where the slug is taken, run another pipeline, or refuse.

    Reads `row`; writes `applying` and what that pipeline writes.

    Attributes:
        or_else: the RPC whose pipeline runs where the slug is taken; empty where there is none.
    """

    or_else: str = ""

    async def __call__(self, ctx: Context[Resource, Resource]) -> None:
        found, ctx.row = ctx.row, None
        ctx.applying = True
        if found is None:
            await ctx.pipelines["create"].run(ctx)
        elif self.or_else:
            await ctx.pipelines[self.or_else].run(ctx)
        else:
            raise AlreadyExists(ctx.kind.name, found.id, slug=ctx.slug)
