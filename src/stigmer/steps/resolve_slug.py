"""ResolveSlug: what the resource is called within its namespace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import Violation
from stigmer.pipeline.ids import slug_of
from stigmer.pipeline.kind import required
from stigmer.steps.validate_proto import refuse

if TYPE_CHECKING:
    from stigmer.pipeline.context import Context
    from stigmer.pipeline.kind import Resource
    from stigmer.store.rows import Row


@dataclass(frozen=True, slots=True)
class ResolveSlug:
    """Take the slug that was given, or make one of the name.

    Reads the request's metadata; writes `slug`. Refuses a name of which nothing is left.
    """

    def violations(self, ctx: Context[Resource, Resource]) -> list[Violation]:
        """A name of which nothing is left; an empty one is the protos' to refuse."""
        metadata = ctx.request.metadata
        if metadata is None or not (metadata.name or metadata.slug) or _slug(ctx):
            return []
        return [
            Violation("metadata.name", "leaves an empty slug: it needs a letter a-z or a digit, or set metadata.slug")
        ]

    async def __call__(self, ctx: Context[Resource, Resource]) -> None:
        if not _slug(ctx):
            refuse(self.violations(ctx))


async def holder(ctx: Context[Resource, Resource]) -> Row | None:
    """The row that holds `slug` in the namespace of the request's org."""
    namespace = ctx.kind.namespace_of(required(ctx.request.metadata).org)
    return await ctx.tx.by_slug(ctx.kind.name, ctx.slug, namespace)


def _slug(ctx: Context[Resource, Resource]) -> str:
    """The slug, made of the name once."""
    if not ctx.slug:
        metadata = required(ctx.request.metadata)
        ctx.slug = metadata.slug or slug_of(metadata.name)
    return ctx.slug
