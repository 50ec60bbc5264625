"""ResolveSlug: what the resource is called within its namespace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceOwnerScope as Scope
from stigmer.errors import Violation
from stigmer.pipeline.ids import slug_of
from stigmer.pipeline.kind import required
from stigmer.steps.validate_proto import refuse
from stigmer.wire.lazy import shallow_copy

if TYPE_CHECKING:
    from stigmer.pipeline.context import Context
    from stigmer.pipeline.kind import Resource
    from stigmer.store.rows import Row

_OF_ORGANIZATIONS = (Scope.api_resource_owner_scope_unspecified, Scope.organization)


@dataclass(frozen=True, slots=True)
class ResolveSlug:
    """Take the slug that was given, or make one of the name, and the only organization of a caller that names none.

    Reads and writes the request's metadata; writes `slug`. Refuses a name of which nothing is left.
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
        _name_only_org(ctx)


async def row_of_slug(ctx: Context[Resource, Resource]) -> Row | None:
    """The row that holds `slug` in the namespace of the request."""
    return await ctx.by_slug(ctx.kind.name, ctx.slug, await ctx.namespace_of(ctx.request))


def _name_only_org(ctx: Context[Resource, Resource]) -> None:
    """Who is of one organization alone means that one where it names none."""
    metadata, principal = required(ctx.request.metadata), ctx.call.principal
    says_all = metadata.org or metadata.owner_scope not in _OF_ORGANIZATIONS or ctx.kind.belongs_to is not None
    if says_all or principal.on_behalf_of is not None or not principal.only_organization:
        return
    ctx.request.metadata = metadata = shallow_copy(metadata)
    metadata.org = principal.only_organization


def _slug(ctx: Context[Resource, Resource]) -> str:
    """The slug, made of the name once."""
    if not ctx.slug:
        metadata = required(ctx.request.metadata)
        ctx.slug = metadata.slug or slug_of(metadata.name)
    return ctx.slug
