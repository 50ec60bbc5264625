"""ResolveSlug: what the resource is called within its namespace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import InvalidArgument
from stigmer.ids import slug_of
from stigmer.kinds import present

if TYPE_CHECKING:
    from stigmer.pipeline import Context


@dataclass(frozen=True, slots=True)
class ResolveSlug:
    """Take the slug that was given, or make one of the name.

    Reads the request's metadata; writes `slug`. Refuses a name of which nothing is left.
    """

    async def __call__(self, ctx: Context) -> None:
        metadata = present(ctx.request.metadata)
        ctx.slug = metadata.slug or slug_of(metadata.name)
        if not ctx.slug:
            raise InvalidArgument.of(
                "metadata.name", "leaves an empty slug: it needs a letter a-z or a digit, or set metadata.slug"
            )
